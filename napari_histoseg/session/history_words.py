"""An act of the history in words and as a small picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.edit import Edit, Patch, Record
from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schema_change import REASSIGNED

if TYPE_CHECKING:
    from napari_histoseg.core.project import Project
    from napari_histoseg.session.review import Review

_MOST_READ_PX = 1 << 20
"""Larger acts are told without what their pixels say, since reading those takes longer than scrolling over a line."""

_CONTEXT_PX = 64
_TOOLS = {
    "paint": "Brush",
    "erase": "Eraser",
    "fill": "Fill",
    "polygon": "Polygon",
    "class": "Class",
    "delete": "Deleted",
    "split": "Split",
    "merge": "Merged",
    "recovered": "Brought back after damage",
    "import": "Brought in",
    "accept": "Accepted",
    "repaint": "Outlined anew",
    REASSIGNED: "Given another class",
}


def words(project: Project, record: Record) -> str:
    """E.g. "Class of 3 cells: tumor", "Brush, 1 240 px: stroma", "Split 1 cell"."""
    tool = _TOOLS.get(record.tool, f"{record.tool[:1].upper()}{record.tool[1:]}")
    amount = _amount(record)
    if record.tool == "class":
        told = f"Class of {amount}"
    elif record.cells is not None and record.tool in ("delete", "split", "merge", "accept", "import"):
        told = f"{tool} {amount}"
    elif record.kind == "run":
        told = f"{tool} outlined {amount}"
    else:
        told = f"{tool}, {amount}"
    name = _class_name(project, record)
    return told if name is None else f"{told}: {name}"


def thumbnail(review: Review, record: Record, side_px: int) -> NDArray[np.uint8]:
    """The tissue around an act, with the pixels it changed in the colour of their class.

    Parameters
    ----------
    review : Review
    record : Record
    side_px : int
        Largest side of the picture.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)

    Raises
    ------
    ProjectError
        When the pixels of the image cannot be read any more.
    """
    image, project = review.image_ref(record.image_id), review.project
    around = _around(record.box, image.shape)
    sides = [max(around.shape) * shape[0] / image.shape[0] for shape in image.levels]
    level = max(k for k, side in enumerate(sides) if k == 0 or side >= side_px)
    shrink = image.levels[level][0] / image.shape[0]
    pixels = image.read(level, around.scaled(shrink).clip(image.levels[level]))
    step = max(1, -(-max(pixels.shape[:2]) // side_px))
    picture = pixels[::step, ::step].copy()
    if project is not None and level == 0 and around.area <= _MOST_READ_PX:
        edit = _read(project, record)
        if edit is not None:
            _tint(picture, _changed_classes(edit.patch, around)[::step, ::step], project.schema)
    return picture


def _amount(record: Record) -> str:
    count = record.changed if record.cells is None else record.cells
    what = "px" if record.cells is None else "cell" if count == 1 else "cells"
    return f"{count:,} {what}".replace(",", " ")


def _read(project: Project, record: Record) -> Edit | None:
    if record.changed > _MOST_READ_PX:
        return None
    try:
        return project.edit(record.seq)
    except HistosegError:
        return None


def _class_name(project: Project, record: Record) -> str | None:
    """The one class that the act gave; None when it gave none or several."""
    edit = _read(project, record) if record.kind in ("edit", "accept", "import") else None
    if edit is None:
        return None
    given = _given_classes(edit.patch)
    if given.size != 1:
        return None
    class_id = int(given[0])
    if class_id in project.schema:
        return project.schema.by_id(class_id).name
    return "unknown" if record.cells is not None else "taken away"


def _given_classes(patch: Patch | CellPatch) -> NDArray[np.uint8]:
    if isinstance(patch, Patch):
        return np.unique(patch.after_labels)
    is_given = patch.before_rows["class_id"] != patch.after_rows["class_id"]
    is_given &= np.isin(patch.ids, patch.after) | ~np.isin(patch.ids, patch.before)  # and the cell is still there
    return np.unique(patch.after_rows["class_id"][is_given])


def _around(box: Box, shape: tuple[int, int]) -> Box:
    """A box with some tissue around it, inside the image."""
    missing_y, missing_x = (max(side // 4, _CONTEXT_PX - side) for side in (box.height, box.width))
    y0, x0 = box.y0 - missing_y // 2, box.x0 - missing_x // 2
    return Box(y0, x0, y0 + box.height + missing_y, x0 + box.width + missing_x).clip(shape)


def _changed_classes(patch: Patch | CellPatch, around: Box) -> NDArray[np.int16]:
    """Class id of each changed pixel of ``around`` (h, w) after the patch; -1 where nothing changed."""
    classes = np.full(around.shape, -1, np.int16)
    if isinstance(patch, Patch):
        classes[patch.box.relative_to(around).slices][patch.mask] = patch.after_labels
    elif patch.changed:
        numbers, place = np.unique(patch.after, return_inverse=True)
        known = dict(zip(patch.ids.tolist(), patch.after_rows["class_id"].tolist(), strict=True))
        found = np.array([known.get(number, IGNORE) for number in numbers.tolist()], np.int16)
        classes[patch.pixels.relative_to(around).slices][patch.mask] = found[place]
    return classes


def _tint(picture: NDArray[np.uint8], classes: NDArray[np.int16], schema: LabelSchema) -> None:
    """Lay the colours of classes half over a picture (h, w, 3) of the same size."""
    table = np.full((256, 3), 128, np.uint16)
    for c in schema.classes:
        table[c.id] = c.rgb
    is_changed = classes >= 0
    picture[is_changed] = (picture[is_changed].astype(np.uint16) + table[classes[is_changed]]) // 2
