"""The open project and what a person does to its images and labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.errors import ProjectError, ProjectLockedError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import EPITHELIUM, get_schema
from napari_histoseg.inference.scoring import malignant_ids
from napari_histoseg.io.images import open_image
from napari_histoseg.session import places
from napari_histoseg.session.reference import labelled_files

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.entry import ImageEntry
    from napari_histoseg.core.planes import Planes
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.session.cells import CellWork

_REFERENCE = "reference"


class Review:
    """At most one open project, its images, and every change a person makes to their labels."""

    cells: CellWork
    """What a person does to the cells of the images."""

    project_changed = Signal()
    """A project was opened, created or closed."""
    image_added = Signal(str)
    """image id"""
    labels_changed = Signal(str, Box)
    """image id and box whose displayed labels changed by a model, undo, redo, rollback or import."""
    edited = Signal(object)
    """The ``Edit`` that was committed by record, accept, undo, redo or import."""
    message = Signal(str, str)
    """level (info, warning, error) and a sentence"""

    def __init__(self) -> None:
        self._project: Project | None = None
        self._is_automatic = False
        self._told_notes = 0
        self._visible: dict[str, Box] = {}
        self._last_image_id: str | None = None

    def _before_closing(self) -> None:
        """What has to stop before the project goes."""

    def _after_opening(self, project: Project) -> None:
        """What has to follow the project before anybody hears of it."""

    def _schema_for_new(self) -> LabelSchema:
        """Classes of a project that is made without being asked for."""
        return EPITHELIUM

    # -- project ---------------------------------------------------------------------------------------------------

    @property
    def project(self) -> Project | None:
        return self._project

    @property
    def saved_at(self) -> float | None:
        """Unix time at which the last edit reached the disk; None before the first."""
        return None if self._project is None else self._project.last_saved_at

    def default_project_path(self) -> Path:
        """A free folder name in the user's data folder; ``ProjectError`` when that cannot be made."""
        return places.new_project_path(places.projects_folder())

    def recent_projects(self) -> tuple[Path, ...]:
        """Projects that were open lately and still exist, the latest first."""
        return places.recent_projects()

    def create_project(self, path: str | Path, schema_id: str = "epithelium") -> Project:
        """Create a project folder and make it the open one.

        Raises
        ------
        ProjectError
            When the folder exists or cannot be written.
        """
        return self._use(Project.create(Path(path), get_schema(schema_id)))

    def open_project(self, path: str | Path, read_only: bool = False) -> Project:
        """Open a project folder with its images, labels, edits, revisions and active model.

        Raises
        ------
        ProjectLockedError
            When it is open elsewhere and ``read_only`` is False.
        ProjectError
            When it is no project, from a newer version, or damaged beyond repair.
        """
        path = Path(path).absolute()
        if self._project is not None and self._project.path == path and self._project.read_only == read_only:
            return self._project
        return self._use(Project.open(path, read_only=read_only))

    def open_or_view_project(self, path: str | Path) -> Project:
        """Open a project folder, for reading only where another window has it; errors as in `open_project`."""
        try:
            return self.open_project(path)
        except ProjectLockedError:
            project = self.open_project(path, read_only=True)
        self.message.emit(
            "warning",
            f"The project '{project.path}' is open in another window, so it can only be looked at here; close it "
            "there and open it again to work on it.",
        )
        return project

    def close_project(self) -> None:
        """Stop what runs, write everything and let go of the folder."""
        if self._project is None:
            return
        self._before_closing()
        project, self._project = self._project, None
        self._is_automatic = False
        self._last_image_id = None
        self._visible.clear()
        try:
            project.close()
        finally:
            self.project_changed.emit()

    def _use(self, project: Project) -> Project:
        self.close_project()
        places.remember_project(project.path)
        self.work_on(project)
        return project

    def work_on(self, project: Project) -> None:
        """Make a project that is open already the one to work on, without noting it among the recent ones."""
        self.close_project()
        self._project = project
        self._after_opening(project)
        self.project_changed.emit()
        self._told_notes = 0
        self._tell_notes(project)

    def _tell_notes(self, project: Project) -> None:
        """What the project had to repair; some of it shows only when an image's labels are loaded."""
        notes = project.notes[self._told_notes :]
        self._told_notes += len(notes)
        for note in notes:
            self.message.emit("warning", note)

    def _create_automatic(self, schema: LabelSchema) -> None:
        self._use(Project.create(self.default_project_path(), schema))
        self._is_automatic = True

    def need_project(self) -> Project:
        if self._project is None:
            raise ProjectError("No project is open; open an image or a project first.")
        return self._project

    def save(self) -> None:
        """Write a little of what only memory holds, in a few milliseconds; call it often while idle."""
        if self._project is not None:
            self._project.checkpoint_if_due()

    def get_setting(self, key: str, default: Any = None) -> Any:
        """A value remembered in the project; ``default`` without a project."""
        return default if self._project is None else self._project.get_setting(key, default)

    def set_setting(self, key: str, value: Any) -> None:
        """Remember a JSON value in the project; nothing happens without one."""
        if self._project is not None and not self._project.read_only:
            self._project.set_setting(key, value)

    @property
    def reference(self) -> Path | None:
        """Folder of labelled images that every candidate of the project is judged on; None when none is set."""
        remembered = self.get_setting(_REFERENCE)
        return None if remembered is None else Path(remembered)

    def set_reference(self, folder: Path | None) -> int:
        """Remember such a folder, or none; how many labelled images it has. ``InputError`` when it has none."""
        count = 0 if folder is None else len(labelled_files(folder))
        self.set_setting(_REFERENCE, None if folder is None else str(folder.absolute()))
        return count

    @property
    def has_malignant_class(self) -> bool:
        """Whether labels of the open project can say anything about cellularity."""
        return self._project is not None and bool(malignant_ids(self._project.schema.classes))

    # -- images ----------------------------------------------------------------------------------------------------

    def add_image(self, ref: ImageRef) -> ImageEntry:
        """Add an image; the same pixels are the same entry.

        Without an open project, the one made for this image earlier is opened again, or a new one is created in the
        user's data folder, so that nothing is ever unsaved.

        Raises
        ------
        InputError
            When the image is too large to be labelled.
        ProjectError
            When the disk is full or the project is read-only.
        """
        if self._project is None:
            self._continue_or_create(ref)
        project = self.need_project()
        entry = project.add_image(ref)
        if self._is_automatic:
            places.remember_image(ref.content_id, project.path)
        self.image_added.emit(entry.id)
        return entry

    def _continue_or_create(self, ref: ImageRef) -> None:
        earlier = places.project_of_image(ref.content_id)
        if earlier is not None:
            try:
                self.open_project(earlier)
            except ProjectError as error:
                self.message.emit("warning", f"{error} Meanwhile a new project was made.")
            else:
                self._is_automatic = True
                self.message.emit("info", f"Your earlier work on '{ref.name}' was opened again.")
                return
        self._create_automatic(self._schema_for_new())

    def image_ref(self, image_id: str) -> ImageRef:
        """How to read the pixels of an image of the project, with the µm per pixel that the project remembers.

        Raises
        ------
        ProjectError
            When the file is gone or holds other pixels now.
        """
        return self.need_project().image_ref(image_id, open_image)

    def set_mpp(self, image_id: str, mpp: float) -> None:
        """Remember the µm per pixel of an image; ``InputError`` when it is no microscope's."""
        self.need_project().set_mpp(image_id, mpp)

    def set_visible(self, image_id: str, box: Box) -> None:
        """Remember what is on screen; runs start there."""
        self._visible[image_id] = box.clip(self.need_project().image(image_id).shape)
        self._last_image_id = image_id

    def foreground(self, image_id: str, box: Box) -> NDArray[np.float32] | None:
        """Probability (h, w) that the pixels of a box are cells, as a model saw them last; None if none did so far."""
        return None

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
        edit = self.need_project().record(image_id, tool=tool, box=box, after=after)
        if edit is not None:
            self.edited.emit(edit)
        return edit

    def accept(self, image_id: str, box: Box) -> Edit | None:
        """Verify the unreviewed pixels of a box as they are shown; None when there are none."""
        edit = self.need_project().accept(image_id, box)
        if edit is not None:
            self.edited.emit(edit)
        return edit

    def undo(self, image_id: str) -> Edit | None:
        return self._step(image_id, self.need_project().undo)

    def redo(self, image_id: str) -> Edit | None:
        return self._step(image_id, self.need_project().redo)

    def _step(self, image_id: str, step: Callable[[str], Edit | None]) -> Edit | None:
        return self.tell(step(image_id))

    def tell(self, edit: Edit | None) -> Edit | None:
        """Let everybody know of a committed edit that did not come from the layer that shows it; gives it back."""
        if edit is None:
            return None
        if isinstance(edit.patch, CellPatch):
            self.cells.changed.emit(edit.image_id, edit.box)
        else:
            self.labels_changed.emit(edit.image_id, edit.box)
        self.edited.emit(edit)
        return edit

    def import_labels(self, image_id: str, labels: NDArray[np.uint8], *, verified: bool) -> Edit | None:
        """Bring in a whole label array of the project's schema, as verified truth or as a proposal."""
        edit = self.need_project().import_labels(image_id, labels, verified=verified)
        if edit is not None:
            self.tell(edit)
        elif not verified:
            self.labels_changed.emit(image_id, Box.of_shape(labels.shape))
        return edit

    def counts(self, image_id: str) -> dict[int, int]:
        """Pixels that a person vouched for, by class id."""
        return self.need_project().counts(image_id)

    def shares(self, image_id: str) -> dict[int, float]:
        """Share of the labelled area by class id, 0 to 1."""
        return self.need_project().class_shares(image_id)

    def _planes(self, image_id: str) -> Planes:
        project = self.need_project()
        planes = project.planes(image_id)
        self._tell_notes(project)
        return planes
