"""History: who did what, when and where, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.session.history import Act, History
from napari_histoseg.session.history_files import write_history
from napari_histoseg.widgets.parts.history_table import HistoryModel, history_view
from napari_histoseg.widgets.parts.keep_row import KeepRow
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.times import duration

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.history import Effort
    from napari_histoseg.core.run import Run
    from napari_histoseg.session import Session
    from napari_histoseg.widgets.parts.view import View

_EFFORT_EVERY_MS = 500
_FORMATS = "Table (*.csv);;JSON (*.json)"


class HistoryPanel(Panel):
    """What was done to the image or to all images of the project, as a list; it is read only while it is in sight."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._history = History(session)
        self._steps: Iterator[int] | None = None
        self._is_stale = True
        self._known_runs: tuple[Run, ...] = ()
        self._model = HistoryModel(session, self._history, self)
        self._table = history_view(self._model)
        self._table.doubleClicked.connect(lambda index: self.go_to_place(self._model.act(index.row())))
        self._table.selectionModel().currentRowChanged.connect(self._show_buttons)
        self._which = QComboBox()
        self._which.addItems(["This image", "All images"])
        self._which.setToolTip("Show what was done to the image on screen, or to all images of the project")
        self._which.currentIndexChanged.connect(self._reload)
        self._effort = text_label()
        self._effort.setToolTip("Time between edits counts as work when it is shorter than five minutes")
        self.column.addWidget(self._which)
        self.column.addWidget(self._table, 1)
        self.column.addWidget(self._effort)
        self.column.addLayout(self._buttons())
        self._keep = KeepRow(session, view)
        self._keep.compacted.connect(self._reload)
        self.column.addWidget(self._keep)
        self._counting = _timer(self, _EFFORT_EVERY_MS, self._catch_up, is_single=True)
        self._going = _timer(self, 0, self._go_on)
        self.listen(session.edited, self._on_edited)
        self.listen(session.project_changed, self._reload)
        self.listen(session.classes.changed, self._reload)
        self.listen(session.labels_changed, self._on_labels_changed)
        self.listen(view.images.current_changed, self._reload)
        self._reload()

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._back = QPushButton("Go back to here")
        self._back.clicked.connect(self._on_back_clicked)
        self._look = QPushButton("Show the place")
        self._look.setToolTip("Move the view to where it was done (double click on the line)")
        self._look.clicked.connect(lambda: self.go_to_place(self._chosen()))
        self._export = QPushButton("Export…")
        self._export.setToolTip("Write every edit, undo and redo with who, when and where as CSV or JSON")
        self._export.clicked.connect(self._on_export_clicked)
        for button in (self._back, self._look, self._export):
            row.addWidget(button)
        return row

    # -- what a person does ----------------------------------------------------------------------------------------

    def go_back_to(self, act: Act) -> None:
        """Take back or do again, step by step while the window lives on, until ``act`` is the newest in force."""
        self._steps = self._history.steps_to(act)
        self._going.start()
        self._show_buttons()

    def go_to_place(self, act: Act | None) -> None:
        """Bring the place of an act to the middle of the screen."""
        project = self._session.project
        if act is None or act.image_id is None or project is None:
            return
        if act.image_id != self._view.images.current:
            self._view.images.choose(act.image_id)
        if act.record is not None and act.image_id == self._view.images.current:
            self._view.images.look_at(act.record.box)

    def export(self, path: Path) -> None:
        """Write the history that is shown, as CSV or JSON by the ending of the name."""
        project = self._session.project
        if project is None:
            return
        with self.telling():
            write_history(path, project, self._image_id())
            self._view.say("info", f"The history is in '{path}'.")

    def _on_back_clicked(self) -> None:
        act = self._chosen()
        if self._steps is not None:
            self._stop()
        elif act is not None:
            self.go_back_to(act)

    def _on_export_clicked(self) -> None:
        project = self._session.project
        if project is None:
            return
        start = str(project.path.with_name(f"{project.name}_history.csv"))
        path, _ = QFileDialog.getSaveFileName(self, "Export the history", start, _FORMATS)
        if path:
            self.export(Path(path))

    # -- what is heard ---------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        if self._is_stale:
            self._reload()

    def _on_edited(self, edit: Edit) -> None:
        if self._is_stale:
            return
        if not self.isVisible():
            self._is_stale = True
            return
        act = self._history.add(edit)
        if act is not None and self._image_id() in (None, act.image_id):
            self._model.put_on_top(act)
        self._model.refresh()
        self._counting.start()
        self._show_buttons()

    def _on_labels_changed(self, *_: Any) -> None:
        """A run of a model comes tile by tile; its line shows a little later."""
        if self.isVisible():
            self._counting.start()
        else:
            self._is_stale = True

    def _reload(self) -> None:
        self._stop()
        self._is_stale = not self.isVisible()
        if self._is_stale:
            return
        self._keep.refresh()
        self._history.reload()
        project, image_id = self._session.project, self._image_id()
        self._known_runs = () if project is None else project.runs()
        names = {} if project is None or image_id is not None else {entry.id: entry.name for entry in project.images}
        no_image = project is None or (self._which.currentIndex() == 0 and image_id is None)
        self._model.show_acts([] if no_image else self._history.acts(image_id), names)
        self._show_effort()
        self._show_buttons()

    # -- going back ------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._steps is None:
            return
        try:
            left = next(self._steps, 0)
        except HistosegError as error:
            self._view.say("error", str(error))
            left = 0
        self._back.setText(f"Stop ({left} left)" if left else "Go back to here")
        if not left:
            self._stop()

    def _stop(self) -> None:
        self._steps = None
        self._going.stop()
        self._back.setText("Go back to here")
        self._show_buttons()

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _image_id(self) -> str | None:
        """The image whose lines are shown; None for all, and without any."""
        return self._view.images.current if self._which.currentIndex() == 0 else None

    def _chosen(self) -> Act | None:
        return self._model.act(self._table.currentIndex().row())

    def _catch_up(self) -> None:
        """What need not follow every edit at once."""
        project = self._session.project
        if project is not None and project.runs() != self._known_runs:
            self._reload()
        else:
            self._show_effort()

    def _show_effort(self) -> None:
        project, image_id = self._session.project, self._image_id()
        if project is None or (self._which.currentIndex() == 0 and image_id is None):
            self._effort.setText("")
            return
        names = {entry.id: entry.name for entry in project.images}
        told = [
            f"{names.get(effort.image_id, 'image')}: {_edits(effort)}, {duration(effort.active_s)} "
            f"by {', '.join(effort.authors)}"
            for effort in self._history.effort(image_id)
        ]
        self._effort.setText("\n".join((*told, *self._history.damaged)) or "Nothing was done yet.")

    def _show_buttons(self) -> None:
        act, project = self._chosen(), self._session.project
        standing = None if act is None else self._history.standing(act)
        is_own = act is not None and act.image_id == self._view.images.current
        can_write = project is not None and not project.read_only
        can_go = is_own and can_write and standing in ("in force", "taken back")
        self._back.setEnabled(can_go or self._steps is not None)
        self._back.setToolTip(_why_not(standing, is_own=is_own, can_write=can_write))
        self._look.setEnabled(act is not None and act.record is not None)
        self._export.setEnabled(project is not None)
        is_empty = self._model.rowCount() == 0
        self.suggest("open an image." if project is None else "correct something." if is_empty else _NEXT)


_NEXT = "choose a line; double click shows the place."


def _why_not(standing: str | None, *, is_own: bool, can_write: bool) -> str:
    if not can_write:
        return "The project is open for reading only"
    if standing is None:
        return "Choose a line first: later acts are taken back, or those up to it done again"
    if standing == "replaced":
        return "This act was taken back and other work followed, so it cannot be done again"
    if standing == "note":
        return "This line changed no correction, so there is nothing to take back"
    if not is_own:
        return "Show its image first (double click)"
    return "Take back what came later, or do again what was taken back, up to this line; each step can be undone"


def _edits(effort: Effort) -> str:
    told = "1 edit" if effort.edits == 1 else f"{effort.edits} edits"
    return f"{told} ({effort.undone} of them undo)" if effort.undone else told


def _timer(parent: HistoryPanel, interval_ms: int, slot: Any, *, is_single: bool = False) -> QTimer:
    timer = QTimer(parent)
    timer.setInterval(interval_ms)
    timer.setSingleShot(is_single)
    timer.timeout.connect(slot)
    return timer
