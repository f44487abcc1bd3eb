"""What a retrain learns from: copies of everything that people vouched for at the moment the button was pressed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import Patch
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import LabelClass

if TYPE_CHECKING:
    from napari_histoseg.core.project import Project
    from napari_histoseg.learning.cell_targets import CellTeacher

CARD_KEY = "finetune"
"""Under this key a revision's card keeps what the next round has to know."""


@dataclass(frozen=True)
class HeldOutBox:
    """A rectangle of an image whose corrections judge and never teach, in this round and later ones."""

    content_id: str
    box: Box

    def to_json(self) -> dict[str, Any]:
        box = self.box
        return {"content_id": self.content_id, "box": [box.y0, box.x0, box.y1, box.x1]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeldOutBox:
        try:
            y0, x0, y1, x1 = (int(edge) for edge in data["box"])
            return cls(str(data["content_id"]), Box(y0, x0, y1, x1))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"A held-out region needs content_id and box [y0, x0, y1, x1]; {dict(data)!r} lacks them."
            ) from None


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One image with pixels that somebody vouched for.

    Parameters
    ----------
    image : ImageRef
        With a known µm per pixel.
    labels : ndarray of uint8, shape (H, W)
        Class ids of the review; counted only where ``state`` is not 0.
    state : ndarray of uint8, shape (H, W)
        0 unreviewed, 1 edited, 2 verified.
    learned : ndarray of bool, shape (H, W), optional
        Pixels that an earlier round has learned already: they are replayed. None where nothing has been.

    Raises
    ------
    InputError
        When the arrays do not have the image's shape or its µm per pixel is unknown.
    """

    image: ImageRef
    labels: NDArray[np.uint8]
    state: NDArray[np.uint8]
    learned: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "state", "learned"):
            array = getattr(self, name)
            if array is not None and array.shape != self.image.shape:
                raise InputError(
                    f"The {name} of '{self.image.name}' are {array.shape}, the image is {self.image.shape} px; "
                    "give arrays of the image's size."
                )
        if self.image.mpp is None:
            raise InputError(f"The µm per pixel of '{self.image.name}' is not known; say it once before retraining.")


@dataclass(frozen=True, eq=False)
class EditSnapshot:
    """Everything one retrain may look at.

    Parameters
    ----------
    images : tuple of TrainingImage
        Images with edits or verified pixels.
    classes : tuple of LabelClass
        The review's classes; they are matched with the model's by name.
    others : tuple of ImageRef
        The project's images that nobody has corrected: only the parent's answer is kept on them.
    reference : tuple of TrainingImage
        Image and label pairs from a folder the person named; they judge and never teach.
    held_out : tuple of HeldOutBox
        What earlier rounds held out.
    learned_until : int
        Number of the newest edit in the journal; what is older has been learned when the round ends.
    """

    images: tuple[TrainingImage, ...]
    classes: tuple[LabelClass, ...]
    others: tuple[ImageRef, ...] = ()
    reference: tuple[TrainingImage, ...] = ()
    held_out: tuple[HeldOutBox, ...] = ()
    learned_until: int = 0


def take_snapshot(
    project: Project,
    *,
    model_id: str,
    parent_revision: str | None,
    open_file: Callable[[str], ImageRef] | None = None,
    reference: tuple[TrainingImage, ...] = (),
    teacher: CellTeacher | None = None,
) -> EditSnapshot:
    """Copies of what a project vouches for, for fine-tuning one model; call it on the thread that owns the project.

    Parameters
    ----------
    project : Project
    model_id : str
        Held-out regions of all its revisions are remembered, whichever is active.
    parent_revision : str or None
        The revision to start from: edits that it or its ancestors learned are replayed, later ones are new.
    open_file : callable, optional
        See ``Project.image_ref``.
    reference : tuple of TrainingImage
        See ``EditSnapshot``.
    teacher : CellTeacher, optional
        Lets the cells that people vouched for teach as well, for models of nuclei.

    Raises
    ------
    InputError
        When an edited image has no known µm per pixel.
    ProjectError
        When the pixels of an edited image cannot be read.
    """
    cards = {revision.id: revision.card.get(CARD_KEY, {}) for revision in project.revisions.list(model_id)}
    held_out = dict.fromkeys(HeldOutBox.from_json(box) for card in cards.values() for box in card.get("held_out", []))
    learned_until = int(cards.get(parent_revision or "", {}).get("learned_until", 0))
    images, others, has_cells = [], [], False
    for entry in project.images:
        is_edited = bool(project.edit_count(entry.id))
        with_cells = is_edited and teacher is not None and teacher.vouched_for(project.cells(entry.id)).size > 0
        if with_cells or (is_edited and project.planes(entry.id).state.any()):
            ref = project.image_ref(entry.id, open_file)
            images.append(_training_image(project, entry.id, ref, learned_until, teacher if with_cells else None))
            has_cells |= with_cells
        elif entry.mpp is not None:
            with contextlib.suppress(ProjectError, InputError):  # a guard image that is gone is no loss
                others.append(project.image_ref(entry.id, open_file))
    newest = max((edit.seq for edit in project.edits(after=learned_until)), default=learned_until)
    classes = teacher.classes if teacher is not None and has_cells else project.schema.classes
    return EditSnapshot(tuple(images), classes, tuple(others), reference, tuple(held_out), learned_until=newest)


def _training_image(
    project: Project, image_id: str, ref: ImageRef, learned_until: int, teacher: CellTeacher | None
) -> TrainingImage:
    planes = project.planes(image_id)
    labels, state = planes.labels.copy(), planes.state.copy()
    taught_by = None
    if teacher is not None and ref.mpp is not None:
        taught_by = teacher.teach(project.cells(image_id), ref.mpp, labels, state)
    if learned_until == 0:
        return TrainingImage(ref, labels, state)
    learned = state > 0
    changed = np.zeros(0, np.int64)
    for record in project.compacted(image_id, after=learned_until):
        learned[record.box.slices] = False
    for edit in project.edits(image_id, after=learned_until):
        if isinstance(edit.patch, Patch):
            learned[edit.box.slices] &= ~edit.patch.mask
        else:
            changed = np.union1d(changed, edit.patch.touched_ids)
    if taught_by is not None and changed.size:
        learned &= ~np.isin(taught_by, changed)
    return TrainingImage(ref, labels, state, learned)
