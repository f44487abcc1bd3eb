"""How far a run is, its pace and the time left."""

from __future__ import annotations

import time

from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_histoseg.session import JobStatus
from napari_histoseg.widgets.parts.panel import text_label
from napari_histoseg.widgets.parts.times import duration

UNITS = {
    "predict": "tiles",
    "finetune": "steps",
    "score": "fields",
    "points": "parts",
    "features": "cells",
    "repaint": "tiles",
}


class ProgressRow(QWidget):
    """A bar and a line of text; hidden while nothing runs."""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        self._bar = QProgressBar()
        self._bar.setTextVisible(True)
        self._text = text_label()
        column.addWidget(self._bar)
        column.addWidget(self._text)
        self._started = 0.0
        self.hide()

    def show_status(self, status: JobStatus) -> None:
        """Show a status; the bar hides when the run is over."""
        if status.is_over:
            self.hide()
            return
        if not self.isVisible():
            self._started = time.monotonic()
        self._bar.setRange(0, status.total)
        self._bar.setValue(min(status.done, status.total))
        self._text.setText(self._words(status))
        self.show()

    def _words(self, status: JobStatus) -> str:
        if status.state == "queued" or status.total == 0:
            return status.message or "Starting"
        words = [f"{status.done} of {status.total} {UNITS[status.kind]}"]
        elapsed = time.monotonic() - self._started
        if status.done > 0 and elapsed > 0.5:
            rate = status.done / elapsed
            words.append(f"{rate:.1f} per s" if rate >= 1 else f"{1 / rate:.1f} s each")
        if status.eta_s is not None:
            words.append(f"{duration(status.eta_s)} left")
        return ", ".join(words)
