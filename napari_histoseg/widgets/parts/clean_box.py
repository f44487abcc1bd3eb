"""Mending many cells at once: sizes, outlines, regions."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QDoubleSpinBox, QGridLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_histoseg.session import JobStatus, Session
from napari_histoseg.widgets.parts.panel import telling, text_label
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.view import View

_COLUMNS, _THIRD = 6, 2
_SMALL_UM2 = 10.0
_STEP_UM = 0.25

Act = Callable[[str, tuple[int, ...] | None], object]


class CleanBox(QWidget):
    """What is done to the cells chosen, else to all cells of the image; each button is one step of undo."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        self._buttons: dict[QPushButton, str] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self._scope = text_label()
        column.addWidget(self._scope)
        self._grid = QGridLayout()
        self._grid.setSpacing(3)
        column.addLayout(self._grid)
        self._least = _field(1.0, 1000.0, _SMALL_UM2, 1.0, " µm²", "Cells smaller than this go")
        self._step = _field(0.05, 10.0, _STEP_UM, 0.05, " µm", "How far outlines move")
        self._build()
        self._progress = ProgressRow()
        column.addWidget(self._progress)

    def _build(self) -> None:
        cells, grid = self._session.cells, self._grid
        for column in range(_COLUMNS):
            grid.setColumnStretch(column, 1)
        grid.addWidget(QLabel("Smaller than"), 0, 0, 1, _THIRD)
        grid.addWidget(self._least, 0, _THIRD, 1, _THIRD)
        small = "Delete all cells of the image that are smaller, chosen or not"
        self._add(0, 4, "Delete", small, lambda image_id, _: cells.delete_smaller(image_id, self._least.value()))
        grid.addWidget(self._step, 1, 0, 1, _THIRD)
        grow = f"Move outlines outwards, never over a neighbour (key {self._view.cells.key_of('grow')})"
        self._add(1, 2, "Grow", grow, lambda image_id, ids: cells.grow(image_id, ids, self._step.value()))
        shrink = f"Move outlines inwards (key {self._view.cells.key_of('shrink')})"
        self._add(1, 4, "Shrink", shrink, lambda image_id, ids: cells.grow(image_id, ids, -self._step.value()))
        smooth = f"Round off jagged outlines (key {self._view.cells.key_of('smooth')})"
        self._add(2, 0, "Smooth", smooth, cells.smooth)
        fill = f"Close holes inside cells (key {self._view.cells.key_of('fill_holes')})"
        self._add(2, 2, "Fill holes", fill, cells.fill_holes)
        again = f"Let the model in use outline these cells anew (key {self._view.cells.key_of('repaint')})"
        self._add(2, 4, "Outline anew", again, cells.repaint)
        regions = "Make a cell of every connected painted region of the class chosen in the legend"
        self._add(3, 0, "Regions to cells", regions, lambda image_id, _: self._from_regions(image_id), columns=3)
        paint = "Paint cells into the regions with their classes, as your corrections, for training"
        self._add(3, 3, "Cells to regions", paint, cells.to_regions, columns=3)

    def refresh(self, reason: str) -> None:
        """Show which cells are meant and what can be done.

        Parameters
        ----------
        reason : str
            Why nothing can be done to cells; empty when there are some.
        """
        chosen = len(self._view.cells.selection)
        cells = "cell" if chosen == 1 else "cells"
        self._scope.setText(f"For the {chosen} chosen {cells}:" if chosen else "For all cells of the image:")
        for button, tooltip in self._buttons.items():
            is_from_regions = button.text() == "Regions to cells"
            allow(button, tooltip, "" if is_from_regions and self._view.images.current is not None else reason)

    def show_status(self, status: JobStatus) -> None:
        """Show how far the model is."""
        self._progress.show_status(status)

    def _add(self, row: int, column: int, title: str, tooltip: str, act: Act, *, columns: int = _THIRD) -> None:
        button = QPushButton(title)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        button.clicked.connect(lambda _=False: self._do(act))
        self._buttons[button] = tooltip
        self._grid.addWidget(button, row, column, 1, columns)

    def _do(self, act: Act) -> None:
        image_id = self._view.images.current
        if image_id is None:
            return
        with telling(self._view):
            act(image_id, self._view.cells.selection or None)

    def _from_regions(self, image_id: str) -> None:
        class_id = self._view.tools.class_id
        if class_id is not None:
            self._session.cells.from_regions(image_id, [class_id])


def _field(low: float, high: float, value: float, step: float, unit: str, tooltip: str) -> QDoubleSpinBox:
    field = QDoubleSpinBox()
    field.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    field.setRange(low, high)
    field.setSingleStep(step)
    field.setDecimals(2 if step < 1 else 0)
    field.setValue(value)
    field.setSuffix(unit)
    field.setToolTip(f"{tooltip} (arrow keys change it)")
    field.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return field
