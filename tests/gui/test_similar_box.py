"""Class by similarity, by real clicks on cells, the button, the slider and Enter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cell_pictures import disks
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QPushButton, QSlider, QSpinBox, QToolButton

from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.viewer.cell_codes import PROPOSED
from napari_histoseg.widgets.parts.similar_box import SimilarBox

pytestmark = pytest.mark.both_bindings

INSTANCES = disks((240, 288), step=24, radius=8.0)
IDS = np.setdiff1d(np.unique(INSTANCES), [0])
DARK = IDS[IDS % 4 == 0]
PALE_CLASS, DARK_CLASS = 1, 2


@pytest.fixture
def celled(bench: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A window on 120 cells of the first class, every fourth of them dark."""
    monkeypatch.setattr(bench.session, "estimate", lambda _: None)
    rng = np.random.default_rng(0)
    pixels = np.full((*INSTANCES.shape, 3), (235, 200, 225), np.int64)
    pixels[INSTANCES > 0] = (150, 120, 190)
    pixels[np.isin(INSTANCES, DARK)] = (80, 50, 120)
    noisy = np.clip(pixels + rng.integers(-12, 12, pixels.shape), 0, 255).astype(np.uint8)
    bench.viewer.add_image(noisy, name="tissue")
    image_id = bench.bridge.images.current
    bench.session.set_mpp(image_id, 0.25)
    classes = dict.fromkeys(IDS.tolist(), PALE_CLASS)
    edit = bench.session.project.replace_cells(image_id, INSTANCES, classes, tool="a model", origin=Origin.MODEL)
    bench.session.tell(edit)
    bench.bridge.cells.set_mode("select")
    qtbot.wait(50)
    return bench


@pytest.fixture
def box(celled: Any, qtbot: Any) -> Any:
    """The box alone, told what the panel would tell it."""
    box = SimilarBox(celled.session, celled.bridge)
    qtbot.addWidget(box)

    def refresh(*_: Any) -> None:
        box.refresh("")

    def show_status(status: Any) -> None:
        if status.kind == "features":
            box.show_status(status)

    heard = (
        (celled.bridge.cells.changed, refresh),
        (celled.session.edited, refresh),
        (celled.session.similar.found, box.show_found),
        (celled.session.job_changed, show_status),
    )
    for signal, slot in heard:
        signal.connect(slot)
    box.refresh("")
    box.resize(330, 220)
    box.show()
    qtbot.waitExposed(box)
    yield box
    for signal, slot in heard:
        signal.disconnect(slot)


def button(box: Any, text: str) -> QPushButton:
    return next(b for b in box.findChildren(QPushButton) if b.text() == text)


def words(box: Any) -> str:
    return " ".join(label.text() for label in box.findChildren(QLabel) if label.isVisible())


def click(bench: Any, hand: Any, *cell_ids: int) -> None:
    """The first with a plain click, the others with Shift held."""
    cells = bench.session.cells.of(bench.bridge.images.current)
    for k, place in enumerate(cells.centroids(cell_ids)):
        hand.stroke(tuple(place), shift=k > 0)


def proposed(bench: Any) -> set[int]:
    """Numbers of the cells that are marked in the colour of the class to come, besides those that are chosen."""
    layer = next(layer for layer in bench.viewer.layers if layer.metadata.get("histoseg", {}).get("shows") == "cells")
    return set(np.unique(INSTANCES[(layer.data == 4 * DARK_CLASS + PROPOSED)]).tolist()) - {0}


def test_similar_cells_are_found_previewed_and_classed_in_one_step(
    celled: Any, box: Any, hand: Any, qtbot: Any
) -> None:
    assert "Shift+click" in words(box) and not button(box, "Find similar").isEnabled()
    assert "choose some cells first" in button(box, "Find similar").toolTip()
    click(celled, hand, *DARK[[3, 12]].tolist())
    assert celled.bridge.cells.selection == tuple(DARK[[3, 12]])
    assert "2 cells are chosen" in words(box)
    combo = box._class
    assert combo.currentData() == PALE_CLASS
    combo.setFocus()
    combo.setCurrentIndex(combo.findData(DARK_CLASS))

    QTest.mouseClick(button(box, "Find similar"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: box.is_showing, timeout=10_000)
    qtbot.waitUntil(lambda: bool(proposed(celled)), timeout=2_000)
    number, slider = box.findChild(QSpinBox), box.findChild(QSlider)
    marked, others = proposed(celled), set(DARK.tolist()) - set(DARK[[3, 12]].tolist())
    assert marked == others or marked < others or marked > others
    assert f"{len(marked) + 2} cells are marked, {len(marked) + 2} of them change class." in words(box)

    number.selectAll()
    QTest.keyClicks(number, str(len(others)))
    qtbot.waitUntil(lambda: proposed(celled) == others, timeout=2_000)
    before = slider.value()
    slider.setFocus()
    for _ in range(40):
        QTest.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() > before and number.value() > len(others)
    qtbot.waitUntil(lambda: proposed(celled) > others, timeout=2_000)
    number.setValue(len(others))
    celled_cells = celled.session.cells.of(celled.bridge.images.current)
    assert celled_cells.counts() == {PALE_CLASS: len(IDS)}, "a preview changes nothing"

    QTest.mouseClick(button(box, "Apply"), Qt.MouseButton.LeftButton)
    assert celled_cells.counts() == {PALE_CLASS: len(IDS) - len(DARK), DARK_CLASS: len(DARK)}
    assert not box.is_showing and not proposed(celled) and not button(box, "Apply").isVisible()
    hand.key("Z", control=True)
    assert celled_cells.counts() == {PALE_CLASS: len(IDS)}


def test_cancel_changes_nothing_and_checked_cells_are_left_out(celled: Any, box: Any, hand: Any, qtbot: Any) -> None:
    image_id = celled.bridge.images.current
    celled.session.cells.verify(image_id, DARK[:6])
    click(celled, hand, int(DARK[12]))
    QTest.mouseClick(button(box, "Find similar"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: box.is_showing, timeout=10_000)
    box._class.setCurrentIndex(box._class.findData(DARK_CLASS))
    box._class.activated.emit(box._class.currentIndex())
    qtbot.waitUntil(lambda: bool(proposed(celled)), timeout=2_000)
    assert "6 that you checked before are left out" in words(box)
    assert not proposed(celled) & set(DARK[:6].tolist())
    QTest.keyClick(box.findChild(QSlider), Qt.Key.Key_Escape)
    assert not box.is_showing and not proposed(celled)
    assert celled.session.cells.of(image_id).counts() == {PALE_CLASS: len(IDS)}
    assert not celled.session.similar.ranked(image_id)[0].size


def test_too_many_chosen_cells_are_refused_with_the_reason(celled: Any, box: Any) -> None:
    celled.bridge.cells.select(IDS[:6].tolist())
    assert not button(box, "Find similar").isEnabled()
    assert "at most 5" in button(box, "Find similar").toolTip()
    celled.bridge.cells.select(IDS[:5].tolist())
    assert button(box, "Find similar").isEnabled()
    box.refresh("open an image first.")
    assert not button(box, "Find similar").isEnabled()


def test_in_the_panel_the_buttons_scroll_into_view(celled: Any, qtbot: Any) -> None:
    celled.open_panels("Cells")
    panel = celled.viewer.window.dock_widgets["Cells (napari-histoseg)"]
    qtbot.waitUntil(lambda: not panel.visibleRegion().isEmpty(), timeout=5_000)
    next(b for b in panel.findChildren(QToolButton, "fold") if b.text() == "Similar cells").click()
    celled.bridge.cells.select(DARK[:2].tolist())
    box = panel.findChild(SimilarBox)
    QTest.mouseClick(button(box, "Find similar"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: box.is_showing, timeout=10_000)
    qtbot.waitUntil(lambda: not button(box, "Apply").visibleRegion().isEmpty(), timeout=2_000)
    assert box._class.itemText(0) != "background"

    celled.bridge.cells.select([int(IDS[0])])
    assert box.is_showing and box._class.currentData() == PALE_CLASS
    QTest.mouseClick(button(box, "Find similar"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: box.is_showing, timeout=10_000)
    assert celled.session.similar.chosen(celled.bridge.images.current).tolist() == [IDS[0]]
    box.findChild(QSpinBox).setValue(3)
    QTest.keyClick(box.findChild(QSpinBox), Qt.Key.Key_Return)
    cells = celled.session.cells.of(celled.bridge.images.current)
    assert not box.is_showing and cells.is_verified(IDS).sum() == 4
    QTest.mouseClick(button(box, "Find similar"), Qt.MouseButton.LeftButton)
    celled.session.close_project()
    assert not box.is_showing
