"""The Cells panel, driven as a person drives it: by its buttons, by keys and by the mouse on the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLabel, QListWidget, QPushButton, QToolButton

from napari_histoseg import plugin
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.schemas import CRCHISTO
from napari_histoseg.samples import get_sample
from napari_histoseg.samples.phantom import make_phantom
from napari_histoseg.samples.phantom_sample import SEED, write_files
from napari_histoseg.widgets.parts.cell_table import CellTableView

PHANTOM = make_phantom(SEED)
EPITHELIAL, INFLAMMATORY, FIBROBLAST = (CRCHISTO.by_name(n).id for n in ("epithelial", "inflammatory", "fibroblast"))


@pytest.fixture
def phantom(bench: Any, tmp_path: Path, qtbot: Any) -> Any:
    """The window on the phantom in a project of nuclei by kind, with the Cells panel in front."""
    bench.session.create_project(tmp_path / "cells.histoseg", "crchisto")
    bench.bridge.images.open(get_sample("phantom").open())
    bench.open_panels("Cells")
    qtbot.wait(100)
    return bench


@pytest.fixture
def filled(phantom: Any, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same with a cell for every point of the truth, which were imported by the panel's button."""
    write_files(tmp_path, PHANTOM)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "phantom_points.csv"), ""))
    button(panel(phantom), "Import points…").click()
    qtbot.waitUntil(lambda: phantom.session.is_running("points"), timeout=5_000)
    qtbot.waitUntil(lambda: not phantom.session.is_running("points"), timeout=60_000)
    settle(qtbot)
    return phantom


def panel(bench: Any) -> Any:
    return bench.viewer.window.dock_widgets["Cells (napari-histoseg)"]


def button(widget: Any, start: str) -> QPushButton:
    return next(b for b in widget.findChildren(QPushButton) if b.text().startswith(start))


def press(widget: Any, start: str) -> None:
    QTest.mouseClick(button(widget, start), Qt.MouseButton.LeftButton)


def words(widget: Any) -> str:
    return " ".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden())


def settle(qtbot: Any) -> None:
    """Long enough for counts and table, which follow a little later."""
    qtbot.wait(300)


def open_fold(bench: Any, title: str) -> None:
    fold = next(b for b in panel(bench).findChildren(QToolButton, "fold") if b.text() == title)
    fold.click()


def cells_of(bench: Any) -> Any:
    return bench.session.cells.of(bench.bridge.images.current)


def points_of(bench: Any) -> Any:
    return bench.session.points.of(bench.bridge.images.current)


def click(hand: Any, place: tuple[float, float]) -> None:
    hand.press(place)
    hand.release(place)


def apart(count: int, least_px: float) -> list[tuple[float, float]]:
    """So many of the truth's cells near the middle of the image, no two close together."""
    found: list[tuple[float, float]] = []
    for c in sorted(PHANTOM.cells, key=lambda c: np.hypot(c.y - 384, c.x - 384)):
        if all(np.hypot(c.y - y, c.x - x) >= least_px for y, x in found):
            found.append((c.y, c.x))
    return found[:count]


def test_cells_is_a_tab_between_correct_and_retrain(bench: Any) -> None:
    assert plugin.TABS[1:4] == ("Correct", "Cells", "Retrain")
    bench.open_panels("Cells")
    assert panel(bench).isVisible()
    assert "open an image" in panel(bench).next_step.text()
    for control in panel(bench).findChildren(QPushButton):
        assert control.toolTip(), control.text()
        if not control.isEnabled() and not control.isHidden():
            assert "Not now: " in control.toolTip(), control.text()


@pytest.mark.both_bindings
def test_from_points_to_checked_cells_by_mouse_and_keys(phantom: Any, hand: Any, qtbot: Any) -> None:
    first, second, third = apart(3, 40)
    press(panel(phantom), "Points")
    phantom.bridge.cells.jump_to_place(*first)
    qtbot.wait(50)
    hand.key("W")
    click(hand, first)
    click(hand, second)
    hand.key("R")  # the pointer is still on the second point, and the letter is for the next
    click(hand, third)
    np.testing.assert_array_equal(points_of(phantom).class_ids, [EPITHELIAL, EPITHELIAL, INFLAMMATORY])
    ids = [phantom.session.cells.at(phantom.bridge.images.current, *place) for place in (first, second, third)]
    assert ids == points_of(phantom).ids.tolist()

    click(hand, first)
    assert len(points_of(phantom)) == 3, "a click on a point adds no other"
    before = cells_of(phantom).instances.copy()
    hand.stroke(first, (first[0] + 3, first[1] + 3), (first[0] + 7, first[1]))
    assert points_of(phantom).ids.tolist() == ids
    assert abs(points_of(phantom).y[0] - first[0] - 7) < 1.5
    hand.key("Z", control=True)
    np.testing.assert_array_equal(cells_of(phantom).instances, before)
    np.testing.assert_allclose(phantom.bridge.cells._points.layer.data[0], first, atol=1.5)

    hand.key("Escape")
    assert phantom.bridge.cells.mode == "select"
    assert button(panel(phantom), "Choose").isChecked()
    hand.move((second[0] - 2, second[1] - 2))
    hand.move(second)
    hand.key("R")
    assert cells_of(phantom).class_of([ids[1]])[0] == INFLAMMATORY
    settle(qtbot)
    assert "3 cells" in words(panel(phantom))
    assert "inflammatory 2" in words(panel(phantom))
    assert "1 checked" in words(panel(phantom))

    hand.key("X", shift=True)
    assert button(panel(phantom), "Cut").isChecked()
    hand.stroke((third[0], third[1] - 25), third, (third[0], third[1] + 25))
    assert len(cells_of(phantom)) == 4
    press(panel(phantom), "Undo")
    assert len(cells_of(phantom)) == 3


def test_points_come_back_where_they_were_after_delete_and_undo(
    phantom: Any, hand: Any, qtbot: Any, tmp_path: Path
) -> None:
    places = apart(3, 40)
    for place in places:
        phantom.session.points.add(phantom.bridge.images.current, *place, EPITHELIAL)
    press(panel(phantom), "Points")
    phantom.bridge.cells.jump_to_place(*places[0])
    qtbot.wait(50)
    layer = phantom.bridge.cells._points.layer
    layer.name = "my points"
    layer.mode = "select"
    click(hand, places[1])
    assert phantom.bridge.cells.selection == (points_of(phantom).ids[1],)
    hand.key("Delete")
    assert len(points_of(phantom)) == len(layer.data) == 2
    hand.key("Z", control=True)
    np.testing.assert_allclose(layer.data, places, atol=0.01)
    hand.key("T")  # the pointer is on the second
    np.testing.assert_array_equal(points_of(phantom).class_ids, [EPITHELIAL, FIBROBLAST, EPITHELIAL])
    layer.selected_data = {0, 2}
    hand.key("R")
    np.testing.assert_array_equal(points_of(phantom).class_ids, [INFLAMMATORY, FIBROBLAST, INFLAMMATORY])
    np.testing.assert_array_equal(layer.face_color[0], layer.face_color[2])
    hand.move(places[2])
    assert layer.features["class"].tolist() == ["inflammatory", "fibroblast", "inflammatory"]
    phantom.bridge.appearance.set_class_visible(FIBROBLAST, False)
    assert layer.shown.tolist() == [True, False, True]
    phantom.bridge.cells.select([points_of(phantom).ids[0]])
    assert set(layer.selected_data) == {0}
    phantom.viewer.layers.remove(layer)
    assert phantom.bridge.cells.mode == "select"
    press(panel(phantom), "Points")
    assert len(phantom.bridge.cells._points.layer.data) == 3
    phantom.session.create_project(tmp_path / "other.histoseg", "nuclei")
    assert phantom.bridge.cells._points.layer is None
    assert phantom.bridge.cells.mode == "select"
    phantom.session.close_project()
    settle(qtbot)
    assert not button(panel(phantom), "Cut").isEnabled()


def test_all_cells_from_a_file_of_points_and_back(
    filled: Any, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(cells_of(filled)) == len(PHANTOM.cells)
    assert f"{len(PHANTOM.cells)} cells" in words(panel(filled))
    qtbot.wait(600)
    assert f"{len(PHANTOM.cells)}" in button(panel(filled), "Cells from").text()
    legend = filled.viewer.window.dock_widgets["Classes (napari-histoseg)"]
    count = sum(c.cell_class == "epithelial" for c in PHANTOM.cells)
    assert str(count) in words(legend).split()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out.csv"), ""))
    button(panel(filled), "Export points…").click()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == len(PHANTOM.cells) + 1


def test_labels_from_cells_have_background_around_them(filled: Any, qtbot: Any) -> None:
    instances = cells_of(filled).instances
    press(panel(filled), "Labels from cells")
    qtbot.waitUntil(lambda: filled.session.is_running("points"), timeout=5_000)
    qtbot.waitUntil(lambda: not filled.session.is_running("points"), timeout=60_000)
    shown = filled.session.displayed(filled.bridge.images.current)
    np.testing.assert_array_equal(shown[instances > 0], cells_of(filled).class_lookup[instances[instances > 0]])
    assert (shown[instances == 0] == 0).mean() > 0.9


def test_the_table_chooses_classes_and_jumps(filled: Any, qtbot: Any) -> None:
    open_fold(filled, "All cells")
    settle(qtbot)
    table = panel(filled).findChild(CellTableView)
    assert table.cells.rowCount() == len(PHANTOM.cells)
    table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    largest = int(table.cells.ids_at(np.array([0]))[0])
    assert cells_of(filled).areas_px([largest])[0] == cells_of(filled).areas_px(cells_of(filled).ids).max()
    table.selectRow(0)
    assert filled.bridge.cells.selection == (largest,)
    QTest.keyClick(table, Qt.Key.Key_R)
    assert cells_of(filled).class_of([largest])[0] == INFLAMMATORY
    assert cells_of(filled).is_verified([largest])[0]
    settle(qtbot)
    assert table.ids == (largest,)
    filled.bridge.cells.select(cells_of(filled).ids[10:20])
    assert table.ids == tuple(sorted(table.ids, key=table.ids.index))
    assert set(table.ids) == set(cells_of(filled).ids[10:20].tolist())
    table.setCurrentIndex(table.cells.index(0, 0))
    QTest.keyClick(table, Qt.Key.Key_Return)
    y, x = cells_of(filled).centroids([largest])[0]
    center = filled.viewer.layers[0].world_to_data(filled.viewer.camera.center[-2:])
    np.testing.assert_allclose(center[-2:], (y, x), atol=2)
    assert table.horizontalHeader().length() <= table.viewport().width(), "no scrolling sideways"


def test_doubtful_cells_are_gone_through_with_the_keyboard(filled: Any, qtbot: Any) -> None:
    with qtbot.waitSignal(filled.session.points.doubts_changed, timeout=30_000):
        press(panel(filled), "Look for doubtful")
    listed = panel(filled).findChild(QListWidget)
    doubts = filled.session.points.doubts(filled.bridge.images.current)
    assert listed.count() == min(300, len(doubts)) > 2
    assert [d.weight for d in doubts] == sorted((d.weight for d in doubts), reverse=True)
    assert listed.currentRow() == 0, "the keyboard goes on there"
    first, second = (next(d for d in doubts if d.cell_id not in before) for before in ((0,), (0, doubts[0].cell_id)))
    assert filled.bridge.cells.selection == (first.cell_id,)
    assert first.sentence in words(panel(filled))
    before = listed.count()
    QTest.keyClick(listed, Qt.Key.Key_Return)
    assert cells_of(filled).is_verified([first.cell_id])[0]
    assert listed.count() < before
    assert filled.bridge.cells.selection == (second.cell_id,)
    QTest.keyClick(listed, Qt.Key.Key_R)
    assert cells_of(filled).class_of([second.cell_id])[0] == INFLAMMATORY
    press(panel(filled), "Undo")
    press(panel(filled), "Undo")
    settle(qtbot)
    assert listed.count() == before, "what is undone is doubtful again"


def test_history_keys_and_the_stain_are_one_click_away(filled: Any, qtbot: Any) -> None:
    open_fold(filled, "All cells")
    settle(qtbot)
    table = panel(filled).findChild(CellTableView)
    assert table.cells.data(table.cells.index(0, 2)) == "–"
    with qtbot.waitSignal(filled.session.similar.measured, timeout=30_000):
        press(panel(filled), "Measure the stain")
    settle(qtbot)
    assert 0.1 < float(table.cells.data(table.cells.index(0, 2))) < 3
    assert button(panel(filled), "Measure the stain").isHidden()
    button(panel(filled), "? Keys").click()
    assert "Shift+P" in words(panel(filled)._sheet)
    button(panel(filled), "History").click()
    assert filled.viewer.window.dock_widgets["History (napari-histoseg)"].isVisible()


def test_a_table_of_20_000_cells_sorts_with_what_is_unknown_last(qtbot: Any) -> None:
    rng = np.random.default_rng(0)
    ids, score = np.arange(1, 20_001), rng.uniform(size=20_000)
    stain = np.where(score < 0.3, np.nan, score)
    classes = rng.integers(1, 5, ids.size).astype(np.uint8)
    table = CellTable(ids, classes, score, score, 100 * score, score, stain)
    view = CellTableView(lambda _: False)
    qtbot.addWidget(view)
    view.show()
    view.show_cells(table, CRCHISTO, [15_000])
    assert view.rowAt(5) < 14_999 < view.rowAt(view.viewport().height() - 5), "the cell chosen is in sight"
    view.choose([7, 9])
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        view.sortByColumn(2, order)
        assert view.cells.data(view.cells.index(19_999, 2)) == "–"
        assert set(view.ids) == {7, 9}
    view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert view.cells.data(view.cells.index(0, 0)) == "epithelial"
    assert view.cells.data(view.cells.index(19_999, 0)) == "others"
    view.selectRow(0)
    with qtbot.waitSignal(view.jumped) as jumped:
        QTest.keyClick(view, Qt.Key.Key_Return)
    assert jumped.args == [view.ids[0]]
