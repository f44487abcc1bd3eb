"""Cells from points: each nucleus that a person marked grows to its outline.

The weak labels of Wang, Yu & Wang (segmentation-guided regression for cellularity). Everything is local: `solve_box`
gives for a part of an image, bit for bit, what the whole would give there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.basins import Mode, PointRules, Unlabelled, Zones, contour_basins, marker_basins
from napari_histoseg.inference.ground import Ground, find_threshold
from napari_histoseg.inference.instances import cell_table
from napari_histoseg.inference.stain import haematoxylin
from napari_histoseg.jobs.job import Job, Progress, run_job

__all__ = ["Mode", "PointCells", "PointRules", "Points", "Unlabelled", "cells_from_points", "grow", "solve_box"]

Taken = Callable[[Box], NDArray[np.bool_]]
"""Which pixels of a box belong to cells that stay."""

_TILE_PX = 512


@dataclass(frozen=True, eq=False)
class Points:
    """Marked nuclei.

    Parameters
    ----------
    y, x : ndarray of float64, shape (n,)
        Pixels of the image, the middle of the first being 0.
    class_ids : ndarray of uint8, shape (n,)
    numbers : ndarray of int32, shape (n,)
        Number of each point's cell in the instance map; 1 and more, each once.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    class_ids: NDArray[np.uint8]
    numbers: NDArray[np.int32]

    @classmethod
    def of(cls, y: NDArray[np.float64], x: NDArray[np.float64], class_ids: NDArray[np.uint8]) -> Points:
        """Points numbered from 1 in their order."""
        return cls(y, x, class_ids, np.arange(1, len(y) + 1, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.y)

    def only(self, chosen: NDArray[np.bool_]) -> Points:
        return Points(self.y[chosen], self.x[chosen], self.class_ids[chosen], self.numbers[chosen])

    def inside(self, box: Box) -> Points:
        """The points on pixels of ``box``."""
        y, x = np.rint(self.y), np.rint(self.x)
        return self.only((y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1))

    def in_order(self) -> Points:
        """The points by number, ascending."""
        order = np.argsort(self.numbers, kind="stable")
        return Points(self.y[order], self.x[order], self.class_ids[order], self.numbers[order])

    def pixels(self, box: Box) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Index of each point in an array of ``box``, in which all points must lie."""
        return np.rint(self.y).astype(np.intp) - box.y0, np.rint(self.x).astype(np.intp) - box.x0


@dataclass(frozen=True, eq=False)
class PointCells:
    """Cells of an image and what became of the points.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W)
        Class ids; 0 background, 255 where the class is unknown or an unlabelled nucleus is left out.
    instances : ndarray of int32, shape (H, W)
        Number of each cell, which is that of its point; 0 outside.
    table : CellTable
    outside, doubled : int
        Points that were left out, since they lie outside the image, or on another point.
    """

    labels: NDArray[np.uint8]
    instances: NDArray[np.int32]
    table: CellTable
    outside: int
    doubled: int


def cells_from_points(
    pixels: NDArray[np.uint8], points: Points, mpp: float, *, rules: PointRules | None = None
) -> PointCells:
    """The cells of an image in which nuclei are marked by points.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        H&E.
    points : Points
        Any number, also none. Class id 255 is a nucleus of unknown class; 0 is background and no cell.
    mpp : float
        µm per pixel.
    rules : PointRules, optional

    Raises
    ------
    InputError
        When a point has the class 0.
    """
    rules = rules or PointRules()
    if (points.class_ids == 0).any():
        raise InputError("A point has the class 0, which means background; give cells the numbers 1 to 254.")
    whole = Box.of_shape(pixels.shape)
    within = points.inside(whole)
    used = single_points(within, rules.same_um / mpp)

    def read(box: Box) -> NDArray[np.uint8]:
        return pixels[box.slices]

    ground = Ground(read, whole.shape, mpp, run_job(find_threshold(read, whole.shape, mpp)))
    instances = run_job(grow(ground, used, rules=rules))
    classes = np.zeros(int(used.numbers.max(initial=0)) + 1, np.uint8)
    classes[used.numbers] = used.class_ids
    labels = classes[instances]
    if rules.unlabelled == "ignore":
        run_job(ignore_unmarked(labels, instances, ground=ground))
    stain = np.empty(whole.shape, np.float32)
    for box in whole.tiles(_TILE_PX):
        stain[box.slices] = haematoxylin(pixels[box.slices])
    table = cell_table(instances, mpp, class_ids=classes[1:], haematoxylin=stain)
    return PointCells(labels, instances, table, len(points) - len(within), len(within) - len(used))


def ignore_unmarked(labels: NDArray[np.uint8], instances: NDArray[np.integer], *, ground: Ground) -> Job[None]:
    """Set labels (H, W), in place, to ``IGNORE`` where a nucleus is stained but no cell is, as a job of tiles."""
    tiles = list(Box.of_shape(labels.shape).tiles(_TILE_PX))
    for done, box in enumerate(tiles):
        yield Progress(done, len(tiles), "Outlining nuclei.")
        for _ in ground.outlining(box):
            yield Progress(done, len(tiles), "Outlining nuclei.")
        labels[box.slices][(instances[box.slices] == 0) & (ground.nuclei(box).labels > 0)] = IGNORE


def grow(ground: Ground, points: Points, *, rules: PointRules, is_taken: Taken | None = None) -> Job[NDArray[np.int32]]:
    """The cells of all points of an image, as a job of tiles.

    Parameters
    ----------
    ground : Ground
    points : Points
        As for `solve_box`.
    rules : PointRules
    is_taken : callable, optional

    Returns
    -------
    ndarray of int32, shape (H, W)
        Number of the cell at each pixel.
    """
    instances = np.zeros(ground.shape, np.int32)
    tiles = list(Box.of_shape(ground.shape).tiles(_TILE_PX))
    for done, tile in enumerate(tiles):
        yield Progress(done, len(tiles), "Growing cells.")
        if rules.mode == "contour":
            for _ in ground.outlining(tile.pad(rules.margin_px(ground.mpp)).clip(ground.shape)):
                yield Progress(done, len(tiles), "Outlining nuclei.")
        instances[tile.slices] = solve_box(ground, points, tile, rules=rules, is_taken=is_taken)
    return instances


def solve_box(
    ground: Ground, points: Points, box: Box, *, rules: PointRules, is_taken: Taken | None = None
) -> NDArray[np.int32]:
    """The cells of the points in a part of an image.

    Parameters
    ----------
    ground : Ground
        Of the image.
    points : Points
        Of the whole image, all inside it, no two on one pixel, none on a pixel that is taken.
    box : Box
        The part, in pixels of the image.
    rules : PointRules
    is_taken : callable, optional
        Says which pixels of a box belong to cells that stay; none by default.

    Returns
    -------
    ndarray of int32, shape ``box.shape``
        Number of the cell at each pixel, 0 for none.
    """
    window = box.pad(rules.margin_px(ground.mpp)).clip(ground.shape)
    near = points.inside(window).in_order()
    if not len(near):
        return np.zeros(box.shape, np.int32)
    taken = np.zeros(window.shape, bool) if is_taken is None else is_taken(window)
    zones = Zones.of(*near.pixels(window), window.shape, rules.reach_um / ground.mpp)
    if rules.mode == "marker":
        which = marker_basins(*ground.stain(window), zones, taken, rules, ground.mpp)
    else:
        which = contour_basins(ground.nuclei(window), zones, (window.y0, window.x0), taken, rules, ground.mpp)
    return np.append(0, near.numbers)[which[box.relative_to(window).slices]].astype(np.int32)


def single_points(points: Points, same_px: float) -> Points:
    """The points without those that lie closer than ``same_px`` to an earlier one, or on its pixel."""
    from scipy.spatial import cKDTree

    is_kept = np.ones(len(points), bool)
    if len(points):
        pairs = cKDTree(np.stack([points.y, points.x], axis=1)).query_pairs(same_px, output_type="ndarray")
        is_kept[pairs.max(axis=1)] = False
        places = np.stack([np.rint(points.y), np.rint(points.x)], axis=1)
        _, first = np.unique(places, axis=0, return_index=True)
        is_first = np.zeros(len(points), bool)
        is_first[first] = True
        is_kept &= is_first
    return points.only(is_kept)
