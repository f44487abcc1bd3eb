"""Is the window alive while the model learns: gaps of the event loop during fine-tuning, with 100 strokes painted.

A 10 ms timer of the window notes when it is called; the time between two calls is a gap in which nothing moved. Strokes
are real mouse events on the canvas, one every second. The numbers to hold on two cores: p95 at most 40 ms, none above
200 ms, and every stroke in the journal.

Run under a screen or: xvfb-run --server-args='-screen 0 1366x768x24' python -m benchmarks.liveness [STROKES]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

_STROKES = int(sys.argv[1]) if len(sys.argv) > 1 else 100
_PACE_S = 1.0
_TICK_MS = 10


def main() -> None:
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
    from napari_histoseg.core.box import Box
    from napari_histoseg.demo import SAMPLE, paint_worst_place, stained_glands
    from napari_histoseg.learning.plan import FineTunePlan
    from napari_histoseg.plugin import open_window
    from napari_histoseg.samples import get_sample
    from napari_histoseg.widgets.parts.pump import Ticker, wait_until

    bench = open_window()
    bench.viewer.window.resize(1366, 768)
    session = bench.session
    project = session.create_project(Path(tempfile.mkdtemp()) / "live.histoseg")
    bench.bridge.images.open(get_sample(SAMPLE).open())
    image_id = bench.bridge.images.current or ""
    bench.bridge.segment()
    wait_until(lambda: not session.is_running("predict"), 120)
    ref = session.image_ref(image_id)
    seen = stained_glands(ref.read(0, Box.of_shape(ref.shape)))
    for _ in range(3):
        paint_worst_place(bench, seen)
    bench.open_panels("Retrain")

    losses: list[float] = []
    session.loss_added.connect(lambda _step, loss: losses.append(loss))
    times: list[float] = []
    ticker = Ticker(_TICK_MS, lambda: times.append(time.perf_counter()))
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 3, 10)
    report("idle", times)

    hand = Hand(bench)
    before = project.edit_count(image_id)
    times.clear()
    paint_at_leisure(hand, _STROKES // 4)
    report("painting", times)

    session.retrain(FineTunePlan(steps=10_000, minutes=_STROKES * _PACE_S / 60 + 0.5))
    wait_until(lambda: bool(losses), 120)
    times.clear()
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 10, 20)
    report("retraining", times)
    times.clear()
    paint_at_leisure(hand, _STROKES)
    report("retraining and painting", times)
    strokes = project.edit_count(image_id) - before
    print(f"{strokes} of {_STROKES + _STROKES // 4} strokes in the journal; steps taken meanwhile: {len(losses)}")
    session.cancel("finetune")
    wait_until(lambda: not session.is_running("predict"), 60)
    ticker.stop()
    bench.close()
    bench.viewer.close()


def paint_at_leisure(hand: Hand, strokes: int) -> None:
    """One stroke every ``_PACE_S`` seconds, as somebody who looks before painting."""
    from napari_histoseg.widgets.parts.pump import wait_until

    begun = time.monotonic()
    for k in range(strokes):
        hand.stroke()
        until = begun + (k + 1) * _PACE_S
        wait_until(partial(_is_past, until), 60)


def _is_past(until: float) -> bool:
    return time.monotonic() > until


class Hand:
    """Paints short strokes with mouse events, each of another class than what is there."""

    def __init__(self, bench: Any) -> None:
        self._bench = bench
        self._canvas = bench.viewer.window._qt_viewer.canvas.native
        self._rng = np.random.default_rng(0)
        bench.bridge.tools.set_brush_size(12)

    def stroke(self) -> None:
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        x, y = (int(self._rng.uniform(0.25, 0.7) * side) for side in (self._canvas.width(), self._canvas.height()))
        self._bench.bridge.tools.set_class(2 if self._class_at(x, y) == 1 else 1)
        none = Qt.KeyboardModifier.NoModifier
        QTest.mouseMove(self._canvas, QPoint(x, y))
        QTest.mousePress(self._canvas, Qt.MouseButton.LeftButton, none, QPoint(x, y))
        for step in range(1, 9):
            QTest.mouseMove(self._canvas, QPoint(x + 5 * step, y + 3 * step))
            _breathe(QApplication, 0.016)
        QTest.mouseRelease(self._canvas, Qt.MouseButton.LeftButton, none, QPoint(x + 40, y + 24))
        _breathe(QApplication, 0.1)

    def _class_at(self, x: int, y: int) -> int:
        camera, layer = self._bench.viewer.camera, self._bench.bridge.tools.layer
        offset = np.array([y - self._canvas.height() / 2, x - self._canvas.width() / 2]) / camera.zoom
        row, column = np.rint(layer.world_to_data(np.array(camera.center[-2:]) + offset)).astype(int)
        return int(layer.data[row, column])


def _breathe(application: Any, seconds: float) -> None:
    """What the event loop does between two movements of the hand."""
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:
        application.processEvents()
        time.sleep(min(left, 0.001))
    application.processEvents()


def report(what: str, times: list[float]) -> None:
    gaps = np.diff(times) * 1e3
    p50, p95, p99 = np.percentile(gaps, (50, 95, 99))
    print(
        f"{what:24} {len(gaps):6d} ticks of {_TICK_MS} ms: p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, "
        f"max {gaps.max():.0f} ms, {(gaps > 200).sum()} above 200 ms",
        flush=True,
    )


if __name__ == "__main__":
    main()
