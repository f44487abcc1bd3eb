"""Changing the classes of a project that has labels and cells already."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import NO_CELL, CellPatch
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.edit import Edit, Patch, State
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.journal import Journal
from napari_histoseg.core.lock import user_name
from napari_histoseg.core.opening import CHANGES, HEADER_KEY, PROJECT_FILE, OpenFolder
from napari_histoseg.core.planes import Planes
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schema_steps import RemoveClass, SchemaStep, brought_back, plan_steps

REASSIGNED = "reassign"
"""Tool of the edits that give pixels and cells another class because theirs was taken out of the list."""


@dataclass(frozen=True)
class SchemaNote:
    """One change of the classes, as the history tells it.

    Parameters
    ----------
    at : float
        Unix time in seconds.
    author : str
    told : str
        What was done.
    """

    at: float
    author: str
    told: str


@dataclass(frozen=True)
class Carried:
    """How much carries a class.

    Parameters
    ----------
    pixels : int
        Of the labels, whether a person painted them or a model proposed them.
    cells : int
    images : int
        On which any of those are.
    """

    pixels: int
    cells: int
    images: int


@dataclass(frozen=True)
class SchemaOutcome:
    """What a change of the classes did.

    Parameters
    ----------
    edits : tuple of Edit
        Pixels and cells that got another class, one edit for the labels and one for the cells of an image; each can
        be undone, which brings the class back into the list.
    proposed : tuple of str
        Images where the model's output got another class.
    told : tuple of str
        Sentences for the person.
    """

    edits: tuple[Edit, ...]
    proposed: tuple[str, ...]
    told: tuple[str, ...]


class SchemaEditing(ABC):
    """The part of a project that changes its classes; see `napari_histoseg.core.project.Project`.

    The list of classes stands in the journal and in the project file. A class that leaves the list keeps its id, so
    that old edits stay what they were; undoing one that mentions it brings it back into the list.
    """

    _folder: OpenFolder
    _journal: Journal

    @property
    @abstractmethod
    def images(self) -> tuple[ImageEntry, ...]: ...

    @abstractmethod
    def planes(self, image_id: str) -> Planes: ...

    @abstractmethod
    def cells(self, image_id: str) -> Cells: ...

    @abstractmethod
    def _stack(self, image_id: str) -> tuple[list[int], list[int]]: ...

    @abstractmethod
    def _take(self, edit: Edit) -> None:
        """Let memory follow a committed edit."""

    @property
    def schema(self) -> LabelSchema:
        """The classes, of which each has its id for ever."""
        return self._folder.schema

    @property
    def schema_notes(self) -> tuple[SchemaNote, ...]:
        """What was done to the classes since the project was made."""
        return tuple(SchemaNote(**note) for note in self._folder.header.get(CHANGES, ()))

    def carried(self, class_id: int) -> Carried:
        """How many pixels and cells of all images have a class; every image is looked at."""
        pixels = cells = images = 0
        for entry in self.images:
            planes = self.planes(entry.id)
            is_class = (planes.labels == class_id) | (
                (planes.proposal == class_id) & (planes.state == State.UNREVIEWED)
            )
            of_labels, of_cells = int(np.count_nonzero(is_class)), self.cells(entry.id).counts().get(class_id, 0)
            pixels, cells, images = pixels + of_labels, cells + of_cells, images + bool(of_labels or of_cells)
        return Carried(pixels, cells, images)

    def change_schema(self, steps: Sequence[SchemaStep], *, author: str | None = None) -> SchemaOutcome:
        """Change the classes, and with them everything that carries a class which leaves the list.

        All of it is committed at once.

        Parameters
        ----------
        steps : sequence of AddClass, AlterClass or RemoveClass
        author : str, optional
            By default the name of the user.

        Raises
        ------
        InputError
            When a class does not exist, a name or key would occur twice, or no class would be left.
        ProjectError
            When the disk is full or the project is read-only; nothing has changed then.
        """
        asked = {step.class_id for step in steps if isinstance(step, RemoveClass) and step.to is None}
        counts = {class_id: self.carried(class_id) for class_id in asked}
        plan = plan_steps(self.schema, steps, {class_id for class_id, n in counts.items() if n.pixels or n.cells})
        if not plan.told:
            return SchemaOutcome((), (), plan.kept)
        codes = np.arange(256, dtype=np.uint8)
        codes[list(plan.moves)] = list(plan.moves.values())
        patches: list[tuple[str, Patch | CellPatch]] = []
        for entry in self.images if plan.moves else ():
            self._stack(entry.id)
            found = (_recoded_labels(self.planes(entry.id), codes), _recoded_cells(self.cells(entry.id), codes))
            patches += [(entry.id, patch) for patch in found if patch is not None]
        header = self._header_with(plan.schema, plan.told, author)
        who = author or user_name()
        with self._journal.together():
            edits = [
                self._journal.append(image_id, author=who, tool=REASSIGNED, kind="edit", patch=patch)
                for image_id, patch in patches
            ]
            self._journal.put_setting(HEADER_KEY, header)
        self._take_header(header)
        for edit in edits:
            self._take(edit)
        proposed = [entry.id for entry in self.images if plan.moves and _recode_proposal(self.planes(entry.id), codes)]
        return SchemaOutcome(tuple(edits), tuple(proposed), (*plan.told, *plan.kept))

    def _header_bringing_back(self, patch: Patch | CellPatch) -> dict[str, Any] | None:
        """The header with the classes in the list that a patch brings back; None when it brings none back."""
        if not self.schema.retired:
            return None
        given = patch.after_labels if isinstance(patch, Patch) else patch.after_rows["class_id"]
        ids = {c.id for c in self.schema.retired} & set(np.unique(given).tolist())
        names = [c.name for c in self.schema.retired if c.id in ids]
        told = [f"Class '{name}' is back, since labels or cells with it came back" for name in names]
        return self._header_with(brought_back(self.schema, ids), told, None) if ids else None

    def _header_with(self, schema: LabelSchema, told: Iterable[str], author: str | None) -> dict[str, Any]:
        now, who = time.time(), author or user_name()
        notes = [*self._folder.header.get(CHANGES, ()), *(asdict(SchemaNote(now, who, text)) for text in told)]
        return {**self._folder.header, "schema": schema.to_json(), CHANGES: notes}

    def _take_header(self, header: dict[str, Any]) -> None:
        """Let memory and the project file follow a header that is in the journal."""
        self._folder.header, self._folder.schema = header, LabelSchema.from_json(header["schema"])
        with contextlib.suppress(OSError):  # it is in the journal; the next opening writes the file again
            write_json(self._folder.path / PROJECT_FILE, header)


def successors(schema: LabelSchema) -> NDArray[np.uint8] | None:
    """Lookup table from label values of any time to those of today; None where no class has left the list.

    A retired class becomes the one it was put into, or ``IGNORE``; all other values stay.
    """
    if not schema.retired:
        return None
    codes = np.arange(256, dtype=np.uint8)
    ids = [c.id for c in schema.retired]
    codes[ids] = schema.crosswalk(schema.retired)[ids]
    return codes


def _recoded_labels(planes: Planes, codes: NDArray[np.uint8]) -> Patch | None:
    """What giving a person's labels other classes changes; a label without a class is taken back."""
    labels = codes[planes.labels]
    return planes.difference_patch(labels, np.where(labels == IGNORE, State.UNREVIEWED, planes.state).astype(np.uint8))


def _recoded_cells(cells: Cells, codes: NDArray[np.uint8]) -> CellPatch | None:
    """What giving cells other classes changes; nothing else about them does."""
    ids = cells.ids
    rows = np.full(cells.next_id, NO_CELL)
    rows[ids] = cells.rows(ids)
    rows["class_id"] = codes[rows["class_id"]]
    return cells.replacement_patch(cells.instances, rows)


def _recode_proposal(planes: Planes, codes: NDArray[np.uint8]) -> bool:
    """Give the model's output other classes; whether any of it changed."""
    box = Box.of_mask(codes[planes.proposal] != planes.proposal)
    if box.is_empty:
        return False
    planes.propose(box, codes[planes.proposal[box.slices]])
    return True
