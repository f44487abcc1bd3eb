"""Cells from points: how they grow, and the run over the whole image."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_histoseg.session import JobStatus, Session
from napari_histoseg.widgets.parts.panel import telling
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.view import View

_MODES = (
    ("marker", "grow from points", "Each point grows within the stain around it; best where nuclei touch or are pale"),
    (
        "contour",
        "outline nuclei first",
        "Nuclei are outlined by their stain and then given to the points in them; best where they lie apart",
    ),
)
_UNLABELLED = (
    ("ignore", "left out", "Stained nuclei without a point may be cells that nobody marked: they teach nothing"),
    ("background", "background", "Every cell of the image has a point: what has none is background"),
)
_RUN = (
    "Outline all cells anew from their points, for instance after choosing another way above. Cells that you drew, "
    "changed or checked stay as they are"
)
_NUCLEI = "What stained nuclei without a cell become in labels from cells"
_PAINT = "Replace the labels of the image by its cells with background around them, for training; undo brings them back"


class PointsBox(QWidget):
    """Way of growing, Cells from points and Labels from cells, and their progress."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        form = QFormLayout()
        form.setVerticalSpacing(3)
        self._mode = _combo(_MODES, "How a point becomes the outline of its nucleus")
        self._mode.activated.connect(lambda _: self._on_mode_chosen())
        self._unlabelled = _combo(_UNLABELLED, _NUCLEI)
        self._unlabelled.activated.connect(lambda _: self._on_unlabelled_chosen())
        form.addRow("Outlines", self._mode)
        form.addRow("Unmarked nuclei", self._unlabelled)
        column.addLayout(form)
        self._run = QPushButton("Cells from points")
        self._run.clicked.connect(lambda _=False: self._on_run_clicked())
        self._paint = QPushButton("Labels from cells")
        self._paint.clicked.connect(lambda _=False: self._on_paint_clicked())
        self._progress = ProgressRow()
        column.addWidget(self._run)
        column.addWidget(self._paint)
        column.addWidget(self._progress)

    def refresh(self, points: int, reason: str) -> None:
        """Show how many points there are and what can be done.

        Parameters
        ----------
        points : int
            Points of the image.
        reason : str
            Why no cell can grow on this image; empty when it can.
        """
        work = self._session.points
        self._mode.setCurrentIndex(self._mode.findData(work.mode))
        self._unlabelled.setCurrentIndex(self._unlabelled.findData(work.unlabelled))
        is_running = self._session.is_running("points")
        amount = "1 point" if points == 1 else f"{points} points" if points else "points"
        self._run.setText("Cancel" if is_running else f"Cells from {amount}")
        missing = reason or ("" if points else "there is no point yet; place some or import them.")
        if is_running:
            allow(self._run, "Stop; the cells stay as they were", "")
        else:
            allow(self._run, _RUN, missing)
        allow(self._mode, "How a point becomes the outline of its nucleus", reason)
        allow(self._unlabelled, _NUCLEI, reason)
        allow(self._paint, _PAINT, reason or ("cells or labels are being made; wait or cancel." if is_running else ""))

    def show_status(self, status: JobStatus) -> None:
        """Show how far the run is."""
        self._progress.show_status(status)

    def _on_mode_chosen(self) -> None:
        with telling(self._view):
            self._session.points.mode = self._mode.currentData()

    def _on_unlabelled_chosen(self) -> None:
        with telling(self._view):
            self._session.points.unlabelled = self._unlabelled.currentData()

    def _on_run_clicked(self) -> None:
        image_id = self._view.images.current
        if self._session.is_running("points"):
            self._session.cancel("points")
        elif image_id is not None:
            with telling(self._view):
                self._session.points.solve(image_id)

    def _on_paint_clicked(self) -> None:
        image_id = self._view.images.current
        if image_id is not None:
            with telling(self._view):
                self._session.points.to_labels(image_id)


def _combo(choices: tuple[tuple[str, str, str], ...], tooltip: str) -> QComboBox:
    combo = QComboBox()
    combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    combo.setToolTip(tooltip)
    for key, title, why in choices:
        combo.addItem(title, key)
        combo.setItemData(combo.count() - 1, why, Qt.ItemDataRole.ToolTipRole)
    return combo
