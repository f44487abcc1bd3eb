"""The history panel: lines, pictures, the way back, and 10,000 lines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_pictures import repeat_last_edit
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema_steps import RemoveClass


@pytest.fixture
def worked(bench: Any, tissue: np.ndarray, qtbot: Any) -> Any:
    """Six strokes on an image, and the panel in front."""
    bench.viewer.add_image(tissue, name="tissue")
    image_id = bench.bridge.images.current
    for k in range(6):
        box = Box(30 * k, 30 * k, 30 * k + 20, 30 * k + 20)
        bench.session.record(image_id, "paint", box, np.full(box.shape, k % 3, np.uint8))
    bench.open_panels("History")
    bench.panel_shown = next(p for p in bench._panels if type(p).__name__ == "HistoryPanel")
    qtbot.waitUntil(bench.panel_shown.isVisible)
    return bench


def column(panel: Any, number: int) -> list[str]:
    model = panel._model
    return [model.data(model.index(line, number), Qt.ItemDataRole.DisplayRole) for line in range(model.rowCount())]


def is_grey(panel: Any) -> list[bool]:
    model = panel._model
    role = Qt.ItemDataRole.ForegroundRole
    return [model.data(model.index(line, 0), role) is not None for line in range(model.rowCount())]


def test_lines_and_the_way_back(worked: Any, qtbot: Any) -> None:
    panel, session = worked.panel_shown, worked.session
    image_id = worked.bridge.images.current
    assert column(panel, 0)[0] == "Brush, 400 px: epithelium" and len(column(panel, 0)) == 6
    assert not any(is_grey(panel)) and not panel._back.isEnabled()
    panel._table.selectRow(3)
    QTest.mouseClick(panel._back, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._steps is None, timeout=30_000)
    assert is_grey(panel) == [True] * 3 + [False] * 3
    assert session.project.edit_count(image_id) == 3
    assert (session.displayed(image_id, Box(90, 90, 110, 110)) == 255).all()
    panel._table.selectRow(0)
    QTest.mouseClick(panel._back, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._steps is None, timeout=30_000)
    assert not any(is_grey(panel))
    session.undo(image_id)
    session.record(image_id, "paint", Box(0, 0, 9, 9), np.full((9, 9), 2, np.uint8))
    assert is_grey(panel) == [False, True] + [False] * 5
    panel._table.selectRow(1)
    assert not panel._back.isEnabled() and "other work followed" in panel._back.toolTip()


def test_double_click_goes_to_the_place(worked: Any, qtbot: Any) -> None:
    panel, viewer = worked.panel_shown, worked.viewer
    viewer.camera.center = (0, 0)
    panel._table.doubleClicked.emit(panel._model.index(0, 0))
    assert viewer.camera.center[-2:] == pytest.approx((160, 160), abs=1)
    panel._model.data(panel._model.index(0, 0), Qt.ItemDataRole.DecorationRole)
    seq = panel._model.act(0).record.seq
    qtbot.waitUntil(lambda: seq in panel._model._pictures, timeout=30_000)
    assert not panel._model._pictures[seq].toImage().allGray()


def test_export_and_all_images(worked: Any, tmp_path: Path) -> None:
    panel = worked.panel_shown
    panel._which.setCurrentIndex(1)
    assert column(panel, 0)[0].endswith("– tissue")
    panel.export(tmp_path / "history.csv")
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 7


def test_ten_thousand_lines(worked: Any, qtbot: Any) -> None:
    panel, session = worked.panel_shown, worked.session
    repeat_last_edit(session.project, 10_000)
    started = time.process_time()
    panel._reload()
    panel._table.grab()
    read_s = time.process_time() - started
    assert panel._model.rowCount() == 10_006 and read_s < 2
    assert len(panel._model._words) < 40, "only lines in sight are made"
    image_id = worked.bridge.images.current
    started = time.process_time()
    session.record(image_id, "paint", Box(0, 0, 9, 9), np.full((9, 9), 2, np.uint8))
    assert time.process_time() - started < 0.25
    panel._table.scrollToBottom()
    started = time.process_time()
    panel._table.grab()
    assert time.process_time() - started < 0.5


def test_classes_that_go_and_come_back(worked: Any) -> None:
    panel, session = worked.panel_shown, worked.session
    session.classes.change([RemoveClass(2, 1)])
    assert column(panel, 0)[:2] == [
        "Given another class, 800 px: other tissue",
        "Class 'epithelium' was put into 'other tissue'",
    ]
    assert len(column(panel, 0)) == 8
    session.undo(worked.bridge.images.current)
    assert column(panel, 0)[0] == "Class 'epithelium' is back, since labels or cells with it came back"


def test_a_proposal_shows_without_a_click(worked: Any, qtbot: Any) -> None:
    panel, session = worked.panel_shown, worked.session
    labels = np.full((256, 256), 1, np.uint8)
    session.import_labels(worked.bridge.images.current, labels, verified=False)
    qtbot.waitUntil(lambda: column(panel, 0)[0] == "Masks brought in as a proposal", timeout=30_000)


def test_the_end_of_a_run_shows_without_a_click(worked: Any, qtbot: Any) -> None:
    panel, session = worked.panel_shown, worked.session
    image_id = worked.bridge.images.current
    run = session.project.begin_run(image_id, model="unknown", revision=None, box=Box(0, 0, 9, 9))
    session.labels_changed.emit(image_id, Box(0, 0, 9, 9))
    qtbot.waitUntil(lambda: column(panel, 0)[0] == "Run of unknown, running", timeout=30_000)
    session.project.end_run(run, "done")
    session.labels_changed.emit(image_id, Box(0, 0, 9, 9))
    qtbot.waitUntil(lambda: column(panel, 0)[0] == "Run of unknown", timeout=30_000)


def test_effort_in_plain_words(worked: Any, qtbot: Any) -> None:
    panel, session = worked.panel_shown, worked.session
    assert "tissue: 6 edits, " in panel._effort.text()
    session.undo(worked.bridge.images.current)
    qtbot.waitUntil(lambda: "7 edits (1 of them undo), " in panel._effort.text(), timeout=30_000)


def test_less_is_kept_when_the_person_says_so(worked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtpy.QtWidgets import QMessageBox

    panel, session = worked.panel_shown, worked.session
    image_id = worked.bridge.images.current
    shown = session.displayed(image_id)
    keep = panel._keep
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    keep._on_chosen(3)
    assert keep._choice.currentIndex() == 0 and session.project.keep_days is None
    keep.keep(0.0)
    assert keep._choice.currentText() == "0 days" and len(column(panel, 0)) == 6
    session.project.set_keep_days(45.0)
    keep.refresh()
    assert keep._choice.currentText() == "45 days" and keep._choice.count() == 6
    assert (session.displayed(image_id) == shown).all()
    panel._table.selectRow(3)
    panel.go_back_to(panel._model.act(3))
    panel._go_on()
    assert panel._steps is None and session.project.edit_count(image_id) == 6
    assert not session.project.can_undo(image_id)


def test_nothing_ticks_after_the_window(worked: Any) -> None:
    panel = worked.panel_shown
    panel.go_back_to(panel._model.act(5))
    panel._model.data(panel._model.index(0, 0), Qt.ItemDataRole.DecorationRole)
    panel._counting.start()
    ticking = [timer for timer in (panel._going, panel._model._drawing, panel._counting) if timer.isActive()]
    assert len(ticking) == 3
    worked.close()
    assert not any(timer.isActive() for timer in ticking)
