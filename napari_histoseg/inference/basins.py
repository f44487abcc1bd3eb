"""The pixels that belong to each of some points, in one window of an image.

A point has the pixels that are nearer to it than to any other, within reach: its basin in a watershed that rises with
the distance to the nearest point. What a cell is depends on what lies within `PointRules.margin_px` of its pixels and
on nothing else, so that any window gives, apart from its margin, the same as the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.inference.ground import REGION_UM, Nuclei

Mode = Literal["marker", "contour"]
Unlabelled = Literal["background", "ignore"]

_FAR = np.iinfo(np.int32).max


@dataclass(frozen=True)
class PointRules:
    """How points become cells.

    Parameters
    ----------
    mode : {"marker", "contour"}
        ``"marker"`` lets every point grow within the stained foreground, each pixel going to the point that reaches
        it first; ``"contour"`` outlines nuclei without looking at the points and then gives each outline to the point
        nearest to its middle, cutting it where it holds several.
    unlabelled : {"background", "ignore"}
        What nuclei without a point become; ``"ignore"`` when some may not have been marked.
    reach_um : float
        No pixel of a cell is farther from its point.
    core_um : float
        Around a point this radius is the cell's, whatever the stain.
    opening_um, max_hole_um2 : float
        How a cell is cleaned: radius of the opening, holes that close.
    lost_area_um2, lost_radius_um : float
        A point whose cell is smaller than the area gets a disk of the radius.
    same_um : float
        Points closer together than this mark one nucleus; the first counts.
    contrast : float
        In marker mode: where, between the palest pixel around a point (0) and the point (1), its own threshold lies.
    """

    mode: Mode = "marker"
    unlabelled: Unlabelled = "background"
    reach_um: float = 6.0
    core_um: float = 1.5
    opening_um: float = 0.5
    max_hole_um2: float = 40.0
    lost_area_um2: float = 3.75
    lost_radius_um: float = 2.5
    same_um: float = 0.5
    contrast: float = 0.6

    def margin_px(self, mpp: float) -> int:
        """How far around a pixel its cell may depend on, and as far a point that comes or goes may change cells.

        Grown from points, a basin is two reaches wide, and so is that of a neighbour that takes part in what is
        stained, whose shape depends on points one reach farther. Outlined first, a cell that may be lost has parts of
        nuclei within two reaches, each of which goes to a point within reach of it or of its middle.
        """
        reach, region = int(self.reach_um / mpp) + 1, int(REGION_UM / mpp) + 1
        return 5 * reach + 2 * self.opening_px(mpp) if self.mode == "marker" else 3 * reach + region

    def opening_px(self, mpp: float) -> int:
        """Radius of the opening."""
        return max(1, round(self.opening_um / mpp))


@dataclass(frozen=True, eq=False)
class Zones:
    """For every pixel of a window within reach of a point: which one is nearest, the first of equally near ones.

    Parameters
    ----------
    rows, columns : ndarray of intp, shape (n,)
        Pixels of the points.
    nearest : ndarray of int32, shape (h, w)
        Place of the point among them, from 1; 0 beyond reach of any.
    squared : ndarray of int32, shape (h, w)
        Square of the distance to it in pixels; very large beyond.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    nearest: NDArray[np.int32]
    squared: NDArray[np.int32]

    @classmethod
    def of(cls, rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int], reach_px: float) -> Zones:
        """Stamp a disk around every point."""
        radius = int(reach_px)
        span = np.arange(-radius, radius + 1, dtype=np.int32) ** 2
        disk = span[:, None] + span
        disk[disk > reach_px**2] = _FAR
        padded = (shape[0] + 2 * radius, shape[1] + 2 * radius)
        squared, nearest = np.full(padded, _FAR, np.int32), np.zeros(padded, np.int32)
        size = 2 * radius + 1
        for number, (y, x) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True), start=1):
            known = squared[y : y + size, x : x + size]
            np.copyto(nearest[y : y + size, x : x + size], number, where=disk < known)
            np.minimum(known, disk, out=known)
        inner = slice(radius, radius + shape[0]), slice(radius, radius + shape[1])
        return cls(rows, columns, nearest[inner], squared[inner])

    def __len__(self) -> int:
        return len(self.rows)

    def within(self, radius_px: float) -> NDArray[np.bool_]:
        """Pixels at most that far from a point."""
        return self.squared <= radius_px**2


def marker_basins(
    stain: NDArray[np.float32],
    level: NDArray[np.float32],
    zones: Zones,
    is_taken: NDArray[np.bool_],
    rules: PointRules,
    mpp: float,
) -> NDArray[np.int32]:
    """Place (from 1) of the point that each pixel belongs to, when points grow within what is stained.

    Parameters
    ----------
    stain, level : ndarray of float32, shape (h, w)
        See `Ground.stain`.
    zones : Zones
    is_taken : ndarray of bool, shape (h, w)
        Pixels of cells that stay; no point lies on one.
    rules : PointRules
    mpp : float
        µm per pixel.
    """
    from skimage.measure import label

    is_core = zones.within(rules.core_um / mpp)
    is_stained = _opened(stain > _own_levels(stain, level, zones, is_core, rules), rules.opening_px(mpp))
    is_cell = ((is_stained & (zones.nearest > 0)) | is_core) & ~is_taken
    pieces = label(np.where(is_cell, zones.nearest, 0), connectivity=1)
    owner = np.zeros(int(pieces.max(initial=0)) + 1, np.int32)
    owner[pieces[zones.rows, zones.columns]] = np.arange(1, len(zones) + 1)
    which = _without_holes(owner[pieces], zones, is_taken, rules.max_hole_um2 / mpp**2)
    return _with_lost(which, zones, is_taken, rules, mpp)


def contour_basins(
    nuclei: Nuclei, zones: Zones, origin: tuple[int, int], is_taken: NDArray[np.bool_], rules: PointRules, mpp: float
) -> NDArray[np.int32]:
    """Place (from 1) of the point that each pixel belongs to, when nuclei are outlined and then given to points.

    Parameters
    ----------
    nuclei : Nuclei
        Of the window.
    zones : Zones
    origin : (int, int)
        Pixel of the image at which the window begins.
    is_taken : ndarray of bool, shape (h, w)
    rules : PointRules
    mpp : float
    """
    labels, reach_px = nuclei.labels, rules.reach_um / mpp
    middles = nuclei.middles - origin
    is_inside = ((middles >= 0) & (middles < labels.shape)).all(axis=1)
    y, x = middles[is_inside].T
    by_middle = np.zeros(len(middles) + 1, np.int32)
    by_middle[1:][is_inside] = np.where(is_taken[y, x], 0, zones.nearest[y, x])
    which = _in_reach(_by_points_inside(labels, zones), zones, reach_px)
    which = np.where(which > 0, which, _in_reach(by_middle[labels], zones, reach_px))
    which[is_taken] = 0
    return _with_lost(which, zones, is_taken, rules, mpp)


def _by_points_inside(labels: NDArray[np.int32], zones: Zones) -> NDArray[np.int32]:
    """For each pixel of a nucleus, the nearest of the points that lie in it; 0 where none does."""
    from scipy import ndimage

    held = labels[zones.rows, zones.columns]
    places = np.flatnonzero(held)
    owner = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    owner[held[places]] = places + 1
    which = owner[labels]
    crowds = np.flatnonzero(np.bincount(held[places], minlength=len(owner)) > 1)
    boxes = ndimage.find_objects(labels) if crowds.size else []
    for nucleus in crowds:
        cut = boxes[nucleus - 1]
        y, x = np.nonzero(labels[cut] == nucleus)
        y, x = y + cut[0].start, x + cut[1].start
        inside = np.flatnonzero(held == nucleus)
        squared = (y[:, None] - zones.rows[inside]) ** 2 + (x[:, None] - zones.columns[inside]) ** 2
        which[y, x] = inside[squared.argmin(axis=1)] + 1
    return which


def _in_reach(which: NDArray[np.int32], zones: Zones, reach_px: float) -> NDArray[np.int32]:
    """The pixels that lie within reach of the point to which they are given."""
    y, x = np.nonzero(which)
    point = which[y, x] - 1
    is_far = (y - zones.rows[point]) ** 2 + (x - zones.columns[point]) ** 2 > reach_px**2
    which[y[is_far], x[is_far]] = 0
    return which


def _own_levels(
    stain: NDArray[np.float32],
    level: NDArray[np.float32],
    zones: Zones,
    is_core: NDArray[np.bool_],
    rules: PointRules,
) -> NDArray[np.float32]:
    """Within reach of a point, the mean of the level and of one between the point and the palest pixel around it."""
    pixels = np.flatnonzero(zones.nearest)
    point, amount = zones.nearest.ravel()[pixels], stain.ravel()[pixels]
    pale = np.full(len(zones) + 1, np.inf, np.float32)
    np.minimum.at(pale, point, amount)
    core = is_core.ravel()[pixels]
    size = np.bincount(point[core], minlength=len(zones) + 1)
    dark = np.bincount(point[core], amount[core], len(zones) + 1) / np.maximum(size, 1)
    pale[0] = 0
    own = (pale + rules.contrast * (dark - pale)).astype(np.float32)
    result = level.copy()
    result.ravel()[pixels] = (level.ravel()[pixels] + own[point]) / 2
    return result


def _opened(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """The mask without what is narrower than a disk; beyond the window nothing is set."""
    from skimage.morphology import disk

    steps = np.argwhere(disk(radius_px)) - radius_px
    return _shifted(_shifted(mask, steps, np.logical_and), steps, np.logical_or)


def _shifted(mask: NDArray[np.bool_], steps: NDArray[np.intp], combine: np.ufunc) -> NDArray[np.bool_]:
    """The mask combined with itself at each of those steps, which is quicker than `scipy.ndimage` for small disks."""
    radius = int(steps.max())
    padded = np.pad(mask, radius)
    result = mask.copy()
    for dy, dx in (steps + radius).tolist():
        combine(result, padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]], out=result)
    return result


def _without_holes(
    which: NDArray[np.int32], zones: Zones, is_taken: NDArray[np.bool_], most_px: float
) -> NDArray[np.int32]:
    """The cells with those gaps that the cell of one point surrounds, unless they are large or belong to a cell."""
    from skimage.measure import label

    is_gap = (which == 0) & (zones.nearest > 0) & ~is_taken
    gaps = label(np.where(is_gap, zones.nearest, 0), connectivity=1)
    is_hole = np.bincount(gaps.ravel()) < most_px
    is_hole[0] = False
    side = np.where(is_taken, 0, zones.nearest)
    for axis in (0, 1):
        gap, zone = np.swapaxes(gaps, 0, axis), np.swapaxes(side, 0, axis)
        is_border = zone[1:] != zone[:-1]
        is_hole[gap[1:][is_border]] = False
        is_hole[gap[:-1][is_border]] = False
        is_hole[gap[0]] = False
        is_hole[gap[-1]] = False
    return np.where(is_hole[gaps], zones.nearest, which)


def _with_lost(
    which: NDArray[np.int32], zones: Zones, is_taken: NDArray[np.bool_], rules: PointRules, mpp: float
) -> NDArray[np.int32]:
    """The cells, with a disk for each point that would be left without one."""
    is_lost = np.bincount(which.ravel(), minlength=len(zones) + 1) < rules.lost_area_um2 / mpp**2
    is_lost[1:] |= which[zones.rows, zones.columns] != np.arange(1, len(zones) + 1)
    is_lost[0] = False
    disk = np.where(zones.within(rules.lost_radius_um / mpp) & ~is_taken, zones.nearest, 0)
    return np.where(is_lost[disk], disk, which)
