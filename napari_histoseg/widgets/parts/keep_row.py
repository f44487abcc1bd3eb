"""How far back undo reaches, and what the project takes on the disk for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QApplication, QComboBox, QHBoxLayout, QLabel, QMessageBox, QSizePolicy, QWidget

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.widgets.parts.sizes import memory

if TYPE_CHECKING:
    from napari_histoseg.session import Session
    from napari_histoseg.widgets.parts.view import View

_CHOICES = ((None, "all the way"), (365.0, "one year"), (90.0, "90 days"), (30.0, "30 days"), (7.0, "7 days"))
_WHY = (
    "Older edits lose their pixels when you choose a time here, so that the project folder stays small. Labels and "
    "cells stay as they are, and so does the list of who did what and when."
)


class KeepRow(QWidget):
    """A choice of times; choosing less than everything is asked about, since it cannot be taken back."""

    compacted = Signal()

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session, self._view = session, view
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._choice = QComboBox()
        for days, title in _CHOICES:
            self._choice.addItem(title, days)
        self._choice.setToolTip(_WHY)
        self._choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choice.activated.connect(self._on_chosen)
        row.addWidget(QLabel("Undo reaches back"))
        row.addWidget(self._choice, 1)
        self.refresh()

    def refresh(self) -> None:
        """Show what the project remembers."""
        project = self._session.project
        days = None if project is None else project.keep_days
        known = [choice for choice, _ in _CHOICES]
        while self._choice.count() > len(known):
            self._choice.removeItem(len(known))
        if days not in known:  # set by the command
            self._choice.addItem(f"{days:g} days", days)
            known.append(days)
        self._choice.setCurrentIndex(known.index(days))
        self._choice.setEnabled(project is not None and not project.read_only)

    def keep(self, days: float | None) -> None:
        """Let undo reach that many days back, None for all the way, and drop the pixels of what is older now."""
        project = self._session.project
        if project is None:
            return
        QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
        try:
            project.set_keep_days(days)
            done = None if days is None else project.compact(days)
        except HistosegError as error:
            self._view.say("error", str(error))
        else:
            if done is not None and done.edits:
                freed = memory(max(0, done.before_bytes - done.after_bytes))
                self._view.say("info", f"{done.edits} old edits lost their pixels; that freed {freed}.")
        finally:
            QApplication.restoreOverrideCursor()
        self.refresh()
        self.compacted.emit()

    def _on_chosen(self, index: int) -> None:
        days = self._choice.itemData(index)
        if days is None or self._is_sure(self._choice.itemText(index)):
            self.keep(days)
        else:
            self.refresh()

    def _is_sure(self, time: str) -> bool:
        question = f"Edits older than {time} can then no longer be taken back. Drop their pixels now?"
        return bool(QMessageBox.question(self, "Keep the project small", question) == QMessageBox.StandardButton.Yes)
