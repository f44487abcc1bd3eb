"""The session: one open project, one active model, at most one run of each kind. It knows no window."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import HistosegError, ProjectError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import get_schema
from napari_histoseg.jobs.lane import Lane
from napari_histoseg.session.catalogue import ModelInfo, model_infos
from napari_histoseg.session.retraining import Retrainer, RetrainOutcome
from napari_histoseg.session.segmenting import Segmenter
from napari_histoseg.session.status import ActiveModel, JobKind

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.project import ImageEntry, Planes
    from napari_histoseg.core.revision import Revision
    from napari_histoseg.learning.plan import FineTunePlan

_log = logging.getLogger(__name__)


class Session:
    """What the panels and the commands drive; every signal is emitted on the thread that delivers the lane's queue.

    Parameters
    ----------
    lane : Lane, optional
        Runs the jobs; an own one by default.
    """

    project_changed = Signal()
    """A project was opened, created or closed."""
    image_added = Signal(str)
    """image id"""
    model_changed = Signal()
    """``active`` is another model, other weights or another revision."""
    labels_changed = Signal(str, Box)
    """image id and box whose displayed labels changed by a model, undo, redo, rollback or import."""
    edited = Signal(object)
    """The ``Edit`` that was committed by record, accept, undo, redo or import."""
    job_changed = Signal(object)
    """``JobStatus``"""
    loss_added = Signal(int, float)
    """step and training loss"""
    revision_added = Signal(object)
    """The ``Revision`` that was published, promoted or refused."""
    message = Signal(str, str)
    """level (info, warning, error) and a sentence"""

    def __init__(self, lane: Lane | None = None) -> None:
        self._lane = lane or Lane()
        self._project: Project | None = None
        self._active: ActiveModel | None = None
        self._refs: dict[str, ImageRef] = {}
        self._visible: dict[str, Box] = {}
        self._last_image_id: str | None = None
        self._segmenter = Segmenter(
            self._lane,
            on_status=self.job_changed.emit,
            on_labels=self.labels_changed.emit,
            on_error=self._on_job_error,
        )
        self._retrainer = Retrainer(
            self._lane,
            on_status=self.job_changed.emit,
            on_loss=self.loss_added.emit,
            on_outcome=self._on_retrained,
            on_error=self._on_job_error,
        )

    # -- project ---------------------------------------------------------------------------------------------------

    @property
    def project(self) -> Project | None:
        return self._project

    @property
    def saved_at(self) -> float | None:
        """Unix time at which the last edit reached the disk; None before the first."""
        return None if self._project is None else self._project.last_saved_at

    def default_project_path(self) -> Path:
        """A free folder name in the user's data folder."""
        raise NotImplementedError

    def create_project(self, path: str | Path, schema_id: str = "epithelium") -> Project:
        """Create a project folder and make it the open one.

        Raises
        ------
        ProjectError
            When the folder exists or cannot be written.
        """
        return self._use(Project.create(Path(path), get_schema(schema_id)))

    def open_project(self, path: str | Path, read_only: bool = False) -> Project:
        """Open a project folder with its images, labels, edits, revisions and active model."""
        return self._use(Project.open(Path(path), read_only=read_only))

    def close_project(self) -> None:
        """Stop what runs, write everything and let go of the folder."""
        if self._project is None:
            return
        self.cancel("predict")
        self.cancel("finetune")
        project, self._project = self._project, None
        self._active = None
        self._refs.clear()
        self._visible.clear()
        project.close()
        self.project_changed.emit()

    def _use(self, project: Project) -> Project:
        self.close_project()
        self._project = project
        self.project_changed.emit()
        return project

    def _need_project(self) -> Project:
        if self._project is None:
            raise ProjectError("No project is open; open an image or a project first.")
        return self._project

    def get_setting(self, key: str, default: Any = None) -> Any:
        """A value remembered in the project; ``default`` without a project."""
        return default if self._project is None else self._project.get_setting(key, default)

    def set_setting(self, key: str, value: Any) -> None:
        """Remember a JSON value in the project; nothing happens without one."""
        if self._project is not None and not self._project.read_only:
            self._project.set_setting(key, value)

    # -- images ----------------------------------------------------------------------------------------------------

    def add_image(self, ref: ImageRef) -> ImageEntry:
        """Add an image; without an open project one is created in the user's data folder, so nothing is unsaved."""
        if self._project is None:
            self.create_project(self.default_project_path())
        entry = self._need_project().add_image(ref)
        self._refs[entry.id] = ref
        self.image_added.emit(entry.id)
        return entry

    def image_ref(self, image_id: str) -> ImageRef:
        """How to read the pixels of an image of the project, with the µm per pixel that the project remembers."""
        raise NotImplementedError

    def set_mpp(self, image_id: str, mpp: float) -> None:
        """Remember the µm per pixel of an image."""
        raise NotImplementedError

    def set_visible(self, image_id: str, box: Box) -> None:
        """Remember what is on screen; runs start there."""
        self._visible[image_id] = box
        self._last_image_id = image_id

    # -- models ----------------------------------------------------------------------------------------------------

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model that can be chosen."""
        return model_infos()

    @property
    def active(self) -> ActiveModel | None:
        return self._active

    def choose_model(self, model_id: str, weights_name: str | None = None) -> ActiveModel:
        """Make a model the active one, with the given weights or else its active revision or its first weight set."""
        raise NotImplementedError

    def estimate(self, image_id: str) -> float | None:
        """Seconds that segmenting the whole image will take on this machine; None when that cannot be told."""
        raise NotImplementedError

    # -- segmenting ------------------------------------------------------------------------------------------------

    def segment(self, image_id: str, visible: Box | None = None) -> None:
        """Start the active model on an image: the visible box first, then the rest. Returns at once.

        Raises
        ------
        InputError
            When the µm per pixel is unknown or no class of model and project fits.
        """
        raise NotImplementedError

    def cancel(self, kind: JobKind) -> None:
        """Stop a run; finished tiles stay, a fine-tuning leaves no revision."""
        if kind == "predict":
            self._segmenter.cancel()
        else:
            self._retrainer.cancel()

    def is_running(self, kind: JobKind) -> bool:
        return self._segmenter.is_running if kind == "predict" else self._retrainer.is_running

    # -- labels ----------------------------------------------------------------------------------------------------

    def displayed(self, image_id: str, box: Box | None = None) -> NDArray[np.uint8]:
        """Class ids as shown, a copy: the person's where there are any, else the model's, else ``IGNORE``."""
        planes = self._planes(image_id)
        return np.array(planes.displayed(box or Box.of_shape(planes.state.shape)))

    def state(self, image_id: str, box: Box | None = None) -> NDArray[np.uint8]:
        """Who vouched for each pixel (0 nobody, 1 edited, 2 verified), a copy."""
        planes = self._planes(image_id)
        return np.array(planes.state[(box or Box.of_shape(planes.state.shape)).slices])

    def record(self, image_id: str, tool: str, box: Box, after: NDArray[np.uint8]) -> Edit | None:
        """Commit what a person painted: ``after`` is the displayed labels of ``box``; None when nothing changed."""
        edit = self._need_project().record(image_id, tool=tool, box=box, after=after)
        if edit is not None:
            self.edited.emit(edit)
        return edit

    def accept(self, image_id: str, box: Box) -> Edit | None:
        """Verify the unreviewed pixels of a box as they are shown; None when there are none."""
        edit = self._need_project().accept(image_id, box)
        if edit is not None:
            self.edited.emit(edit)
        return edit

    def undo(self, image_id: str) -> Edit | None:
        return self._step(image_id, self._need_project().undo)

    def redo(self, image_id: str) -> Edit | None:
        return self._step(image_id, self._need_project().redo)

    def _step(self, image_id: str, step: Callable[[str], Edit | None]) -> Edit | None:
        edit = step(image_id)
        if edit is not None:
            self.labels_changed.emit(image_id, edit.box)
            self.edited.emit(edit)
        return edit

    def import_labels(self, image_id: str, labels: NDArray[np.uint8], *, verified: bool) -> Edit | None:
        """Bring in a whole label array of the project's schema, as verified truth or as edits."""
        edit = self._need_project().import_labels(image_id, labels, verified=verified)
        if edit is not None:
            self.labels_changed.emit(image_id, edit.box)
            self.edited.emit(edit)
        return edit

    def counts(self, image_id: str) -> dict[int, int]:
        """Pixels that a person vouched for, by class id."""
        return self._need_project().counts(image_id)

    def shares(self, image_id: str) -> dict[int, float]:
        """Share of the labelled area by class id, 0 to 1."""
        return self._need_project().class_shares(image_id)

    def _planes(self, image_id: str) -> Planes:
        return self._need_project().planes(image_id)

    # -- retraining ------------------------------------------------------------------------------------------------

    def retrain(self, plan: FineTunePlan | None = None) -> None:
        """Start fine-tuning the active model on everything vouched for. Returns at once."""
        raise NotImplementedError

    def revisions(self) -> tuple[Revision, ...]:
        """Revisions of the active model, oldest first."""
        raise NotImplementedError

    def activate(self, revision_id: str | None) -> None:
        """Make a revision (None: the weights before any) the active one and segment anew what was segmented."""
        raise NotImplementedError

    def rollback(self) -> None:
        """Go back to the parent of the active revision."""
        raise NotImplementedError

    # -- commands --------------------------------------------------------------------------------------------------

    def command(self, kind: JobKind) -> str:
        """The shell command that does what the button does."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop everything, write everything; at most two seconds."""
        self.close_project()
        self._lane.close(timeout=2.0)

    def _on_retrained(self, outcome: RetrainOutcome) -> None:
        raise NotImplementedError

    def _on_job_error(self, error: Exception) -> None:
        if isinstance(error, HistosegError):
            self.message.emit("error", str(error))
        else:
            _log.error("A job failed", exc_info=error)
            self.message.emit("error", f"Something unexpected stopped the run: {type(error).__name__}: {error}.")
