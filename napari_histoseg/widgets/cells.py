"""Cells: mark them by points, give them classes, mend their outlines."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QShortcut

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.session import JobStatus, Session
from napari_histoseg.widgets.parts.cell_files_box import CellFilesBox
from napari_histoseg.widgets.parts.cell_list import CellList
from napari_histoseg.widgets.parts.cell_tools_box import CellToolsBox
from napari_histoseg.widgets.parts.clean_box import CleanBox
from napari_histoseg.widgets.parts.doubt_list import DoubtList
from napari_histoseg.widgets.parts.fold import Fold
from napari_histoseg.widgets.parts.help_sheet import HelpSheet
from napari_histoseg.widgets.parts.numbers import grouped
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.points_box import PointsBox
from napari_histoseg.widgets.parts.similar_box import SimilarBox
from napari_histoseg.widgets.parts.view import View

_SOON_MS = 150
"""Many cells may change one after the other; counts and table follow together."""

_MODE_STEPS = {
    "points": "click every nucleus; a class letter chooses what it is. Drag a point to move it, Esc ends.",
    "split": "drag a line across a cell to cut it.",
    "split_at": "click each part of a cell, then press Enter.",
    "merge": "drag across pieces that are one cell.",
    "lasso": "drag around cells to choose them.",
    "snap": "draw along a nucleus: the stroke keeps to its edge.",
    "copy": "click the cells that get the class of the first one.",
}


class CellsPanel(Panel):
    """Everything about the single cells of the image that is worked on."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._sheet: HelpSheet | None = None
        self._is_stale = True
        self._opened: Fold | None = None
        self._tools = CellToolsBox(view)
        self._points = PointsBox(session, view)
        self._counts = text_label()
        self._counts.setToolTip("Cells of the image by class, and how many of them a person vouches for")
        self._doubts = DoubtList(session, view)
        self._list = CellList(session, view)
        self._similar = SimilarBox(session, view)
        self._clean = CleanBox(session, view)
        self._files = CellFilesBox(session, view)
        self._build()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self._refresh)
        self._connect()
        self._refresh()

    def _build(self) -> None:
        for widget in (self._tools, self._counts, self._doubts):
            self.column.addWidget(widget)
        for title, tooltip, body in (
            ("Cells from points", "How points become cells, and the run over all points", self._points),
            ("All cells", "Every cell with class, area, stain and score: sort, choose, class", self._list),
            ("Similar cells", "Choose a few cells and class all that look alike in one step", self._similar),
            ("Clean up", "Sizes and outlines of many cells, regions to cells and back", self._clean),
            ("Files", "Points as tables, cells and masks of other programs", self._files),
        ):
            fold = Fold(title, tooltip, body)
            fold.opened.connect(partial(self._on_opened, fold))
            self.column.addWidget(fold)
        self.column.addLayout(self._foot_row())
        self.column.addStretch(1)

    def _foot_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        history = QPushButton("History")
        history.setToolTip("Who did what and when, with pictures, and the way back")
        history.clicked.connect(lambda _=False: self._view.show_panel("History"))
        keys = QPushButton("? Keys")
        keys.setToolTip("All keys for cells (key ?)")
        keys.clicked.connect(lambda _=False: self.show_help())
        QShortcut(QKeySequence("?"), self).activated.connect(self.show_help)
        for pressed, act in (("Ctrl+Z", self._view.undo), ("Ctrl+Shift+Z", self._view.redo)):
            shortcut = QShortcut(QKeySequence(pressed), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)
        row.addWidget(history)
        row.addStretch(1)
        row.addWidget(keys)
        return row

    def _connect(self) -> None:
        view, session = self._view, self._session
        self.listen(view.images.current_changed, self._refresh_soon)
        self.listen(view.cells.changed, self._on_tools_changed)
        self.listen(view.appearance.changed, self._refresh_soon)
        self.listen(session.project_changed, self._refresh_soon)
        self.listen(session.edited, self._refresh_soon)
        self.listen(session.cells.changed, self._on_cells_changed)
        self.listen(session.points.doubts_changed, self._doubts.show_found)
        self.listen(session.points.doubts_changed, self._on_measured)
        self.listen(session.similar.measured, self._on_measured)
        self.listen(session.similar.found, self._similar.show_found)
        self.listen(session.job_changed, self._on_job_changed)

    def show_help(self) -> None:
        """Open the sheet of keys."""
        if self._sheet is not None:
            self._sheet.deleteLater()
        self._sheet = HelpSheet(self._view, self)
        self._sheet.show()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        super().showEvent(event)
        if self._is_stale:
            self._soon.start(0)

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_opened(self, fold: Fold, is_open: bool) -> None:
        """Bring what was opened into sight."""
        self._refresh_soon()
        if is_open:
            self._opened = fold

    def _on_cells_changed(self, image_id: str, _box: Box) -> None:
        if image_id == self._view.images.current:
            self._refresh_soon()

    def _on_measured(self, image_id: str) -> None:
        if image_id == self._view.images.current:
            self._refresh_soon()

    def _on_tools_changed(self) -> None:
        """Another tool or other cells chosen: what is cheap is shown at once."""
        self._refresh_controls()
        self._list.show_selection()

    def _on_job_changed(self, status: JobStatus) -> None:
        if status.kind == "points":
            self._points.show_status(status)
        elif status.kind == "features":
            self._similar.show_status(status)
            self._list.show_status(status)
        elif status.kind == "repaint":
            self._clean.show_status(status)
        if status.state == "queued" or status.is_over:
            self._refresh_soon()

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _refresh_soon(self) -> None:
        self._is_stale = True
        if self.isVisible() and not self._soon.isActive():
            self._soon.start()

    def _refresh(self) -> None:
        self._is_stale = False
        image_id = self._image_id
        self._counts.setText("" if image_id is None else self._count_text(image_id))
        self._counts.setVisible(self._view.cells.has_cells)
        self._doubts.refresh(self._reason_against_cells())
        self._list.refresh(self._reason_against_growing())
        self._refresh_controls()
        if self._opened is not None:
            self.ensureWidgetVisible(self._opened, 0, 0)
            self._opened = None

    def _refresh_controls(self) -> None:
        project, image_id = self._session.project, self._image_id
        can_undo = project is not None and image_id is not None and project.can_undo(image_id)
        can_redo = project is not None and image_id is not None and project.can_redo(image_id)
        self._tools.refresh(is_ready=image_id is not None, can_undo=can_undo, can_redo=can_redo)
        points = 0 if image_id is None else len(self._session.points.of(image_id).ids)
        self._points.refresh(points, self._reason_against_growing())
        self._files.refresh(points, self._reason_against_growing())
        self._similar.refresh(self._reason_against_cells())
        self._clean.refresh(self._reason_against_cells())
        self.suggest(self._next())

    @property
    def _image_id(self) -> str | None:
        return None if self._session.project is None else self._view.images.current

    def _reason_against_growing(self) -> str:
        """Why cells cannot be grown on this image."""
        project, image_id = self._session.project, self._image_id
        if project is None or image_id is None:
            return "open an image first."
        if project.read_only:
            return "the project is open for reading only."
        if project.image(image_id).mpp is None:
            return "the µm per pixel is not known; set it in the tab Segment."
        return ""

    def _reason_against_cells(self) -> str:
        """Why nothing can be done to cells of this image."""
        if self._image_id is None:
            return "open an image first."
        return "" if self._view.cells.has_cells else "there is no cell yet; place points or segment nuclei first."

    def _count_text(self, image_id: str) -> str:
        cells, schema = self._session.cells.of(image_id), self._view.appearance.schema
        counts = cells.counts()
        names = {IGNORE: "unknown"} | ({} if schema is None else {c.id: c.name for c in schema.classes})
        told = ", ".join(f"{names.get(k, 'unknown')} {grouped(n)}" for k, n in sorted(counts.items()))
        checked = int(cells.is_verified(cells.ids).sum())
        amount = "1 cell" if len(cells) == 1 else f"{grouped(len(cells))} cells"
        return f"<b>{amount}</b>: {told}; {grouped(checked)} checked"

    def _next(self) -> str:
        cells, reason = self._view.cells, self._reason_against_growing()
        if reason:
            return "open an image; its cells are listed here." if self._image_id is None else reason
        if cells.mode in _MODE_STEPS:
            return _MODE_STEPS[cells.mode]
        if not cells.has_cells:
            return f"press Points ({cells.key_of('points')}) and click every nucleus, or segment nuclei (tab Segment)."
        if self._doubts.count and cells.selection == (self._doubts.current,):
            return "Enter when it is right, a class letter when it is not, Delete when it is no cell."
        if cells.selection:
            chosen = len(cells.selection)
            if chosen == 1:
                return "press the letter of its class, or mend its outline."
            return f"press the letter of a class for the {grouped(chosen)} chosen, or mend their outlines."
        if self._doubts.count:
            return "go through the doubtful cells: Enter when right, a class letter when not."
        return "point at a cell and press a class letter, or look for doubtful cells."
