"""Changing the outlines of many cells at once: from the numbers of a box to the numbers it should hold.

A cell never takes a pixel of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError

Numbers = NDArray[np.uint32]
"""Number of the cell at each pixel of a box (h, w), 0 for none."""
Cut = Callable[[Numbers, int, NDArray[np.float64], int], Numbers]
"""`split_by_line` or `split_by_points`."""


def split_each(
    instances: Numbers, boxes: Mapping[int, Box], places: NDArray[np.float64], next_id: int, cut: Cut
) -> tuple[Numbers, dict[int, int]]:
    """The numbers of a box in which several cells have been cut, and the number of its parent for each new cell.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
    boxes : mapping of int to Box
        Where each of the cells lies in the box, by number.
    places : ndarray of float64, shape (n, 2)
        Corners of the line or points, as (y, x) in pixels of the box.
    next_id : int
        Number of the first new cell.
    cut : callable
        A cell that it cannot cut, for which it raises ``InputError``, stays whole.
    """
    after = instances.copy()
    parents: dict[int, int] = {}
    for cell_id, box in boxes.items():
        first = next_id + len(parents)
        try:
            part = cut(after[box.slices], cell_id, places - (box.y0, box.x0), first)
        except InputError:
            continue
        after[box.slices] = part
        parents |= dict.fromkeys(range(first, int(part.max()) + 1), cell_id)
    return after, parents
