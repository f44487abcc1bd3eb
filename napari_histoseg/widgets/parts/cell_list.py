"""All cells of the image: their table, and measuring how strongly each is stained."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_histoseg.session import JobStatus, Session
from napari_histoseg.widgets.parts.cell_table import CellTableView
from napari_histoseg.widgets.parts.panel import telling
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.view import View

_MEASURE = "Measure the mean amount of haematoxylin of each cell, in the background"


class CellList(QWidget):
    """The table, whose rows chosen are the cells chosen, and a button while some cells are not measured."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        self._table = CellTableView(self._on_key)
        self._table.chosen.connect(view.cells.select)
        self._table.jumped.connect(view.cells.jump_to)
        self._measure = QPushButton("Measure the stain")
        self._measure.setToolTip(_MEASURE)
        self._measure.clicked.connect(lambda _=False: self._on_measure_clicked())
        self._progress = ProgressRow()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        for widget in (self._table, self._measure, self._progress):
            column.addWidget(widget)

    def refresh(self, reason: str) -> None:
        """Show the cells of the image, when the table is in sight.

        Parameters
        ----------
        reason : str
            Why cells of this image cannot be measured; empty when they can.
        """
        image_id = self._view.images.current
        if not self.isVisible() or image_id is None or self._session.project is None:
            return
        cells = self._session.cells.table(image_id)
        self._table.show_cells(cells, self._view.appearance.schema, self._view.cells.selection)
        is_running = self._session.is_running("features")
        self._measure.setVisible(bool(np.isnan(cells.haematoxylin).any()))
        allow(self._measure, _MEASURE, "the cells are being measured." if is_running else reason)

    def show_selection(self) -> None:
        """Choose the rows of the cells that are chosen."""
        if self.isVisible() and set(self._table.ids) != set(self._view.cells.selection):
            self._table.choose(self._view.cells.selection)

    def show_status(self, status: JobStatus) -> None:
        """Show how far the measuring is."""
        self._progress.show_status(status)

    def _on_key(self, name: str) -> bool:
        """A class letter, A (it is right) or Delete on rows."""
        image_id, schema, ids = self._view.images.current, self._view.appearance.schema, self._table.ids
        if image_id is None or schema is None or not ids:
            return False
        class_id = next((c.id for c in schema.classes if c.key == name), None)
        cells = self._session.cells
        acts = {"delete": cells.delete, "a": cells.verify}
        if class_id is None and name not in acts:
            return False
        with telling(self._view):
            if class_id is None:
                acts[name](image_id, ids)
            else:
                cells.set_class(image_id, ids, class_id)
        return True

    def _on_measure_clicked(self) -> None:
        image_id = self._view.images.current
        if image_id is not None:
            with telling(self._view):
                self._session.similar.measure(image_id)
