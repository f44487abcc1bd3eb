"""Which project is open, when it was last saved, and the way to another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMenu, QSizePolicy, QToolButton, QWidget

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.schemas import SCHEMAS
from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.times import clock
from napari_histoseg.widgets.parts.view import View

_NAME_PX = 190


class ProjectRow(QWidget):
    """Name of the project with a menu, and the time of the last save."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._button = QToolButton()
        self._button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._saved = QLabel()
        self._saved.setToolTip("Every correction is on the disk when you let go of the mouse")
        row.addWidget(self._button, 1)
        row.addWidget(self._saved)
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._button.setMenu(self._menu)
        self.refresh()

    def refresh(self) -> None:
        """Show the open project and its last save."""
        project = self._session.project
        if project is None:
            self._button.setText("Project")
            self._button.setToolTip("A project is made by itself with the first image; open another one here")
        else:
            name = project.name + (" (read-only)" if project.read_only else "")
            self._button.setText(self.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, _NAME_PX))
            self._button.setToolTip(str(project.path))
        saved_at = self._session.saved_at
        self._saved.setText("" if saved_at is None else f"saved {clock(saved_at)}")

    def _fill_menu(self) -> None:
        self._menu.clear()
        for schema in SCHEMAS.values():
            action = self._menu.addAction(f"New project: {schema.title}…")
            action.triggered.connect(lambda _=False, schema_id=schema.id: self._create(schema_id))
        self._menu.addAction("Open project…").triggered.connect(self._choose)
        recent = self._session.recent_projects()
        if recent:
            self._menu.addSeparator()
        for path in recent:
            action = self._menu.addAction(path.name)
            action.setToolTip(str(path))
            action.triggered.connect(lambda _=False, path=path: self._open(path))

    def _create(self, schema_id: str) -> None:
        start = str(self._session.default_project_path())
        path, _ = QFileDialog.getSaveFileName(self, "New project", start, "Project folder (*.histoseg)")
        if path:
            folder = Path(path)
            folder = folder if folder.suffix == ".histoseg" else folder.with_name(folder.name + ".histoseg")
            self._try(lambda: self._session.create_project(folder, schema_id))

    def _choose(self) -> None:
        start = str(self._session.default_project_path().parent)
        path = QFileDialog.getExistingDirectory(self, "Open a project folder (….histoseg)", start)
        if path:
            self._open(Path(path))

    def _open(self, path: Path) -> None:
        self._try(lambda: self._session.open_or_view_project(path))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except HistosegError as error:
            self._view.say("error", str(error))
        self.refresh()
