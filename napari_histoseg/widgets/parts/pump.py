"""Bringing what the lane's thread sends to the thread of the window."""

from __future__ import annotations

import time
from collections.abc import Callable

from psygnal import emit_queued
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

_EVERY_MS = 15
"""Often enough for the eye; a timer that always fires would take a core from the training."""


class Ticker:
    """Calls something again and again while the window is idle.

    Parameters
    ----------
    every_ms : int
    act : callable
    """

    def __init__(self, every_ms: int, act: Callable[[], None]) -> None:
        self._timer = QTimer()
        self._timer.setInterval(every_ms)
        self._timer.timeout.connect(act)
        self._timer.start()

    def stop(self) -> None:
        """Stop calling and delete the timer."""
        self._timer.stop()
        self._timer.deleteLater()


def queue_pump() -> Ticker:
    """Delivers psygnal's queued callbacks while it runs."""
    return Ticker(_EVERY_MS, _deliver)


def soon(act: Callable[[], None]) -> None:
    """Call ``act`` when the window has finished what it is doing."""
    QTimer.singleShot(0, act)


def wait_until(is_done: Callable[[], bool], patience_s: float) -> bool:
    """Keep the window alive until something is done; False when that takes longer than ``patience_s``."""
    deadline = time.monotonic() + patience_s
    while True:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, _EVERY_MS)
        if is_done():
            QApplication.processEvents()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_EVERY_MS / 2000)


def _deliver() -> None:
    emit_queued()
