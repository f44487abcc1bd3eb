"""A project: a folder with every edit, label, model output and trained model of a set of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_editing import CellEditing
from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.compaction import Compacting
from napari_histoseg.core.edit import Edit, Kind, Patch, Record
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.labels import LabelStore, checked_labels
from napari_histoseg.core.lock import user_name
from napari_histoseg.core.opening import HEADER_KEY, REVISIONS, OpenFolder, create_folder, open_folder
from napari_histoseg.core.planes import Chunked, Planes
from napari_histoseg.core.revision import RevisionStore
from napari_histoseg.core.run import Run
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schema_change import SchemaEditing, successors
from napari_histoseg.core.shelf import ImageShelf
from napari_histoseg.core.stacks import push

SUFFIX = ".histoseg"


class Project(Compacting, SchemaEditing, CellEditing):
    """An open project folder; use it as a context manager, or call `close`.

    Every change is committed to the journal before it shows in memory: when a call raises, nothing has changed.
    All calls belong on one thread. Get one from `Project.create` or `Project.open`.
    """

    def __init__(self, folder: OpenFolder) -> None:
        self._folder = folder
        self._journal = folder.journal
        self._labels = LabelStore(folder)
        self._shelf = ImageShelf(folder)
        self._stacks: dict[str, tuple[list[int], list[int]]] = {}
        self._last_saved_at = self._journal.last_at()
        self._is_closed = False
        self.revisions = RevisionStore(folder.path / REVISIONS, read_only=self.read_only)

    @classmethod
    def create(cls, path: str | Path, schema: LabelSchema) -> Project:
        """Make a new project folder and open it.

        Raises
        ------
        ProjectError
            When something is there already or the place cannot be written.
        """
        create_folder(Path(path).absolute(), schema)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Project:
        """Open a project folder; what had to be repaired is told in `notes`.

        A folder that cannot be written is opened for reading only, and `notes` says so.

        Raises
        ------
        ProjectLockedError
            When it is open in another window and ``read_only`` is False.
        ProjectError
            When it is no project, comes from a newer version, or is damaged beyond repair.
        """
        return cls(open_folder(Path(path).absolute(), read_only=read_only))

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @property
    def read_only(self) -> bool:
        return self._folder.lock is None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about repairs and limits that the person should read."""
        return tuple(self._folder.notes)

    @property
    def last_saved_at(self) -> float | None:
        """When the newest edit was committed, Unix time in seconds."""
        return self._last_saved_at

    # images --------------------------------------------------------------------------------------------------------

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        return tuple(self._folder.entries.values())

    def image(self, image_id: str) -> ImageEntry:
        """The entry of that id; ``ProjectError`` when there is none."""
        return self._shelf.get(image_id)

    def add_image(self, ref: ImageRef) -> ImageEntry:
        """The entry of an image; the same pixels always give the same entry.

        The pixels of an image without a file are copied into the project, up to 100 million pixels. What the
        project already knows of µm per pixel is kept when ``ref`` knows none.

        Raises
        ------
        InputError
            When the image is too large to be labelled.
        ProjectError
            When the disk is full or the project is read-only and does not have the image.
        """
        return self._shelf.add(ref)

    def image_ref(self, image_id: str, open_file: Callable[[str], ImageRef] | None = None) -> ImageRef:
        """How to read the pixels of an image.

        Parameters
        ----------
        open_file : callable, optional
            Reads an image file; needed for images that are not stored in the project and were not added since it
            was opened.

        Raises
        ------
        ProjectError
            When the file is gone or no longer holds the same pixels, in a sentence that says what to do.
        """
        return self._shelf.ref(image_id, open_file)

    def set_mpp(self, image_id: str, mpp: float) -> ImageEntry:
        """Remember the resolution of an image in µm per pixel; ``InputError`` when it is no microscope's."""
        return self._shelf.set_mpp(image_id, mpp)

    # labels and cells ----------------------------------------------------------------------------------------------

    def cells(self, image_id: str) -> Cells:
        """Live cells of an image, loaded on first use."""
        return self._labels.cells(self.image(image_id))

    def planes(self, image_id: str) -> Planes:
        """Live planes of an image, loaded on first use."""
        return self._labels.planes(self.image(image_id))

    def record(
        self, image_id: str, *, tool: str, box: Box, after: NDArray[np.uint8], author: str | None = None
    ) -> Edit | None:
        """Commit a person's stroke; None when it changes nothing.

        Parameters
        ----------
        tool : str
            Name for the record: "paint", "erase", "fill", "polygon".
        box : Box
            In pixels of the image; the smaller, the faster.
        after : ndarray of uint8, shape (h, w)
            What the box shows after the stroke. Pixels that differ from what it showed before become edited; with
            ``IGNORE`` the person's label is taken back and the proposal shows again.

        Raises
        ------
        InputError
            When the box leaves the image or a value is no class.
        ProjectError
            When the disk is full or the project is read-only; nothing has changed then.
        """
        values = self._checked(image_id, box, after, "The painted region")
        return self._commit(image_id, "edit", tool, self.planes(image_id).edit_patch(box, values), author)

    def accept(self, image_id: str, box: Box, *, author: str | None = None) -> Edit | None:
        """Vouch for what the untouched pixels of a box show; None when there are none. Errors as in `record`."""
        inside = box.clip(self.image(image_id).shape)
        return self._commit(image_id, "accept", "accept", self.planes(image_id).accept_patch(inside), author)

    def import_labels(
        self, image_id: str, labels: NDArray[np.uint8], *, verified: bool, author: str | None = None
    ) -> Edit | None:
        """Take label values (H, W) from elsewhere; pixels with ``IGNORE`` stay as they are.

        Verified labels become the person's word, as one edit that can be undone. Others become the proposal, which
        nobody has vouched for, and None comes back. Errors as in `record`.
        """
        whole = Box.of_shape(self.image(image_id).shape)
        values = self._checked(image_id, whole, labels, "The label file")
        if verified:
            return self._commit(image_id, "import", "import", self.planes(image_id).import_patch(values), author)
        run_id = self.begin_run(image_id, model="import", revision=None, box=whole)
        merged = np.where(values == IGNORE, self.planes(image_id).proposal, values)
        self.propose(image_id, whole, merged, run_id=run_id)
        self.end_run(run_id, "done")
        return None

    def undo(self, image_id: str) -> Edit | None:
        """Take back the newest edit in force; None when there is none. The current proposal shows through.

        ``CompactedEditError`` when its pixels were dropped by `compact`.
        """
        done = self._stack(image_id)[0]
        if not done:
            return None
        target = self._journal.edit(done[-1])
        return self._commit(image_id, "undo", target.tool, target.patch.reversed(), None, target.seq)

    def redo(self, image_id: str) -> Edit | None:
        """Do again what was taken back last; None when there is nothing, or something was painted since. As `undo`."""
        undone = self._stack(image_id)[1]
        if not undone:
            return None
        target = self._journal.edit(undone[-1])
        return self._commit(image_id, "redo", target.tool, target.patch, None, target.seq)

    def stacks(self, image_id: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numbers of the edits in force, the one to undo next at the end, and of those to redo, the next at the end."""
        done, undone = self._stack(image_id)
        return tuple(done), tuple(undone)

    def can_undo(self, image_id: str) -> bool:
        done = self._stack(image_id)[0]
        return bool(done) and not self.is_compacted(done[-1])

    def can_redo(self, image_id: str) -> bool:
        undone = self._stack(image_id)[1]
        return bool(undone) and not self.is_compacted(undone[-1])

    def edit(self, seq: int) -> Edit:
        """The row of the journal of that number with its pixels; ``DamagedEditError`` when it cannot be read."""
        return self._journal.edit(seq)

    def edits(self, image_id: str | None = None, *, after: int = 0) -> tuple[Edit, ...]:
        """Every row of the journal from edit number ``after`` (exclusive) on whose pixels were not dropped."""
        return tuple(self._journal.edits(image_id, after=after))

    def history(self, image_id: str | None = None) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        """Every row of the journal without its pixels, and a sentence for each row that is damaged."""
        records, damaged = self._journal.records(image_id)
        return tuple(records), tuple(damaged)

    def edit_count(self, image_id: str) -> int:
        """Number of edits in force."""
        return len(self._stack(image_id)[0])

    def is_edited(self, image_id: str) -> bool:
        """Whether any edit in force is more than nuclei that a model found."""
        return any(self._journal.kind(seq) != "run" for seq in reversed(self._stack(image_id)[0]))

    def counts(self, image_id: str) -> dict[int, int]:
        """Pixels painted by the person, by class id."""
        pixels = self.planes(image_id).edited_pixels
        return {class_id: int(pixels[class_id]) for class_id in self.schema.ids}

    def class_shares(self, image_id: str) -> dict[int, float]:
        """Share of each class in the displayed pixels that have one, 0 to 1, by class id."""
        pixels = self.planes(image_id).shown_pixels[list(self.schema.ids)]
        total = max(1, int(pixels.sum()))
        return {class_id: float(n) / total for class_id, n in zip(self.schema.ids, pixels, strict=True)}

    # model output --------------------------------------------------------------------------------------------------

    def begin_run(self, image_id: str, *, model: str, revision: str | None, box: Box) -> int:
        """Note that a model starts on an image; returns the run's number. Errors as in `record`."""
        self.image(image_id)
        return self._journal.begin_run(image_id, model=model, revision=revision, box=box)

    def end_run(self, run_id: int, state: str) -> None:
        """Note how a run ended: "done", "cancelled" or "failed"."""
        self._journal.end_run(run_id, state)

    def runs(self, image_id: str | None = None) -> tuple[Run, ...]:
        return self._journal.runs(image_id)

    def propose(self, image_id: str, box: Box, labels: NDArray[np.uint8], *, run_id: int) -> None:
        """Put model output (h, w) into the proposal; a person's labels stay as they are. Errors as in `record`."""
        self._require_writable()
        if not self._journal.has_run(run_id, image_id):
            raise InputError(f"Run {run_id} was not begun on '{self.image(image_id).name}'.")
        codes = successors(self.schema)  # the run may have begun before a class left the list
        values = labels if codes is None else codes[labels]
        self.planes(image_id).propose(box, self._checked(image_id, box, values, "The model's output"))

    # settings ------------------------------------------------------------------------------------------------------

    def get_setting(self, key: str, default: Any = None) -> Any:
        """A remembered JSON value."""
        return self._journal.setting(f"user.{key}", default)

    def set_setting(self, key: str, value: Any) -> None:
        """Remember a JSON value under ``key``; None forgets it. Errors as in `record`."""
        self._journal.put_setting(f"user.{key}", value)

    # saving --------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write all label planes to disk; the edits themselves are there already.

        Raises
        ------
        ProjectError
            When the disk is full; the edits are safe in the journal, a later call tries again.
        """
        self._labels.write()

    def checkpoint_if_due(self, budget_s: float = 0.004) -> None:
        """Write a few chunks of the label planes when it is time; call it often, it takes about ``budget_s``.

        Raises
        ------
        ProjectError
            See `checkpoint`.
        """
        self._labels.write_if_due(budget_s)

    def close(self) -> None:
        """Write the label planes and give the folder free; calling it again does nothing.

        Raises
        ------
        ProjectError
            When the disk is full: the folder is closed and the edits are safe, only model output may be missing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self.checkpoint()
        finally:
            self._folder.close()

    def _commit(
        self,
        image_id: str,
        kind: Kind,
        tool: str,
        patch: Patch | CellPatch | None,
        author: str | None,
        target: int | None = None,
    ) -> Edit | None:
        """First the journal, then memory: a failure to write leaves both as they were."""
        if patch is None:
            return None
        self._stack(image_id)
        header = None if target is None else self._header_bringing_back(patch)
        with self._journal.together():
            edit = self._journal.append(
                image_id, author=author or user_name(), tool=tool, kind=kind, patch=patch, target=target
            )
            if header is not None:
                self._journal.put_setting(HEADER_KEY, header)
        if header is not None:
            self._take_header(header)
        self._take(edit)
        return edit

    def _take(self, edit: Edit) -> None:
        is_cells = isinstance(edit.patch, CellPatch)
        live: Chunked = self.cells(edit.image_id) if is_cells else self.planes(edit.image_id)
        live.apply(edit.patch)
        push(*self._stack(edit.image_id), edit.seq, edit.kind, edit.target)
        self._last_saved_at = edit.at

    def _stack(self, image_id: str) -> tuple[list[int], list[int]]:
        if image_id not in self._stacks:
            self.image(image_id)
            self._stacks[image_id] = self._journal.stacks(image_id)
        return self._stacks[image_id]

    def _checked(self, image_id: str, box: Box, labels: NDArray[Any], where: str) -> NDArray[np.uint8]:
        return checked_labels(self.image(image_id), self.schema, box, labels, where)

    def _require_writable(self) -> None:
        if self.read_only:
            raise ProjectError(
                f"The project '{self.path}' is open for reading only, so nothing can be changed in it; copy the folder "
                "to a place you can write to and open it there."
            )
