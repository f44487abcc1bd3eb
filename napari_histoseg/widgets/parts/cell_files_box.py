"""Points and cells from files and into files."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QGridLayout, QPushButton, QWidget

from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.import_dialog import ask_import
from napari_histoseg.widgets.parts.panel import telling
from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.view import View

_CSV = "CSV files (*.csv)"


class CellFilesBox(QWidget):
    """Import and export of points, import of masks."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        self._import = QPushButton("Import points…")
        self._import.clicked.connect(lambda _=False: self._on_import_clicked())
        self._export = QPushButton("Export points…")
        self._export.clicked.connect(lambda _=False: self._on_export_clicked())
        self._masks = QPushButton("Import cells or masks…")
        self._masks.clicked.connect(lambda _=False: self._on_masks_clicked())
        grid.addWidget(self._import, 0, 0)
        grid.addWidget(self._export, 0, 1)
        grid.addWidget(self._masks, 1, 0, 1, 2)

    def refresh(self, points: int, reason: str) -> None:
        """Show what can be done.

        Parameters
        ----------
        points : int
            Points of the image.
        reason : str
            Why no cell can grow on this image; empty when it can.
        """
        busy = "cells are being outlined." if self._session.is_running("points") else ""
        allow(
            self._import, "Read points from a table with the columns x, y and class; their cells grow", reason or busy
        )
        missing = "" if points else "there is no point yet."
        allow(self._export, "Write all points as a table with the columns x, y and class, in pixels", missing)
        masks = "Bring in outlines or label images of other programs, as a proposal or as verified"
        allow(self._masks, masks, "" if self._view.images.current is not None else "open an image first.")

    def _on_import_clicked(self) -> None:
        image_id = self._view.images.current
        path, _ = QFileDialog.getOpenFileName(self, "Points of cells", str(Path.home()), _CSV)
        if not path or image_id is None:
            return
        with telling(self._view):
            for note in self._session.points.import_csv(image_id, path):
                self._view.say("warning", note)

    def _on_export_clicked(self) -> None:
        image_id, project = self._view.images.current, self._session.project
        if image_id is None or project is None:
            return
        start = Path.home() / f"{Path(project.image(image_id).name).stem}_points.csv"
        path, _ = QFileDialog.getSaveFileName(self, "Export points", str(start), _CSV)
        if not path:
            return
        with telling(self._view):
            self._session.points.export_csv(image_id, path)
            self._view.say("info", f"The points are in '{path}'.")

    def _on_masks_clicked(self) -> None:
        with telling(self._view):
            ask_import(self._session, self._view, self)
