"""Class by similarity: a few cells are chosen, and those that look like them are shown, counted and classed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.session import JobStatus, Session
from napari_histoseg.session.similar import MOST_CHOSEN
from napari_histoseg.widgets.parts.numbers import grouped
from napari_histoseg.widgets.parts.panel import telling, text_label
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.swatch import SIDE_PX, swatch
from napari_histoseg.widgets.parts.view import View

_HOW = (
    f"Choose 1 to {MOST_CHOSEN} cells of one kind: click one, Shift+click the others. Those that look like them are "
    "shown, and get the same class when you say so."
)
_FIND = "Compare all cells with those chosen by size, shape, stain and texture"
_STEPS = 200
_AFTER_MS = 40
_BACKGROUND = 0
_LIKE = 0.5
_LEAST_AT_FIRST, _MOST_AT_FIRST = 20, 500


class SimilarBox(QWidget):
    """Chosen cells, the class that they stand for, and how many of the most similar cells get it too."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        self._image_id: str | None = None
        self._reason = ""
        self._classed_for: tuple[int, ...] = ()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self._said = text_label()
        self._class = QComboBox()
        self._class.setIconSize(QSize(SIDE_PX, SIDE_PX))
        self._class.setToolTip("The class of the chosen cells and of all that are marked")
        self._class.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._class.activated.connect(lambda _: self._show_soon())
        form = QFormLayout()
        form.addRow("They are", self._class)
        self._find = QPushButton("Find similar")
        self._find.clicked.connect(lambda _=False: self._on_find_clicked())
        self._progress = ProgressRow()
        self._found = self._built_found()
        column.addWidget(self._said)
        column.addLayout(form)
        for widget in (self._find, self._progress, self._found):
            column.addWidget(widget)
        self._timer = self._built_timer(_AFTER_MS, self._show)
        self._laid_out = self._built_timer(0, self._scroll_into_view)
        self._found.hide()

    def _built_timer(self, after_ms: int, act: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(after_ms)
        timer.timeout.connect(act)
        return timer

    def _built_found(self) -> QWidget:
        found = QWidget()
        column = QVBoxLayout(found)
        column.setContentsMargins(0, 0, 0, 0)
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, _STEPS)
        self._slider.setToolTip("How many of the most similar cells are marked (arrow keys)")
        self._slider.valueChanged.connect(self._on_slider_moved)
        self._number = QSpinBox()
        self._number.setToolTip("How many of the most similar cells are marked")
        self._number.valueChanged.connect(self._on_number_changed)
        row = QHBoxLayout()
        row.addWidget(self._slider, 1)
        row.addWidget(self._number)
        self._counted = text_label()
        self._apply = QPushButton("Apply")
        self._apply.setToolTip("Give all marked cells the class, as one step that undo takes back (key Enter)")
        self._apply.clicked.connect(lambda _=False: self._on_apply_clicked())
        self._cancel = QPushButton("Cancel")
        self._cancel.setToolTip("Change nothing (key Esc)")
        self._cancel.clicked.connect(lambda _=False: self.drop())
        buttons = QHBoxLayout()
        buttons.addWidget(self._apply, 1)
        buttons.addWidget(self._cancel)
        column.addLayout(row)
        column.addWidget(self._counted)
        column.addLayout(buttons)
        return found

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Enter applies and Esc cancels while cells are marked and the focus is in here."""
        if not self.is_showing:
            super().keyPressEvent(event)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._on_apply_clicked()
        elif event.key() == Qt.Key.Key_Escape:
            self.drop()
        else:
            super().keyPressEvent(event)

    # -- what the panel tells --------------------------------------------------------------------------------------

    def refresh(self, reason: str) -> None:
        """Show which cells are chosen and what can be done; after another image or selection, and after edits.

        Parameters
        ----------
        reason : str
            Why nothing can be done to cells; empty when there are some.
        """
        self._reason = reason
        if self._image_id is not None and self._image_id != self._view.images.current:
            self.drop()
        if self.is_showing:
            self._show_soon()
        elif self._classed_for != self._view.cells.selection or not self._class.count():
            self._fill_classes()
        count = len(self._view.cells.selection)
        cells = "cell is" if count == 1 else "cells are"
        self._said.setText(_HOW if not count else f"{count} {cells} chosen.")
        missing = reason
        if not missing and not 1 <= count <= MOST_CHOSEN:
            missing = "choose some cells first." if not count else f"choose at most {MOST_CHOSEN} cells."
        is_running = self._session.is_running("features")
        self._find.setText("Cancel" if is_running else "Find similar")
        allow(self._find, "Stop measuring the cells" if is_running else _FIND, "" if is_running else missing)
        self._class.setEnabled(bool(count) and not reason)

    def show_status(self, status: JobStatus) -> None:
        """Show how far the measuring of the cells is."""
        self._progress.show_status(status)
        self.refresh(self._reason)

    def show_found(self, image_id: str) -> None:
        """Mark the cells that look like the chosen ones, as many as are rather like them than not."""
        if image_id != self._view.images.current:
            return
        self._image_id = image_id
        ids, similarities = self._session.similar.ranked(image_id)
        self._found.show()
        alike = int((similarities >= _LIKE).sum())
        self._set_count(min(max(alike, _LEAST_AT_FIRST), _MOST_AT_FIRST), len(ids))
        self._show()
        self._slider.setFocus()
        self._laid_out.start()

    @property
    def is_showing(self) -> bool:
        """Whether found cells are marked on the image now."""
        return self._image_id is not None

    def drop(self) -> None:
        """Take the marks off the image and forget what was found."""
        self._timer.stop()
        self._found.hide()
        self._image_id = None
        self._session.similar.forget()
        self._view.cells.clear_preview()

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_find_clicked(self) -> None:
        image_id = self._view.images.current
        if self._session.is_running("features"):
            self._session.cancel("features")
        elif image_id is not None:
            self.drop()
            with telling(self._view):
                self._session.similar.find(image_id, self._view.cells.selection)
        self.refresh(self._reason)

    def _on_slider_moved(self, step: int) -> None:
        self._number.setValue(round(self._number.maximum() * (step / _STEPS) ** 2))

    def _on_number_changed(self, count: int) -> None:
        self._place_slider(count)
        self._show_soon()

    def _on_apply_clicked(self) -> None:
        image_id, class_id = self._image_id, self._class.currentData()
        if image_id is None or class_id is None:
            return
        count = len(self._marked(image_id))
        with telling(self._view):
            self._session.similar.apply(image_id, self._number.value(), class_id)
            cells = "1 cell is" if count == 1 else f"{grouped(count)} cells are"
            self._view.say("info", f"{cells} {self._class.currentText()} now, on your word; undo takes it back.")
            self.drop()

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _fill_classes(self) -> None:
        """The classes of the project; the one that most of the chosen cells have is taken."""
        project, image_id = self._session.project, self._view.images.current
        self._classed_for = self._view.cells.selection
        self._class.clear()
        if project is None or image_id is None:
            return
        for label in (c for c in project.schema.classes if c.id != _BACKGROUND):
            self._class.addItem(swatch(label.color), label.name, label.id)
        cells = self._session.cells.of(image_id)
        held = cells.class_of([k for k in self._classed_for if k in cells])
        held = held[held != IGNORE]
        if held.size:
            self._class.setCurrentIndex(self._class.findData(int(np.bincount(held).argmax())))

    def _set_count(self, count: int, most: int) -> None:
        self._number.blockSignals(True)
        self._number.setRange(0, most)
        self._number.setValue(count)
        self._number.blockSignals(False)
        self._place_slider(self._number.value())

    def _place_slider(self, count: int) -> None:
        """Few cells take much of the slider, many take little."""
        self._slider.blockSignals(True)
        self._slider.setValue(round(_STEPS * (count / max(1, self._number.maximum())) ** 0.5))
        self._slider.blockSignals(False)

    def _scroll_into_view(self) -> None:
        """Make the panel around scroll until the last button is seen."""
        around = self.parentWidget()
        while around is not None and not isinstance(around, QScrollArea):
            around = around.parentWidget()
        if around is not None:
            around.ensureWidgetVisible(self._found)

    def _show_soon(self) -> None:
        if self.is_showing:
            self._timer.start()

    def _marked(self, image_id: str) -> list[int]:
        similar = self._session.similar
        return [*similar.chosen(image_id).tolist(), *similar.ranked(image_id)[0][: self._number.value()].tolist()]

    def _show(self) -> None:
        image_id, class_id = self._image_id, self._class.currentData()
        if image_id is None or class_id is None or self._session.project is None:
            return
        most = len(self._session.similar.ranked(image_id)[0])
        if most != self._number.maximum():
            self._set_count(self._number.value(), most)
        marked = self._marked(image_id)
        self._view.cells.preview(marked, class_id)
        changed = int((self._session.cells.of(image_id).class_of(marked) != class_id).sum())
        left_out = self._session.similar.left_out(image_id)
        said = f"{grouped(len(marked))} cells are marked, {grouped(changed)} of them change class."
        if left_out:
            said += f" {grouped(left_out)} that you checked before are left out."
        self._counted.setText(said)
        allow(self._apply, self._apply.toolTip().partition("\n")[0], "" if marked else "no cell is marked.")
