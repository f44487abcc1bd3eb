"""Cells from points: each nucleus that a person marked grows to its outline.

The weak labels of Wang, Yu & Wang (segmentation-guided regression for cellularity). Everything is local: a cell depends
on what lies within `REACH_UM` of it, so `solve_box` gives for a part of an image what the whole would give there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.instances import InstanceRules, cell_table, split, without_small
from napari_histoseg.inference.stain import haematoxylin

Mode = Literal["marker", "contour"]
Unlabelled = Literal["background", "ignore"]

REACH_UM = 40.0
"""A changed point or pixel changes nothing farther away, as long as the threshold of the image is kept."""

_TILE_PX = 2048
_SMOOTH_UM = 0.4
_NEIGHBOURHOOD_UM = 35.0
_LEAST_AMOUNT = 0.2
_NUDGE_PX = 1e-3
_IRRATIONAL = (2**0.5, 3**0.5)


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
        What foreground without a point becomes; ``"ignore"`` when some nuclei may not have been marked.
    reach_um : float
        No pixel of a cell is farther from its point.
    core_um : float
        Around a point this radius is the cell's, whatever the stain.
    opening_um, max_hole_um2, min_area_um2 : float
        How the foreground is cleaned: radius of the opening, holes that close, specks that go.
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
    min_area_um2: float = 5.0
    lost_area_um2: float = 3.75
    lost_radius_um: float = 2.5
    same_um: float = 0.5
    contrast: float = 0.6


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

    def pixels(self, box: Box) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Index of each point in an array of ``box``, in which all points must lie."""
        return np.rint(self.y).astype(np.intp) - box.y0, np.rint(self.x).astype(np.intp) - box.x0


@dataclass(frozen=True, eq=False)
class PointCells:
    """Cells of an image and what became of the points.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W)
        Class ids; 0 background, 255 where the class is unknown or unlabelled foreground is left out.
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
    threshold = threshold_of(pixels, mpp)
    labels, instances = np.empty(whole.shape, np.uint8), np.empty(whole.shape, np.int32)
    stain = np.empty(whole.shape, np.float32)
    for box in whole.tiles(_TILE_PX):
        labels[box.slices], instances[box.slices] = solve_box(pixels, used, mpp, box, threshold=threshold, rules=rules)
        stain[box.slices] = haematoxylin(pixels[box.slices])
    classes = np.zeros(int(used.numbers.max(initial=0)), np.uint8)
    classes[used.numbers - 1] = used.class_ids
    table = cell_table(instances, mpp, class_ids=classes, haematoxylin=stain)
    return PointCells(labels, instances, table, len(points) - len(within), len(within) - len(used))


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


def threshold_of(pixels: NDArray[np.uint8], mpp: float) -> float:
    """Amount of haematoxylin that parts nuclei from the rest of the image (Otsu 1979)."""
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(_smooth_stain(pixels, mpp)))


def solve_box(
    pixels: NDArray[np.uint8], points: Points, mpp: float, box: Box, *, threshold: float, rules: PointRules
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class map and instance map of a part of an image.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        The whole image.
    points : Points
        Of the whole image, all inside it, as `single_points` gives them.
    mpp : float
        µm per pixel.
    box : Box
        The part, in pixels.
    threshold : float
        As `threshold_of` gives it for the whole image.
    rules : PointRules

    Returns
    -------
    labels : ndarray of uint8, shape ``box.shape``
    instances : ndarray of int32, shape ``box.shape``
    """
    window = box.pad(round(REACH_UM / mpp)).clip(pixels.shape)
    near = points.inside(window)
    stain = _smooth_stain(pixels[window.slices], mpp)
    field = _Field(near, window, mpp, rules.reach_um)
    level = _level(stain, threshold, mpp)
    if rules.mode == "marker":
        level = _own_levels(level, stain, field, rules)
    foreground = _cleaned(stain > level, mpp, rules)
    which = _grown(foreground, field, rules) if rules.mode == "marker" else _outlined(foreground, field, rules)
    which = _kept(which, field, rules)
    part = box.relative_to(window).slices
    cell, is_free = which[part], foreground[part] & (which[part] == 0)
    numbers, classes = np.append(0, near.numbers), np.append(0, near.class_ids)
    labels = classes[cell].astype(np.uint8)
    labels[is_free & (rules.unlabelled == "ignore")] = IGNORE
    return labels, numbers[cell].astype(np.int32)


class _Field:
    """For every pixel within reach of a point: which one is nearest (from 1; 0 beyond), and how far in µm.

    Points are moved by less than a thousandth of a pixel, each in its own way, so that no pixel is equally far from two
    and the outcome cannot depend on where the window lies.
    """

    def __init__(self, points: Points, window: Box, mpp: float, reach_um: float) -> None:
        from scipy import ndimage
        from scipy.spatial import cKDTree

        self.count = len(points)
        self.mpp = mpp
        self.rows, self.columns = points.pixels(window)
        nudge = np.modf(np.outer(points.numbers, _IRRATIONAL))[0] * _NUDGE_PX
        self.places = np.stack([self.rows, self.columns], axis=1) + nudge
        self.seeds = np.zeros(window.shape, np.int32)
        self.seeds[self.rows, self.columns] = np.arange(1, self.count + 1)
        self.nearest = np.zeros(window.shape, np.int32)
        self.distance = np.full(window.shape, np.inf)
        if self.count:
            y, x = np.nonzero(ndimage.distance_transform_edt(self.seeds == 0) * mpp <= reach_um)
            distance, nearest = cKDTree(self.places).query(np.stack([y, x], axis=1))
            self.distance[y, x] = distance * mpp
            self.nearest[y, x] = nearest + 1

    def within(self, radius_um: float) -> NDArray[np.int32]:
        """The nearest point where it is within that radius, else 0."""
        return np.where(self.distance <= radius_um, self.nearest, 0)

    def own_distance(self, which: NDArray[np.int32]) -> NDArray[np.float64]:
        """µm from each pixel to the point it is given to; 0 where it is given to none."""
        y, x = np.nonzero(which)
        point = which[y, x] - 1
        result = np.zeros(which.shape)
        result[y, x] = np.hypot(y - self.rows[point], x - self.columns[point]) * self.mpp
        return result


def _smooth_stain(pixels: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(haematoxylin(pixels), _SMOOTH_UM / mpp), np.float32)


def _level(stain: NDArray[np.float32], threshold: float, mpp: float) -> NDArray[np.float32]:
    """What is darker is foreground: the mean of the image's threshold and of the average around, never very pale."""
    from scipy import ndimage

    around = ndimage.uniform_filter(stain, round(_NEIGHBOURHOOD_UM / mpp) | 1)
    return np.asarray(np.maximum((threshold + around) / 2, _LEAST_AMOUNT), np.float32)


def _own_levels(
    level: NDArray[np.float32], stain: NDArray[np.float32], field: _Field, rules: PointRules
) -> NDArray[np.float32]:
    """Within reach of a point, the mean of the level and of one between the point and the palest pixel around it."""
    from scipy import ndimage

    if not field.count:
        return level
    index = np.arange(1, field.count + 1)
    zone = field.within(rules.reach_um)
    dark = ndimage.mean(stain, field.within(rules.core_um), index)
    pale = ndimage.minimum(stain, zone, index)
    own = np.append(0, pale + rules.contrast * (dark - pale))
    return np.asarray(np.where(zone > 0, (level + own[zone]) / 2, level), np.float32)


def _cleaned(foreground: NDArray[np.bool_], mpp: float, rules: PointRules) -> NDArray[np.bool_]:
    from scipy import ndimage
    from skimage.morphology import disk

    mask = ndimage.binary_opening(foreground, disk(max(1, round(rules.opening_um / mpp))))
    mask = ~without_small(~mask, rules.max_hole_um2 / mpp**2)
    return without_small(mask, rules.min_area_um2 / mpp**2)


def _grown(foreground: NDArray[np.bool_], field: _Field, rules: PointRules) -> NDArray[np.int32]:
    """Point of each pixel, by a watershed that rises with the distance to the nearest point."""
    from skimage.segmentation import watershed

    mask = (foreground & (field.distance <= rules.reach_um)) | (field.distance <= rules.core_um)
    return np.asarray(watershed(field.distance, field.seeds, mask=mask), np.int32)


def _outlined(foreground: NDArray[np.bool_], field: _Field, rules: PointRules) -> NDArray[np.int32]:
    """Point of each pixel, by nuclei that are outlined first and then given to points."""
    from scipy import ndimage
    from scipy.spatial import cKDTree

    shape_rules = InstanceRules(
        min_area_um2=rules.min_area_um2, max_hole_um2=rules.max_hole_um2, opening_um=rules.opening_um
    )
    regions = split(foreground, field.mpp, rules=shape_rules)
    count = int(regions.max(initial=0))
    owner = np.zeros(count + 1, np.int32)
    if not count or not field.count:
        return owner[regions]
    boxes = ndimage.find_objects(regions)
    present = np.array([k for k, found in enumerate(boxes, start=1) if found is not None])
    middles = np.array(ndimage.center_of_mass(regions > 0, regions, present))
    distance, nearest = cKDTree(field.places).query(middles)
    owner[present] = np.where(distance * field.mpp <= rules.reach_um, nearest + 1, 0)
    region_of = regions[field.rows, field.columns]
    owner[region_of] = np.arange(1, field.count + 1)
    owner[0] = 0
    which = owner[regions]
    for region in np.flatnonzero(np.bincount(region_of, minlength=count + 1)[1:] > 1) + 1:
        cut = boxes[region - 1]
        y, x = np.nonzero(regions[cut] == region)
        y, x = y + cut[0].start, x + cut[1].start
        inside = np.flatnonzero(region_of == region)
        which[y, x] = inside[cKDTree(field.places[inside]).query(np.stack([y, x], axis=1))[1]] + 1
    return which


def _kept(which: NDArray[np.int32], field: _Field, rules: PointRules) -> NDArray[np.int32]:
    """The cells without what is out of their reach, and a disk for each point that would be left without a cell."""
    which = np.where(field.own_distance(which) <= rules.reach_um, which, 0)
    is_lost = np.bincount(which.ravel(), minlength=field.count + 1) < rules.lost_area_um2 / field.mpp**2
    has_own_pixel = which[field.rows, field.columns] == np.arange(1, field.count + 1)
    is_lost[1:] |= ~has_own_pixel
    is_lost[0] = False
    disk = field.within(rules.lost_radius_um)
    return np.where(is_lost[disk], disk, which)
