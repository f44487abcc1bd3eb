"""A person's way through the window with mouse and keys: segment, read, correct, retrain, come back.

With ``HISTOSEG_SCREENSHOTS`` set to a folder, each step leaves a picture there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton, QTableWidget

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.plan import FineTunePlan

STEPS = 12


class Person:
    """Looks at panels, clicks buttons by their text, takes pictures."""

    def __init__(self, bench: Any, qtbot: Any) -> None:
        self.bench = bench
        self._qtbot = qtbot
        self._pictures = 0

    def panel(self, name: str) -> Any:
        return self.bench.viewer.window.dock_widgets[f"{name} (napari-histoseg)"]

    def click(self, panel: str, text: str) -> None:
        found = [b for b in self.panel(panel).findChildren(QPushButton) if b.text() == text and b.isVisible()]
        assert found, f"no button '{text}' to be seen in {panel}"
        assert found[0].isEnabled(), f"'{text}' is disabled: {self.panel(panel).next_step.text()}"
        QTest.mouseClick(found[0], Qt.MouseButton.LeftButton)

    def another_class(self, y: int, x: int) -> str:
        """Name of a class that is not there yet."""
        here = self.bench.session.displayed(self.bench.bridge.images.current)[y, x]
        return next(c.name for c in self.bench.session.project.schema.classes[1:] if c.id != here)

    def key_of(self, name: str) -> str:
        return self.bench.session.project.schema.by_name(name).key.upper()

    def wait_for(self, kind: str, seconds: float) -> None:
        self._qtbot.waitUntil(lambda: not self.bench.session.is_running(kind), timeout=int(1000 * seconds))

    def picture(self, name: str) -> None:
        self._qtbot.wait(300)
        folder = os.environ.get("HISTOSEG_SCREENSHOTS")
        if folder:
            self._pictures += 1
            path = Path(folder) / f"{self._pictures}_{name}.png"
            self.bench.viewer.screenshot(str(path), canvas_only=False, flash=False)


@pytest.mark.both_bindings
def test_segment_read_correct_retrain_and_come_back(
    bench: Any, hand: Any, qtbot: Any, make_napari_viewer: Callable[..., Any]
) -> None:
    person, session = Person(bench, qtbot), bench.session

    # segment
    bench.viewer.open_sample("napari-histoseg", "ihc")
    person.picture("opened")
    person.click("Segment", "Segment")
    person.wait_for("predict", 60)
    person.picture("segmented")
    image_id, labels = bench.bridge.images.current, bench.bridge.tools.layer
    assert (labels.data != IGNORE).all()
    assert set(np.unique(labels.data)) <= set(session.project.schema.ids)

    # read it
    shares = session.shares(image_id)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert "class: " in labels.get_status((200, 200), dims_displayed=[0, 1], view_direction=None)["value"]

    # correct: a click in the legend, then keys
    bench.open_panels("Correct")
    bench.bridge.tools.set_brush_size(17)
    person.click("Classes", person.another_class(430, 90))
    hand.stroke((430, 90), (460, 100), (490, 115))
    hand.key(person.key_of(person.another_class(300, 130)))
    hand.stroke((300, 130), (330, 150), (330, 170))
    hand.key("Z", control=True)
    assert session.project.edit_count(image_id) == 1
    hand.key("Z", control=True, shift=True)
    assert session.project.edit_count(image_id) == 2
    hand.key(person.key_of(person.another_class(360, 60)))
    hand.stroke((360, 60), (380, 70))
    hand.key("D")
    person.picture("corrected")
    hand.key("D")
    np.testing.assert_array_equal(labels.data, session.displayed(image_id))
    edited = session.state(image_id) == 1
    assert edited.any()
    vouched = labels.data[edited].copy()

    # retrain, painting on meanwhile
    bench.open_panels("Retrain")
    person.panel("Retrain")._form.set_plan(FineTunePlan(steps=STEPS))
    person.click("Retrain", "Retrain on edits")
    qtbot.waitUntil(lambda: len(person.panel("Retrain")._curve.points) >= 2, timeout=120_000)
    hand.key(person.key_of(person.another_class(470, 200)))
    hand.stroke((470, 200), (490, 210))
    person.picture("retraining")
    person.wait_for("finetune", 200)
    person.wait_for("predict", 60)
    person.picture("retrained")
    assert session.project.edit_count(image_id) == 4
    (revision,) = session.revisions()
    assert revision.verdict in ("promoted", "refused")
    assert len(person.panel("Retrain")._curve.points) == STEPS
    np.testing.assert_array_equal(labels.data[edited], vouched)
    np.testing.assert_array_equal(labels.data, session.displayed(image_id))
    if session.active.revision_id is None:
        person.panel("Retrain").findChild(QTableWidget).selectRow(0)
        person.click("Retrain", "Use this revision")
        person.wait_for("predict", 60)
    assert session.active.revision_id == revision.id

    # accept what is on screen
    bench.open_panels("Correct")
    bench.viewer.camera.zoom *= 3
    qtbot.wait(100)
    person.click("Correct", "Accept this view")
    assert (session.state(image_id) == 2).any()
    person.picture("accepted")

    # come back
    before, state = session.displayed(image_id), session.state(image_id)
    bench.close()
    bench.viewer.close()
    from napari_histoseg.plugin import workbench

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    again = workbench(viewer)
    again.open_panels("Retrain")
    again.open_last_project()
    person.bench = again
    person.picture("back")
    assert again.bridge.images.current == image_id
    np.testing.assert_array_equal(again.bridge.tools.layer.data, before)
    np.testing.assert_array_equal(again.session.state(image_id), state)
    assert [r.id for r in again.session.revisions()] == [revision.id]
    assert again.session.active.revision_id == revision.id
    person.click("Retrain", "Roll back")
    person.wait_for("predict", 60)
    assert again.session.active.revision_id is None
    np.testing.assert_array_equal(again.session.displayed(image_id)[edited], vouched)
    again.close()
