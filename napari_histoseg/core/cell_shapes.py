"""Cutting and joining cells: from the numbers of a box to the numbers it should hold."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.errors import InputError

_CLOSED_GAP_PX = 2
_LEAST_PART_PX = 4
"""A smaller part is a speck that a line along a ragged border leaves, and no cell."""


def delete(instances: NDArray[np.uint32], ids: ArrayLike) -> NDArray[np.uint32]:
    """The numbers (h, w) of a box without those cells."""
    return np.where(np.isin(instances, np.asarray(ids, np.uint32)), 0, instances).astype(np.uint32)


def merge(instances: NDArray[np.uint32], ids: ArrayLike, keep: int) -> NDArray[np.uint32]:
    """The numbers of a box in which those cells are one.

    Background between them that is at most four pixels wide goes to the cell, so that a border that a model drew
    between them closes.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
    ids : array_like of int
    keep : int
        Number of the merged cell.
    """
    from scipy import ndimage

    parts = np.isin(instances, np.asarray(ids, np.uint32))
    disk = np.hypot(*np.mgrid[-_CLOSED_GAP_PX : _CLOSED_GAP_PX + 1, -_CLOSED_GAP_PX : _CLOSED_GAP_PX + 1])
    inner = slice(2 * _CLOSED_GAP_PX, -2 * _CLOSED_GAP_PX)
    closed = ndimage.binary_closing(np.pad(parts, 2 * _CLOSED_GAP_PX), disk <= _CLOSED_GAP_PX)[inner, inner]
    is_cell = parts | (closed & (instances == 0))
    return np.where(is_cell, keep, instances).astype(np.uint32)


def split_by_line(
    instances: NDArray[np.uint32], cell_id: int, line: NDArray[np.float64], next_id: int
) -> NDArray[np.uint32]:
    """The numbers of a box in which a line has cut a cell; the largest part keeps the number.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
    cell_id : int
    line : ndarray of float64, shape (n, 2)
        Corners of the line as (y, x) in pixels of the box; n is 2 or more.
    next_id : int
        Number of the first of the other parts.

    Raises
    ------
    InputError
        When the line does not cross the cell from side to side.
    """
    from scipy import ndimage

    cell = instances == cell_id
    parts, count = ndimage.label(cell & ~line_mask(line, cell.shape))
    pieces, _ = ndimage.label(cell)
    piece_of = np.zeros(count + 1, np.int64)
    piece_of[parts[cell]] = pieces[cell]
    piece_of[np.bincount(parts.ravel()) < _LEAST_PART_PX] = 0
    piece_of[0] = 0
    is_cut = (np.bincount(piece_of)[piece_of] > 1) & (piece_of > 0)
    if not is_cut.any():
        raise InputError(f"The line does not cut cell {cell_id} in two; draw it across the cell from side to side.")
    parts = np.where(is_cut[parts], parts, 0)  # a speck beside the cell goes with the nearest part
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return _numbered(instances, cell, parts[tuple(nearest)], cell_id, next_id)


def split_by_points(
    instances: NDArray[np.uint32], cell_id: int, points: NDArray[np.float64], next_id: int
) -> NDArray[np.uint32]:
    """The numbers of a box in which a cell is parted between points; the largest part keeps the number.

    The cut follows the waist between the points: a watershed on the distance to the cell's outline.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
    cell_id : int
    points : ndarray of float64, shape (n, 2)
        (y, x) in pixels of the box.
    next_id : int
        Number of the first of the other parts.

    Raises
    ------
    InputError
        When fewer than two points lie on different pixels of the cell.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    cell = instances == cell_id
    places = np.unique(np.rint(points).astype(np.int64), axis=0)
    is_inside = ((places >= 0) & (places < cell.shape)).all(axis=1)
    places = places[is_inside]
    places = places[cell[tuple(places.T)]]
    if len(places) < 2:
        raise InputError(f"Fewer than two points lie in cell {cell_id}; set one in each part that it should have.")
    markers = np.zeros(cell.shape, np.int32)
    markers[tuple(places.T)] = np.arange(1, len(places) + 1)
    distance = ndimage.distance_transform_edt(np.pad(cell, 1))[1:-1, 1:-1]
    parts = watershed(-distance, markers, mask=cell)
    return _numbered(instances, cell, np.where(parts > 0, parts, 1), cell_id, next_id)


def _numbered(
    instances: NDArray[np.uint32], cell: NDArray[np.bool_], parts: NDArray[np.int32], cell_id: int, next_id: int
) -> NDArray[np.uint32]:
    """The largest part gets ``cell_id``, the others ``next_id`` and so on."""
    present, which, sizes = np.unique(parts[cell], return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    numbers = np.zeros(len(present), np.uint32)
    numbers[order] = [cell_id, *range(next_id, next_id + len(present) - 1)]
    after = instances.copy()
    after[cell] = numbers[which]
    return after


def line_mask(line: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels that a line touches, half a pixel apart, so that nothing leaks through it by a side."""
    mask = np.zeros(shape, bool)
    for start, end in itertools.pairwise(line):
        steps = int(np.ceil(2 * np.abs(end - start).max())) + 1
        places = np.rint(np.linspace(start, end, steps)).astype(np.int64)
        is_inside = ((places >= 0) & (places < shape)).all(axis=1)
        mask[tuple(places[is_inside].T)] = True
    return mask
