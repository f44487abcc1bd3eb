"""The panels, driven by their own buttons and fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QSlider,
    QTableWidget,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
)
from skimage.draw import disk

from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.inference.estimate import Estimate
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.widgets.parts.model_combo import ModelCombo
from napari_histoseg.widgets.segment import cost_sentence


def panel(bench: Any, name: str) -> Any:
    return bench.viewer.window.dock_widgets[f"{name} (napari-histoseg)"]


def button(widget: Any, text: str) -> QPushButton:
    return next(b for b in widget.findChildren(QPushButton) if b.text() == text)


def words(widget: Any) -> str:
    return " ".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden())


def test_resolution_is_asked_once_and_remembered(bench: Any, tissue: np.ndarray, tiny_weights: Path) -> None:
    bench.viewer.add_image(tissue, name="tissue")
    bench.session.choose_model("unet", str(tiny_weights))
    segment = panel(bench, "Segment")
    field = segment.findChild(QDoubleSpinBox)
    assert not button(segment, "Segment").isEnabled()
    assert field.graphicsEffect() is not None
    assert "wrong magnification" in field.toolTip()
    assert "how many µm" in segment.next_step.text()
    field.setValue(0.5)
    assert bench.session.project.image(bench.bridge.images.current).mpp == 0.5
    assert field.graphicsEffect() is None
    assert button(segment, "Segment").isEnabled()
    bench.viewer.layers.clear()
    bench.viewer.add_image(tissue, name="the same pixels again")
    assert field.value() == 0.5


def test_segment_becomes_cancel_and_back(ready: Any, qtbot: Any) -> None:
    segment = panel(ready, "Segment")
    run = button(segment, "Segment")
    run.click()
    assert run.text() == "Cancel"
    run.click()
    assert run.text() == "Segment"
    assert not ready.session.is_running("predict")
    run.click()
    qtbot.waitUntil(lambda: not ready.session.is_running("predict"), timeout=60_000)
    assert run.text() == "Segment"
    assert "correct what is wrong" in segment.next_step.text()


def test_show_labels_is_offered_when_the_layer_was_closed(segmented: Any) -> None:
    show = button(panel(segmented, "Segment"), "Show labels")
    assert show.isHidden()
    segmented.viewer.layers.remove(segmented.bridge.tools.layer)
    assert not show.isHidden()
    show.click()
    assert segmented.bridge.has_labels
    assert show.isHidden()


def test_copy_as_command_fills_the_clipboard(segmented: Any) -> None:
    button(panel(segmented, "Segment"), "Copy as command").click()
    assert QApplication.clipboard().text().startswith("napari-histoseg predict")


def test_legend_shows_shares_and_chooses_the_class(segmented: Any, hand: Any, qtbot: Any) -> None:
    legend = panel(segmented, "Classes")
    button(legend, "epithelium").click()
    assert segmented.bridge.tools.class_id == 2
    assert segmented.bridge.tools.tool == "brush"
    hand.stroke((100, 60), (100, 100))
    qtbot.wait(700)
    shares = segmented.session.shares(segmented.bridge.images.current)
    assert f"{100 * shares[2]:.1f} %" in words(legend)
    hand.key("W")
    assert button(legend, "other tissue").isChecked()


def test_eye_palette_and_opacity_change_the_layer_and_are_remembered(segmented: Any) -> None:
    legend, layer = panel(segmented, "Classes"), segmented.bridge.tools.layer
    legend.findChildren(QCheckBox)[0].setChecked(False)
    assert layer.colormap.map(0)[3] == 0
    palette = legend.findChild(QComboBox)
    palette.activated.emit(palette.findText("Cancer and stroma"))
    np.testing.assert_allclose(layer.colormap.map(2), (1, 0, 0, 1))
    legend.findChild(QSlider).setValue(80)
    assert layer.opacity == 0.8
    layer.opacity = 0.3
    assert legend.findChild(QSlider).value() == 30
    assert segmented.session.get_setting("appearance")["palette"] == "cancer-stroma"


def test_hover_tells_the_class_name(segmented: Any) -> None:
    layer = segmented.bridge.tools.layer
    layer.data[10, 10] = 2
    assert "epithelium" in layer.get_status((10, 10), dims_displayed=[0, 1], view_direction=None)["value"]


def test_correct_panel_counts_saves_undoes(segmented: Any, hand: Any) -> None:
    correct = panel(segmented, "Correct")
    assert "Nothing corrected yet" in words(correct)
    button(correct, "Brush").click()
    segmented.bridge.tools.set_class(2)
    hand.stroke((100, 60), (100, 100))
    pixels = segmented.session.counts(segmented.bridge.images.current)[2]
    assert f"epithelium {pixels:,} px".replace(",", " ") in words(correct)
    assert "saved " in words(correct)
    button(correct, "Undo").click()
    assert segmented.session.counts(segmented.bridge.images.current)[2] == 0
    button(correct, "Redo").click()
    assert segmented.session.counts(segmented.bridge.images.current)[2] == pixels
    assert segmented.session.project.can_undo(segmented.bridge.images.current)


def test_tools_and_napari_controls_are_one(segmented: Any) -> None:
    correct, layer = panel(segmented, "Correct"), segmented.bridge.tools.layer
    for name, mode in (("Eraser", "erase"), ("Fill", "fill"), ("Polygon", "polygon"), ("Move", "pan_zoom")):
        button(correct, name).click()
        assert layer.mode == mode
    layer.mode = "paint"
    assert button(correct, "Brush").isChecked()
    layer.brush_size = 33
    assert correct.findChild(QSlider).value() == 33


def test_help_sheet_lists_every_key(segmented: Any) -> None:
    correct = panel(segmented, "Correct")
    button(correct, "? Keys").click()
    sheet = words(correct._sheet)
    for keys, text in segmented.bridge.tools.shortcuts():
        assert keys in sheet
        assert text in sheet


def test_plan_form_is_the_plan(bench: Any) -> None:
    form = panel(bench, "Retrain")._form
    assert form.plan() == FineTunePlan()
    other = FineTunePlan(steps=77, learning_rate=1e-3, held_out_share=0.1, seed=5)
    form.set_plan(other)
    assert form.plan() == other


def test_retraining_makes_a_revision_that_can_be_used_and_left(segmented: Any, hand: Any, qtbot: Any) -> None:
    session, retrain = segmented.session, panel(segmented, "Retrain")
    run = button(retrain, "Retrain on edits")
    assert not run.isEnabled()
    segmented.bridge.tools.set_brush_size(30)
    segmented.bridge.tools.set_class(2)
    hand.stroke((60, 60), (60, 190))
    segmented.bridge.tools.set_class(1)
    hand.stroke((190, 60), (190, 190))
    retrain._form.set_plan(FineTunePlan(steps=3, tile_px=64, batch_size=2))
    run.click()
    assert run.text() == "Cancel"
    qtbot.waitUntil(lambda: not session.is_running("finetune"), timeout=60_000)
    qtbot.waitUntil(lambda: not session.is_running("predict"), timeout=60_000)
    (revision,) = session.revisions()
    assert len(retrain._curve.points) == 3
    assert revision.reason.split(".")[0] in words(retrain)
    table = retrain.findChild(QTableWidget)
    assert revision.id in table.item(0, 0).text()
    assert table.item(0, 3).text() == revision.verdict
    segmented.open_panels("Retrain")
    qtbot.wait(50)
    assert table.horizontalHeader().length() <= table.viewport().width(), "no scrolling sideways at 1366 px"
    for column in range(table.columnCount()):
        assert table.sizeHintForColumn(column) <= table.columnWidth(column), column
    table.selectRow(0)
    assert "from tiny" in words(retrain)
    if session.active.revision_id is None:
        table.selectRow(0)
        button(retrain, "Use this revision").click()
    assert session.active.revision_id == revision.id
    assert "✓" in table.item(0, 0).text()
    button(retrain, "Roll back").click()
    assert session.active.revision_id is None


@pytest.mark.both_bindings
def test_an_untrained_model_learns_from_annotations_alone(ready: Any, hand: Any, qtbot: Any) -> None:
    session = ready.session
    session.choose_model("segformer_b0")
    QTest.mouseClick(button(panel(ready, "Segment"), "Train from your annotations"), Qt.MouseButton.LeftButton)
    retrain = panel(ready, "Retrain")
    assert "correct something first" in retrain.next_step.text()
    ready.bridge.show_labels()
    ready.bridge.tools.set_brush_size(40)
    for class_id, y in ((1, 60), (2, 190)):
        ready.bridge.tools.set_class(class_id)
        hand.stroke((y, 60), (y, 190))
    assert "starts from nothing" in retrain.next_step.text()
    retrain._form.set_plan(FineTunePlan(steps=2, tile_px=64, batch_size=1))
    QTest.mouseClick(button(retrain, "Retrain on edits"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not session.is_running("finetune"), timeout=90_000)
    (revision,) = session.revisions()
    session.activate(revision.id)
    assert not session.active.is_untrained
    assert "Untrained" not in words(panel(ready, "Segment"))


def test_models_that_learn_from_no_labels_cannot_be_retrained(segmented: Any, hand: Any) -> None:
    segmented.bridge.tools.set_class(2)
    hand.stroke((60, 60), (60, 190))
    retrain = panel(segmented, "Retrain")
    assert button(retrain, "Retrain on edits").isEnabled()
    segmented.session.choose_model("haematoxylin_watershed")
    assert not button(retrain, "Retrain on edits").isEnabled()
    assert "does not learn from labels" in retrain.next_step.text()


def test_nuclei_that_a_model_found_are_nothing_to_learn_from(segmented: Any, hand: Any) -> None:
    session, image_id = segmented.session, segmented.bridge.images.current
    found = np.zeros(session.project.image(image_id).shape, np.uint32)
    found[20:30, 20:30] = 1
    session.edited.emit(session.project.replace_cells(image_id, found, {}, tool="model", origin=Origin.MODEL))
    retrain = panel(segmented, "Retrain")
    assert not button(retrain, "Retrain on edits").isEnabled()
    assert "correct something first" in retrain.next_step.text()
    segmented.bridge.show_labels()
    segmented.bridge.tools.set_class(2)
    hand.stroke((60, 60), (60, 190))
    assert button(retrain, "Retrain on edits").isEnabled()


def test_a_reference_folder_is_chosen_remembered_and_left(
    segmented: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrain = panel(segmented, "Retrain")
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(segmented.bridge, "say", lambda level, text: said.append((level, text)))
    folder = tmp_path / "labelled"
    folder.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    QTest.mouseClick(button(retrain, "Judge on a folder…"), Qt.MouseButton.LeftButton)
    assert said[-1][0] == "error" and "holds no labelled images" in said[-1][1]
    assert segmented.session.reference is None
    Image.fromarray(tissue).save(folder / "a.png")
    Image.fromarray(np.ones(tissue.shape[:2], np.uint8)).save(folder / "a_labels.png")
    QTest.mouseClick(button(retrain, "Judge on a folder…"), Qt.MouseButton.LeftButton)
    assert said[-1] == ("info", "Retrained models are judged on 1 labelled image of 'labelled'.")
    assert segmented.session.reference == folder
    assert "Judged on labelled" in words(retrain)
    assert segmented.session.command("finetune").endswith(f"--reference {folder}")
    QTest.mouseClick(button(retrain, "None"), Qt.MouseButton.LeftButton)
    assert segmented.session.reference is None
    assert "--reference" not in segmented.session.command("finetune")


def test_cancelling_a_retrain_leaves_no_revision(segmented: Any, hand: Any, qtbot: Any) -> None:
    hand.key("R")
    hand.stroke((60, 60), (60, 190))
    retrain = panel(segmented, "Retrain")
    button(retrain, "Retrain on edits").click()
    qtbot.wait(300)
    button(retrain, "Cancel").click()
    assert not segmented.session.is_running("finetune")
    assert segmented.session.revisions() == ()
    assert "stays as it was" in words(retrain)


def leaves(tree: QTreeWidget) -> dict[str, QTreeWidgetItem]:
    """Entries of the models panel by title."""
    headings = [tree.topLevelItem(k) for k in range(tree.topLevelItemCount())]
    entries = [heading.child(k) for heading in headings for k in range(heading.childCount())]
    return {entry.text(0): entry for entry in entries}


def test_models_panel_says_what_is_trained(bench: Any) -> None:
    models = panel(bench, "Models")
    tree = models.findChild(QTreeWidget)
    entries = leaves(tree)
    assert {info.title for info in bench.session.models()} == set(entries)
    for info in bench.session.models():
        assert ("untrained" in entries[info.title].text(1)) == info.is_untrained
    unet = next(info for info in bench.session.models() if info.id == "unet")
    tree.setCurrentItem(entries[unet.title])
    assert unet.spec.paper in words(models)
    assert "Untrained" not in words(models)
    tree.setCurrentItem(entries[next(i.title for i in bench.session.models() if i.is_untrained)])
    assert "<b>Untrained:" in words(models)


@pytest.mark.both_bindings
def test_models_are_listed_by_task_and_the_starter_is_the_default(bench: Any, tissue: np.ndarray) -> None:
    bench.viewer.add_image(tissue, name="tissue")
    combo = panel(bench, "Segment").findChild(ModelCombo)
    assert combo.currentData() == "unet"
    rows = [combo.itemText(k) for k in range(combo.count())]
    headings = [rows[k] for k in range(combo.count()) if combo.itemData(k) is None]
    assert headings[0] == "Tissue regions"
    assert not any(combo.model().item(k).isEnabled() for k in range(combo.count()) if combo.itemData(k) is None)
    assert {combo.itemData(k) for k in range(combo.count())} - {None} == {i.id for i in bench.session.models()}
    untrained = rows.index("untrained:")
    assert rows.index(combo.currentText()) < untrained < rows.index("UNet++")


def test_an_untrained_model_says_so_and_leads_to_training(bench: Any, tissue: np.ndarray, qtbot: Any) -> None:
    bench.viewer.add_image(tissue, name="tissue")
    bench.session.set_mpp(bench.bridge.images.current, 1.0)
    segment = panel(bench, "Segment")
    train = button(segment, "Train from your annotations")
    assert train.isHidden()
    combo = segment.findChild(ModelCombo)
    combo.setCurrentIndex(combo.findData("segformer_b0"))
    combo.activated.emit(combo.currentIndex())
    assert bench.session.active.is_untrained
    assert "Untrained: draws random labels" in words(segment)
    assert button(segment, "Segment").isEnabled()
    QTest.mouseClick(train, Qt.MouseButton.LeftButton)
    retrain = panel(bench, "Retrain")
    qtbot.waitUntil(lambda: not retrain.visibleRegion().isEmpty(), timeout=2000)
    assert bench.session.active.spec.id == "segformer_b0"


def test_the_card_tells_the_cost_of_a_run_and_more_on_demand(ready: Any, qtbot: Any) -> None:
    segment = panel(ready, "Segment")
    qtbot.waitUntil(lambda: "of memory on this machine" in words(segment), timeout=60_000)
    assert "This image takes under 1 s" in words(segment)
    fold = segment.findChild(QToolButton, "fold")
    details = next(label for label in segment.findChildren(QLabel) if "GFLOPs" in label.text())
    assert not details.isVisible()
    QTest.mouseClick(fold, Qt.MouseButton.LeftButton)
    assert details.isVisible()
    for told in ("31.0 million", "768 × 768 px", "867", "BSD-3-Clause", "Tissue regions"):
        assert told in details.text(), told


@pytest.mark.both_bindings
def test_cells_are_outlined_and_counted_beside_the_labels(bench: Any, qtbot: Any) -> None:
    pixels = np.full((192, 192, 3), (240, 215, 230), np.uint8)
    for middle in ((40, 40), (40, 120), (120, 60)):
        pixels[disk(middle, 8)] = (70, 40, 120)
    bench.viewer.add_image(pixels, name="nuclei")
    bench.session.set_mpp(bench.bridge.images.current, 0.5)
    bench.session.choose_model("haematoxylin_watershed")
    segment = panel(bench, "Segment")
    assert "</b> cells" not in words(segment)
    QTest.mouseClick(button(segment, "Segment"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not bench.session.is_running("predict"), timeout=60_000)
    assert "<b>3</b> cells (nucleus)." in words(segment)
    outlines, labels = bench.viewer.layers["nuclei – cells"], bench.bridge.tools.layer
    assert not outlines.editable
    assert all(outlines.data[middle] for middle in ((40, 40), (40, 120), (120, 60))) and not outlines.data[80, 100]
    assert bench.viewer.layers.selection.active is labels
    np.testing.assert_allclose(outlines.scale, labels.scale)

    bench.session.choose_model("unet")  # another project with the regions' classes: its layers come, the old ones go
    bench.bridge.segment()
    qtbot.waitUntil(lambda: not bench.session.is_running("predict"), timeout=60_000)
    assert "</b> cells" not in words(segment)
    assert "nuclei – cells" not in bench.viewer.layers
    bench.session.choose_model("haematoxylin_watershed")  # now with labels of regions, which stay
    before = bench.bridge.tools.layer.data.copy()
    bench.bridge.segment()
    qtbot.waitUntil(lambda: not bench.session.is_running("predict"), timeout=60_000)
    np.testing.assert_array_equal(bench.bridge.tools.layer.data, before)
    assert "They are outlined" in words(segment)
    assert "U-Net" in bench.bridge.tools.layer.name
    outlines = bench.viewer.layers["nuclei – cells"]
    bench.viewer.layers.remove(outlines)
    bench.bridge.segment()
    qtbot.waitUntil(lambda: not bench.session.is_running("predict"), timeout=60_000)
    assert "nuclei – cells" in bench.viewer.layers


@pytest.mark.parametrize(
    ("seconds", "size", "is_rough", "told"),
    [
        (0.2, 31_000_000, False, "under 1 s and 30 MB"),
        (75.0, 1_260_000_000, False, "about 1 min 15 s and 1.3 GB"),
        (75.0, 8_000_000_000, True, "roughly 1 min 15 s and 8.0 GB"),
    ],
)
def test_costs_in_words(seconds: float, size: int, is_rough: bool, told: str) -> None:
    assert f"takes {told} of memory" in cost_sentence(Estimate(seconds, size, is_rough))


def test_controls_have_tooltips_and_fit_their_panel(segmented: Any, qtbot: Any) -> None:
    for name in ("Segment", "Correct", "Retrain", "Models", "Classes"):
        if name != "Classes":
            segmented.open_panels(name)
            qtbot.wait(50)
        widget = panel(segmented, name)
        assert widget.widget().width() <= widget.viewport().width(), name
        for kind in (QPushButton, QComboBox, QDoubleSpinBox, QSlider, QCheckBox):
            for control in widget.findChildren(kind):
                assert control.toolTip(), (name, control)
                assert not control.styleSheet(), (name, control)
        for control in widget.findChildren(QPushButton):
            if control.isVisible():
                assert control.fontMetrics().horizontalAdvance(control.text()) <= control.width(), control.text()
