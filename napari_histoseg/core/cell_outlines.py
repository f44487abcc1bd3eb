"""Changing the outlines of many cells at once: from the numbers of a box to the numbers it should hold.

A cell never takes a pixel of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError

T = TypeVar("T", bound=np.generic)
U = TypeVar("U", bound=np.generic)

_TILE_PX = 512

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

    Raises
    ------
    InputError
        When no cell can be cut.
    """
    after = instances.copy()
    parents: dict[int, int] = {}
    refusal: InputError | None = None
    for cell_id, box in boxes.items():
        first = next_id + len(parents)
        try:
            part = cut(after[box.slices], cell_id, places - (box.y0, box.x0), first)
        except InputError as error:
            refusal = error
            continue
        after[box.slices] = part
        parents |= dict.fromkeys(range(first, int(part.max()) + 1), cell_id)
    if refusal is not None and not parents:
        raise refusal
    return after, parents


def grow(instances: Numbers, ids: NDArray[np.int64], distance_px: float) -> Numbers:
    """The numbers of a box in which cells reach so much further into the background, half way to the next cell at most.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
        With ``distance_px`` around the cells, or as much as the image has.
    ids : ndarray of int64, shape (k,)
    distance_px : float
        Positive.
    """
    # All cells compete, so that a neighbour's surroundings stay the neighbour's.
    reach = nearest(instances, distance_px)
    is_won = (instances == 0) & _chosen(ids, instances)[reach]
    return np.where(is_won, reach, instances).astype(np.uint32)


def nearest(instances: Numbers, distance_px: float) -> Numbers:
    """Number of the nearest cell of each pixel (h, w), its own for pixels of cells; 0 where none is so near."""
    from skimage.segmentation import expand_labels

    return _in_tiles(instances, int(np.ceil(distance_px)) + 1, lambda part: expand_labels(part, distance_px))


def shrink(instances: Numbers, ids: NDArray[np.int64], distance_px: float) -> Numbers:
    """The numbers of a box in which cells have lost so much of their rim; one that would vanish stays as it is.

    A cell that falls apart keeps its largest piece. The parameters are those of `grow`; the edge of the image is no
    rim, so the box needs one pixel around the cells where the image has it.
    """
    from scipy import ndimage

    is_chosen = _chosen(ids, instances)
    is_rim = np.zeros(instances.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = instances[here] != instances[there]
        is_rim[here] |= differs
        is_rim[there] |= differs

    def lost(inner: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if inner.all():  # no rim within reach, and the transform needs one
            return ~inner
        return np.asarray(ndimage.distance_transform_edt(inner) <= distance_px - 1)

    is_lost = is_chosen[instances] & _in_tiles(~is_rim, int(np.ceil(distance_px)), lost)
    after = np.where(is_lost, 0, instances).astype(np.uint32)
    after[_is_speck(after, is_chosen)] = 0
    is_gone = is_chosen.copy()
    is_gone[np.unique(after)] = False
    return np.where(is_gone[instances], instances, after).astype(np.uint32)


def smooth(instances: Numbers, boxes: Mapping[int, Box], sigma_px: float) -> Numbers:
    """The numbers of a box in which the outlines of cells are smooth: a Gaussian over each cell, cut at one half.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
        With three times ``sigma_px`` around the cells, or as much as the image has.
    boxes : mapping of int to Box
        Where each of the cells lies in the box, by number.
    sigma_px : float
        Standard deviation.
    """
    from scipy import ndimage

    def smoothed(cell: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(ndimage.gaussian_filter(cell.astype(np.float32), sigma_px, mode="nearest") > 0.5)

    return _each(instances, boxes, int(np.ceil(3 * sigma_px)), smoothed)


def fill_holes(instances: Numbers, boxes: Mapping[int, Box]) -> Numbers:
    """The numbers of a box in which background that one cell encloses is that cell's; parameters as in `smooth`."""
    from scipy import ndimage

    def filled(cell: NDArray[np.bool_]) -> NDArray[np.bool_]:
        outside, count = ndimage.label(np.pad(~cell, 1, constant_values=True))
        return cell if count == 1 else np.asarray(outside[1:-1, 1:-1] != outside[0, 0])

    return _each(instances, boxes, 0, filled)


def outline(instances: Numbers, cell_id: int, mask: NDArray[np.bool_]) -> Numbers:
    """The numbers of a box in which a cell, new or not, has the pixels of a mask (h, w) that no other one has.

    Of several pieces the largest is taken.
    """
    is_free = (instances == 0) | (instances == cell_id)
    after = np.where(instances == cell_id, 0, instances).astype(np.uint32)
    after[_largest_piece(mask & is_free)] = cell_id
    return after


def outline_each(
    instances: Numbers, boxes: Mapping[int, Box], outlines: Mapping[int, tuple[Box, NDArray[np.bool_]]]
) -> Numbers:
    """The numbers of a box in which each of several cells has a new outline, as far as no other one has its pixels.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
    boxes : mapping of int to Box
        Where each of the cells lies in the box, by number.
    outlines : mapping of int to (Box, ndarray of bool)
        The new pixels of each; a cell that would get none stays as it is.
    """
    after = instances.copy()
    for number, (box, mask) in outlines.items():
        around = box.union(boxes[number])
        whole = np.zeros(around.shape, bool)
        whole[box.relative_to(around).slices] = mask
        part = after[around.slices]
        changed = outline(part, number, whole)
        if (changed == number).any():
            part[...] = changed
    return after


def _each(
    instances: Numbers,
    boxes: Mapping[int, Box],
    margin_px: int,
    change: Callable[[NDArray[np.bool_]], NDArray[np.bool_]],
) -> Numbers:
    """The numbers after changing the mask of each cell in turn; one that would vanish stays as it is."""
    after = instances.copy()
    for cell_id, box in boxes.items():
        part = after[box.pad(margin_px).clip(instances.shape).slices]
        cell = part == cell_id
        changed = change(cell) & (cell | (part == 0))
        if changed.any():
            part[cell] = 0
            part[changed] = cell_id
    return after


def _in_tiles(array: NDArray[T], margin_px: int, change: Callable[[NDArray[T]], NDArray[U]]) -> NDArray[U]:
    """``change`` of an array, tile by tile, where nothing further away than the margin matters; some times faster."""
    whole = Box.of_shape(array.shape)
    tiles = {}
    for tile in whole.tiles(_TILE_PX):
        window = tile.pad(margin_px).clip(array.shape)
        tiles[tile] = change(array[window.slices])[tile.relative_to(window).slices]
    changed = np.empty(array.shape, next(iter(tiles.values())).dtype)
    for tile, values in tiles.items():
        changed[tile.slices] = values
    return changed


def _chosen(ids: NDArray[np.int64], instances: Numbers) -> NDArray[np.bool_]:
    """By number: whether a cell is one of ``ids``."""
    is_chosen = np.zeros(max(int(ids.max(initial=0)), int(instances.max(initial=0))) + 1, bool)
    is_chosen[ids] = True
    return is_chosen


def _is_speck(instances: Numbers, is_chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels belong to a smaller piece of a chosen cell."""
    from skimage.measure import label

    pieces = label(np.where(is_chosen[instances], instances, 0).astype(np.int64), connectivity=1)
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), np.int64)
    owner[pieces] = instances
    order = np.lexsort((-sizes, owner))
    is_largest = np.append(True, owner[order][1:] != owner[order][:-1])
    is_small = np.zeros(len(sizes), bool)
    is_small[order[~is_largest]] = True
    is_small[0] = False
    return np.asarray(is_small[pieces])


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())
