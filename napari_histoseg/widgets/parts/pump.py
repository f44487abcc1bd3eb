"""Bringing what the lane's thread sends to the thread of the window."""

from __future__ import annotations

from collections.abc import Callable

from psygnal import emit_queued
from qtpy.QtCore import QTimer

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


def _deliver() -> None:
    emit_queued()
