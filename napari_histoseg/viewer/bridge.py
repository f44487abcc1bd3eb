"""Layers on one side, the session on the other, kept the same; the only way from the panels to the viewer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import HistosegError
from napari_histoseg.viewer import compat
from napari_histoseg.viewer.activity import Activity
from napari_histoseg.viewer.appearance import Appearance
from napari_histoseg.viewer.cell_tools import CellTools
from napari_histoseg.viewer.images import Images
from napari_histoseg.viewer.overlay import Overlay
from napari_histoseg.viewer.score_map import ScoreMap
from napari_histoseg.viewer.tools import Tools

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_histoseg.core.edit import Edit
    from napari_histoseg.session import JobStatus, Session

_SAY = {"info": show_info, "warning": show_warning, "error": show_error}


class Bridge:
    """Ties the layers of one viewer to one session.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session

    Attributes
    ----------
    images : Images
        Which image is worked on.
    tools : Tools
        What the hand holds.
    appearance : Appearance
        How classes look.
    cells : CellTools
        What the hand does to single cells.
    """

    marks_changed = Signal(bool)
    """The outlines of edited pixels were shown or hidden."""
    labels_shown = Signal()
    """The labels layer of the current image came or went."""
    panel_wanted = Signal(str)
    """Name of a panel that a person is to see next."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        self._viewer = compat.unwrapped(viewer)
        self._session = session
        self._overlays: dict[str, Overlay] = {}
        self._marks_edits = False
        self.appearance = Appearance(session)
        self.images = Images(self._viewer, session)
        self.tools = Tools(
            self._viewer,
            {"undo": self.undo, "redo": self.redo, "accept": self.accept_view, "edits": self.toggle_marks},
        )
        self.cells = CellTools(
            self._viewer,
            session,
            self.images,
            self.appearance,
            self.tools,
            commands={"undo": self.undo, "redo": self.redo, "edits": self.toggle_marks},
            telling=self._telling,
            warn=self._warn,
        )
        self._activity = Activity(session)
        self._score_map = ScoreMap(self._viewer, session, self.images)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._viewer.layers.selection.events.active.connect(self._on_active_changed)
        self._viewer.camera.events.connect(self._on_camera_moved)
        self.images.current_changed.connect(self._on_current_changed)
        self.appearance.changed.connect(self._on_appearance_changed)
        session.labels_changed.connect(self._on_labels_changed)
        session.edited.connect(self._on_edited)
        session.project_changed.connect(self._on_project_changed)
        session.classes.changed.connect(self._on_classes_changed)
        session.model_changed.connect(self._on_model_changed)
        session.job_changed.connect(self._on_job_changed)
        session.message.connect(self.say)
        self.images.choose_any()

    # -- commands --------------------------------------------------------------------------------------------------

    def segment(self) -> None:
        """Run the active model on the current image, what is on screen first."""
        image_id = self.images.current
        if image_id is None:
            self.say("warning", self.images.problem or "Open an image first, for instance with File > Open Sample.")
            return
        with self._telling():
            self._session.segment(image_id, self.images.visible_box())
            self.show_labels()
            self.images.save_view()

    def show_labels(self) -> None:
        """Bring the labels layer of the current image back when it is not there."""
        image_id, source = self.images.current, self.images.source
        if image_id is None or source is None or self.has_labels:
            return
        overlay = self._overlays.get(image_id)
        if overlay is None:
            overlay = Overlay(self._viewer, self._session, self.appearance, image_id, self._warn)
            self._overlays[image_id] = overlay
        overlay.show(source)
        overlay.mark_edits(self._marks_edits)
        self._hold()

    @property
    def has_labels(self) -> bool:
        """Whether the current image has a labels layer."""
        return self._labels() is not None

    def toggle_marks(self) -> None:
        """Show or hide the outlines of edited and verified pixels."""
        self._marks_edits = not self._marks_edits
        for overlay in self._overlays.values():
            overlay.mark_edits(self._marks_edits)
        self.marks_changed.emit(self._marks_edits)

    def accept_view(self) -> None:
        """Verify what is on screen and untouched."""
        image_id, box = self.images.current, self.images.visible_box()
        if image_id is None or box is None:
            return
        with self._telling():
            if self._session.accept(image_id, box) is None:
                self._viewer.status = (
                    "Nothing to accept: on screen is nothing that a model labelled and nobody checked."
                )

    def undo(self) -> None:
        self._step(self._session.undo, "Nothing to undo.")

    def redo(self) -> None:
        self._step(self._session.redo, "Nothing to redo.")

    def say(self, level: str, sentence: str) -> None:
        """Show an outcome the way napari does."""
        _SAY.get(level, show_info)(sentence)

    def show_panel(self, name: str) -> None:
        """Bring a panel to the front."""
        self.panel_wanted.emit(name)

    def close(self) -> None:
        """Remember the view; let go of layers and keys."""
        self.images.close()
        self.appearance.save()
        self.cells.close()
        self.tools.hold(None, None)
        self._activity.close()
        self._score_map.close()
        for overlay in self._overlays.values():
            overlay.close()
        self._overlays.clear()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.layers.selection.events.active.disconnect(self._on_active_changed)
        self._viewer.camera.events.disconnect(self._on_camera_moved)

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_removed(self, event: Any) -> None:
        for overlay in self._overlays.values():
            if overlay.forget(event.value):
                self._hold()

    def _on_active_changed(self, event: Any) -> None:
        """Work on the image whose layer a person selects."""
        for image_id, overlay in self._overlays.items():
            source = self.images.of_image(image_id)
            if source is not None and event.value is not None and event.value in (source, overlay.labels):
                self.images.work_on(source)
                return

    def _on_camera_moved(self) -> None:
        image_id, box = self.images.current, self.images.visible_box()
        if image_id is not None and box is not None:
            self._session.set_visible(image_id, box)
            self.images.view_moved.emit()

    def _on_current_changed(self) -> None:
        image_id = self.images.current
        if image_id is not None and self._has_something_to_show(image_id):
            self.show_labels()
        if self.images.source is None and self._session.is_running("predict"):
            self._session.cancel("predict")
            self.say("info", "Stopped segmenting because the image was closed; what was done is kept in the project.")
        self._hold()

    def _on_appearance_changed(self) -> None:
        for overlay in self._overlays.values():
            overlay.dress()

    def _on_labels_changed(self, image_id: str, box: Box) -> None:
        if image_id == self.images.current:
            self.show_labels()
        overlay = self._overlays.get(image_id)
        if overlay is not None:
            overlay.update(box)

    def _on_edited(self, edit: Edit) -> None:
        overlay = self._overlays.get(edit.image_id)
        if overlay is not None:
            overlay.update_marks(edit.box)

    def _on_project_changed(self) -> None:
        """Layers of another project leave; they are saved there."""
        project = self._session.project
        known = set() if project is None else {entry.id for entry in project.images}
        for image_id in [i for i in self._overlays if i not in known]:
            self._overlays.pop(image_id).remove()
        self._hold()

    def _on_classes_changed(self) -> None:
        self._on_model_changed()
        self._hold()

    def _on_model_changed(self) -> None:
        for image_id, overlay in self._overlays.items():
            source = self.images.of_image(image_id)
            if source is not None:
                overlay.describe(source.name)

    def _on_job_changed(self, status: JobStatus) -> None:
        if status.kind == "predict" and status.is_over:
            overlay = self._overlays.get(status.image_id or "")
            if overlay is not None and overlay.labels is not None:
                overlay.labels.refresh(extent=False)

    # -- small helpers ---------------------------------------------------------------------------------------------

    def _labels(self) -> Any:
        overlay = self._overlays.get(self.images.current or "")
        return None if overlay is None else overlay.labels

    def _hold(self) -> None:
        self.tools.hold(self._labels(), self.appearance.schema)
        self.labels_shown.emit()

    def _has_something_to_show(self, image_id: str) -> bool:
        return any(self._session.shares(image_id).values())

    def _step(self, step: Any, nothing: str) -> None:
        if self.images.current is None:
            return
        with self._telling():
            if step(self.images.current) is None:
                self._viewer.status = nothing

    def _warn(self, sentence: str) -> None:
        self.say("warning", sentence)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Show what goes wrong inside as a sentence."""
        try:
            yield
        except HistosegError as error:
            self.say("error", str(error))
