"""Cells: mark them by points, give them classes, mend their outlines."""

from __future__ import annotations

from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.panel import Panel
from napari_histoseg.widgets.parts.view import View


class CellsPanel(Panel):
    """Everything about the single cells of the image that is worked on."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self.column.addStretch(1)
        self.listen(view.images.current_changed, self._refresh)
        self.listen(session.project_changed, self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        if self._view.images.current is None:
            self.suggest("open an image; its cells are listed here.")
        else:
            self.suggest("place a point on every cell, or segment nuclei with a model (tab Segment).")
