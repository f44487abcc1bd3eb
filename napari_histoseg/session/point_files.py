"""Lists of points: out of CSV files into a project, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.cells import UNKNOWN, read_points, write_points

if TYPE_CHECKING:
    from napari_histoseg.core.cells import CellPoints
    from napari_histoseg.inference.points import Points

_BACKGROUND = 0


def read_marks(
    path: Path, schema: LabelSchema, *, known: CellPoints, is_taken: NDArray[np.bool_], same_px: float
) -> tuple[Points, tuple[str, ...]]:
    """The points of a file from which cells can grow, and a sentence for each reason why others cannot.

    Parameters
    ----------
    path : Path
    schema : LabelSchema
        A point whose class it does not have is one of unknown class.
    known : CellPoints
        Points that are there already.
    is_taken : ndarray of bool, shape (H, W)
        Pixels of cells that stay.
    same_px : float
        Points closer together mark one nucleus; the first counts.

    Raises
    ------
    InputError
        When the file cannot be read as points.
    """
    from napari_histoseg.inference.points import Points

    given = read_points(path)
    ids = {c.name: c.id for c in schema.classes} | {UNKNOWN: IGNORE}
    class_ids = np.array([ids.get(name, IGNORE) for name in given.names], np.uint8)
    y, x = (values.astype(np.float32).astype(np.float64) for values in (given.y, given.x))  # as projects keep them
    whole = Box.of_shape(is_taken.shape)
    points = Points.of(y, x, class_ids)
    notes = []
    strange = {name: None for name in given.names if name not in ids}
    if strange:
        names = ", ".join(f"'{name}'" for name in list(strange)[:5]) + (" and others" if len(strange) > 5 else "")
        count = sum(name in strange for name in given.names)
        notes.append(f"Of unknown class, since this project has no class {names}: {_counted(count)}.")
    left = points.only(class_ids != _BACKGROUND)
    inside = left.inside(whole)
    free = inside.only(~is_taken[inside.pixels(whole)])
    apart = _apart(free, known, same_px)
    for before, after, why in (
        (points, left, "background is no class of a cell"),
        (left, inside, "outside the image"),
        (inside, free, "on a cell that a person shaped or accepted, which stays as it is"),
        (free, apart, "on another point"),
    ):
        if len(after) < len(before):
            notes.append(f"Left out, {why}: {_counted(len(before) - len(after))}.")
    return apart, tuple(notes)


def write_marks(path: Path, points: CellPoints, schema: LabelSchema) -> None:
    """Write points so that `read_marks` gives them back; ``ResourceError`` when the disk is full."""
    names = {IGNORE: UNKNOWN} | {c.id: c.name for c in schema.classes}
    write_points(path, points.x, points.y, [names[class_id] for class_id in points.class_ids.tolist()])


def _apart(points: Points, known: CellPoints, same_px: float) -> Points:
    """The points that lie neither on one of those that are known nor on an earlier one."""
    from napari_histoseg.inference.points import Points, single_points

    count = len(known)
    all_points = Points.of(
        np.append(known.y, points.y), np.append(known.x, points.x), np.append(known.class_ids, points.class_ids)
    )
    kept = single_points(all_points, same_px).numbers
    return points.only(np.isin(np.arange(len(points)) + count + 1, kept))


def _counted(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"
