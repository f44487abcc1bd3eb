"""The panel of scores: opened for a model that gives one, in step with the image, the view and the labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QPushButton, QTableWidget

from napari_histoseg.core.box import Box
from napari_histoseg.plugin import workbench
from napari_histoseg.session.scoring import ImageScores, ScoredField
from napari_histoseg.viewer.score_map import heat_map
from napari_histoseg.widgets.parts.model_combo import ModelCombo

MODEL = "cellularity_resnet101"


class Brightness:
    """In place of a network: the score is the mean of the pixels."""

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(batch.mean(axis=(1, 2, 3)) / 255, np.float32)


class Slow(Brightness):
    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.5)
        return super().scores(batch)


def words(widget: Any) -> str:
    return " ".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden())


def button(widget: Any, text: str) -> QPushButton:
    return next(b for b in widget.findChildren(QPushButton) if b.text() == text)


def docks(bench: Any) -> set[str]:
    return {name.partition(" (")[0] for name in bench.viewer.window.dock_widgets}


@pytest.fixture
def breast(bench: Any, tissue: NDArray[np.uint8], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project of breast regions with an image of 2 x 2 fields and a model that gives scores at once."""
    monkeypatch.setattr(bench.session._predictors, "get", lambda *_: Brightness())
    monkeypatch.setattr(bench.session, "estimate", lambda _: None)
    bench.session.create_project(tmp_path / "breast.histoseg", "bcss5")
    bench.viewer.add_image(np.tile(tissue, (3, 3, 1)), name="slide", scale=(0.5, 0.5), units=("um", "um"))
    return bench


@pytest.mark.both_bindings
def test_fields_are_scored_shown_and_gone_to(breast: Any, qtbot: Any) -> None:
    assert "Cellularity" not in docks(breast)
    breast.session.choose_model(MODEL)
    assert "Cellularity" in docks(breast)
    panel = breast.viewer.window.dock_widgets["Cellularity (napari-histoseg)"]
    qtbot.waitUntil(lambda: not panel.visibleRegion().isEmpty(), timeout=2000)
    assert "Untrained: gives random scores" in words(panel)
    assert panel.findChild(ModelCombo).currentData() == MODEL

    image_id = breast.bridge.images.current
    labels = np.full((768, 768), breast.session.project.schema.by_name("stroma").id, np.uint8)
    labels[:512, :512] = breast.session.project.schema.by_name("tumor").id
    breast.session.import_labels(image_id, labels, verified=True)
    QTest.mouseClick(button(panel, "Score the image"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not breast.session.is_running("score"), timeout=10_000)
    table = panel.findChild(QTableWidget)
    assert table.rowCount() == 4
    assert [table.item(0, column).text() for column in (0, 2)] == ["0, 0", "1.00"]
    assert table.item(3, 2).text() == "0.00"
    assert "untrained" in words(panel)

    heat, source = breast.viewer.layers["slide – cellularity"], breast.viewer.layers["slide"]
    for corner in ((-0.5, -0.5), (767.5, 767.5)):  # the outer corners of both layers are the same places
        share = (np.array(heat.world_to_data(source.data_to_world(corner))) + 0.5) / heat.data.shape
        np.testing.assert_allclose(share, np.clip(corner, 0, 1), atol=1e-6)
    scores = breast.session.scores.of(image_id)
    for field in scores.fields:
        middle = source.data_to_world(field.box.center)
        assert heat.get_value(middle, world=True) == pytest.approx(field.predicted)

    breast.viewer.camera.zoom *= 4
    qtbot.wait(50)
    line = table.visualRect(table.model().index(3, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=line)
    center = source.world_to_data(breast.viewer.camera.center[-2:])
    np.testing.assert_allclose(center, scores.fields[3].box.center, atol=1)
    qtbot.waitUntil(lambda: "This view: model" in words(panel) and "labels 0.00" in words(panel), timeout=2000)


def test_labels_are_read_again_after_a_stroke(breast: Any, hand: Any, qtbot: Any) -> None:
    breast.session.choose_model(MODEL)
    panel = breast.viewer.window.dock_widgets["Cellularity (napari-histoseg)"]
    button(panel, "Score the image").click()
    qtbot.waitUntil(lambda: not breast.session.is_running("score"), timeout=10_000)
    assert "Nothing is labelled here yet" in words(panel)
    table = panel.findChild(QTableWidget)
    assert table.item(0, 2).text() == "–"
    breast.bridge.show_labels()
    breast.bridge.tools.set_class(breast.session.project.schema.by_name("tumor").id)
    hand.stroke((100, 100), (100, 200))
    qtbot.waitUntil(lambda: table.rowCount() == 4 and table.item(0, 2).text() == "1.00", timeout=10_000)


def test_a_view_alone_can_be_scored_and_a_run_cancelled(
    breast: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    breast.session.choose_model(MODEL)
    panel = breast.viewer.window.dock_widgets["Cellularity (napari-histoseg)"]
    breast.viewer.camera.zoom *= 4
    qtbot.wait(100)
    button(panel, "Score this view").click()
    qtbot.waitUntil(lambda: not breast.session.is_running("score"), timeout=10_000)
    (field,) = breast.session.scores.of(breast.bridge.images.current).fields
    assert field.box == breast.bridge.images.visible_box()
    monkeypatch.setattr(breast.session._predictors, "get", lambda *_: Slow())
    button(panel, "Score the image").click()
    assert breast.session.is_running("score")
    button(panel, "Cancel").click()
    assert not breast.session.is_running("score")
    assert button(panel, "Score the image").isEnabled()


def test_the_segment_panel_sends_to_the_scores(breast: Any) -> None:
    segment = breast.viewer.window.dock_widgets["Segment (napari-histoseg)"]
    breast.session.choose_model(MODEL)
    assert not button(segment, "Segment").isEnabled()
    assert "go to the tab Cellularity" in words(segment)
    assert button(segment, "Train from your annotations").isHidden()


def test_the_menu_opens_it_and_it_asks_for_a_model(
    make_napari_viewer: Callable[..., Any], tissue: NDArray[np.uint8], qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(tissue, name="tissue", scale=(0.5, 0.5), units=("um", "um"))
    viewer.window.add_plugin_dock_widget("napari-histoseg", "Cellularity")
    bench = workbench(viewer)
    qtbot.waitUntil(lambda: docks(bench) >= {"Cellularity", "Segment", "Classes"}, timeout=5000)
    panel = viewer.window.dock_widgets["Cellularity (napari-histoseg)"]
    assert "choose a model for the score" in words(panel)
    assert not button(panel, "Score the image").isEnabled()
    combo = panel.findChild(ModelCombo)
    combo.setCurrentIndex(combo.findData(MODEL))
    combo.activated.emit(combo.currentIndex())
    assert button(panel, "Score the image").isEnabled()
    bench.close()


def test_leaving_the_image_takes_the_map_away(breast: Any, tissue: NDArray[np.uint8], qtbot: Any) -> None:
    breast.session.choose_model(MODEL)
    breast.session.score(breast.bridge.images.current)
    qtbot.waitUntil(lambda: not breast.session.is_running("score"), timeout=10_000)
    assert "slide – cellularity" in breast.viewer.layers
    breast.viewer.add_image(tissue[:100], name="another", scale=(0.5, 0.5), units=("um", "um"))
    breast.bridge.images.choose(str(breast.viewer.layers["another"].unique_id))
    assert "slide – cellularity" not in breast.viewer.layers
    breast.bridge.images.choose(str(breast.viewer.layers["slide"].unique_id))
    heat = breast.viewer.layers["slide – cellularity"]
    pixels, _ = heat_map(breast.session.scores.of(breast.bridge.images.current).fields, (768, 768))
    np.testing.assert_array_equal(heat.data, pixels)


def test_the_map_stays_in_place_when_a_later_field_is_rounded_to_a_pixel_more(breast: Any) -> None:
    model = breast.session.choose_model(MODEL)
    image_id, source = breast.bridge.images.current, breast.viewer.layers["slide"]
    fields = tuple(ScoredField(Box(0, x0, 255, x1), 1.0, x0 / 512, None) for x0, x1 in ((0, 255), (255, 511)))
    for count in (1, 2):  # the map's pixels are 15 px wide at first, then 16
        breast.session.scores._keep(image_id, ImageScores(fields[:count], model))
    heat = breast.viewer.layers["slide – cellularity"]
    for corner in ((-0.5, -0.5), (767.5, 767.5)):
        share = (np.array(heat.world_to_data(source.data_to_world(corner))) + 0.5) / heat.data.shape
        np.testing.assert_allclose(share, np.clip(corner, 0, 1), atol=1e-6)
