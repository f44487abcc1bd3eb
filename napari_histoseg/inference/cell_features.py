"""What cells look like in numbers: their size and shape, their stain, and its texture.

All cells of a tile are measured at once, by counting pixels per cell. Outlines are measured along lines in four
directions (Crofton's formula; Legland, Kiêu & Devaux 2007, "Computation of Minkowski measures on 2D and 3D binary
images", Image Anal Stereol 26:83), axes come from second moments, and convex hulls from their support in 64
directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference.stain import haematoxylin_and_eosin
from napari_histoseg.jobs.job import Job, Progress

FEATURES: Mapping[str, str] = {
    "area": "Area in µm²",
    "perimeter": "Length of the outline in µm",
    "major_axis": "Long axis in µm, of the ellipse with the same second moments",
    "minor_axis": "Short axis in µm, of the same ellipse",
    "eccentricity": "0 for a disk, towards 1 the longer the cell",
    "solidity": "Share of the convex hull that is cell",
    "roundness": "4 π area / perimeter²: about 1 for a disk, less the rougher or longer the outline",
    "haematoxylin": "Mean optical density of haematoxylin inside",
    "haematoxylin_sd": "Its standard deviation over the pixels of the cell",
    "eosin": "Mean optical density of eosin inside",
    "eosin_sd": "Its standard deviation over the pixels of the cell",
    "grain": "Mean distance of haematoxylin from its average over 0.75 µm: how coarse the chromatin is",
    "rim": "Correlation of haematoxylin with the squared distance from the middle: above 0 when the rim is darker",
    "ring_haematoxylin": "Mean haematoxylin of the 2 µm around the cell that are no cell's",
    "ring_eosin": "Mean eosin of the same ring",
    "contrast": "Haematoxylin inside minus that of the ring",
}
"""Names of the features, each with what it says, in the order of the columns."""

MARGIN_UM = 4.0
"""A cell's features depend on nothing farther away from it."""

_RING_UM = 2.0  # what is nearest to a cell is known only where cells as far again are known
_GRAIN_UM = 0.75
_TILE_PX = 512
_DIRECTIONS = 64  # of the support of a convex hull; a disk is found to 0.1 %
_STEPS = ((0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.5**0.5), (1, -1, 0.5**0.5))  # and the distance of such lines in pixels


@dataclass(frozen=True, eq=False)
class FeatureRequest:
    """Cells to measure.

    Parameters
    ----------
    image : ImageRef
        With known µm per pixel.
    instances : ndarray of uint32, shape (H, W)
        Number of the cell at each pixel, 0 where there is none; a copy that nobody changes.
    ids : ndarray of int64, shape (n,)
        Cells to measure; each has a pixel.
    boxes : ndarray of int64, shape (n, 4)
        The smallest box around each, as y0, x0, y1, x1.
    """

    image: ImageRef
    instances: NDArray[np.uint32]
    ids: NDArray[np.int64]
    boxes: NDArray[np.int64]


def measure_cells(request: FeatureRequest) -> Job[NDArray[np.float32]]:
    """Measure cells, as a job that steps from tile to tile; what it takes depends on the cells asked for.

    Parameters
    ----------
    request : FeatureRequest

    Returns
    -------
    ndarray of float32, shape (n, len(FEATURES))
        In the order of ``request.ids``. NaN for the ring of a cell that has none, since other cells surround it.
    """
    values = np.zeros((len(request.ids), len(FEATURES)), np.float32)
    groups = list(_groups(request.boxes))
    for done, group in enumerate(groups):
        yield Progress(done, len(groups), "Measuring cells.")
        values[group] = _measured(request, group)
    return values


def _groups(boxes: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Places of cells whose boxes begin in the same tile."""
    if not len(boxes):
        return
    tiles = boxes[:, :2] // _TILE_PX
    _, tile_of = np.unique(tiles, axis=0, return_inverse=True)
    order = np.argsort(tile_of, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(tile_of[order])) + 1)


def _measured(request: FeatureRequest, group: NDArray[np.intp]) -> NDArray[np.float32]:
    """The features of a few cells near to each other."""
    mpp = float(request.image.mpp or np.nan)
    boxes = request.boxes[group]
    around = Box(*(int(n) for n in (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))))
    window = around.pad(int(np.ceil(MARGIN_UM / mpp)) + 1).clip(request.image.shape)
    instances = request.instances[window.slices]
    lookup = np.zeros(int(max(instances.max(), request.ids[group].max())) + 1, np.int32)
    lookup[request.ids[group]] = np.arange(1, len(group) + 1)
    stain, eosin = haematoxylin_and_eosin(request.image.read(0, window))
    inside = _Pixels(lookup[instances], len(group))
    found = (
        _shape(inside, mpp) | _stains(inside, stain, eosin, mpp) | _ring(instances, lookup, inside, stain, eosin, mpp)
    )
    found["contrast"] = found["haematoxylin"] - found["ring_haematoxylin"]
    return np.stack([found[name] for name in FEATURES], axis=1).astype(np.float32)


class _Pixels:
    """The pixels of cells, ready to be summed by cell.

    Parameters
    ----------
    numbers : ndarray of int32, shape (h, w)
        1 to ``count``, 0 for what is not measured.
    """

    def __init__(self, numbers: NDArray[np.int32], count: int) -> None:
        self.numbers = numbers
        self.count = count
        self.place = np.nonzero(numbers)
        self.y, self.x = (axis.astype(np.float64) for axis in self.place)
        self.which = numbers[self.place] - 1
        self.area = np.bincount(self.which, minlength=count).astype(np.float64)

    def mean(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean by cell of one value for each pixel; NaN for one without pixels."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(self.which, values, self.count) / self.area)

    def centred(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The values less their mean in the cell, so that second moments lose no digits."""
        return np.asarray(values - self.mean(values)[self.which])


def _shape(pixels: _Pixels, mpp: float) -> dict[str, NDArray[np.float64]]:
    area = pixels.area * mpp**2
    perimeter = _perimeter_px(pixels) * mpp
    y, x = pixels.centred(pixels.y), pixels.centred(pixels.x)
    yy, xx, xy = pixels.mean(y * y) + 1 / 12, pixels.mean(x * x) + 1 / 12, pixels.mean(x * y)
    spread = np.hypot((yy - xx) / 2, xy)
    long, short = (yy + xx) / 2 + spread, np.maximum((yy + xx) / 2 - spread, 0)
    return {
        "area": area,
        "perimeter": perimeter,
        "major_axis": 4 * np.sqrt(long) * mpp,
        "minor_axis": 4 * np.sqrt(short) * mpp,
        "eccentricity": np.sqrt(1 - short / long),
        "solidity": pixels.area / _hull_area_px(pixels),
        "roundness": 4 * np.pi * area / perimeter**2,
    }


def _perimeter_px(pixels: _Pixels) -> NDArray[np.float64]:
    """π / 8 times how often lines in four directions cross the outline, times the distance of those lines."""
    padded = np.pad(pixels.numbers, 1)
    crossed = np.zeros(pixels.count + 1)
    for dy, dx, distance in _STEPS:
        first, second = padded[: len(padded) - dy, max(0, -dx) : padded.shape[1] - max(0, dx)], padded[dy:]
        second = second[:, max(0, dx) : second.shape[1] - max(0, -dx)]
        is_crossed = first != second
        for side in (first, second):
            crossed += distance * np.bincount(side[is_crossed], minlength=pixels.count + 1)
    return np.asarray(np.pi / 8 * crossed[1:])


def _hull_area_px(pixels: _Pixels) -> NDArray[np.float64]:
    """Area between lines that touch the pixels from 64 sides.

    With the distance h of such a line from the origin, a side is (h₊ + h₋ - 2 h cos δ) / sin δ long, for the lines
    before and after it at an angle of δ, and the area is half the sum of h times length.
    """
    is_end = np.ones((2, pixels.which.size), bool)
    is_end[0, 1:] = (np.diff(pixels.which) != 0) | (np.diff(pixels.x) != 1) | (np.diff(pixels.y) != 0)
    is_end[1, :-1] = is_end[0, 1:]
    ends = np.flatnonzero(is_end.any(axis=0))
    ends = ends[np.argsort(pixels.which[ends], kind="stable")]
    starts = np.searchsorted(pixels.which[ends], np.arange(pixels.count))
    middle_y, middle_x = pixels.mean(pixels.y), pixels.mean(pixels.x)
    y, x = pixels.y[ends] - middle_y[pixels.which[ends]], pixels.x[ends] - middle_x[pixels.which[ends]]
    support = np.empty((_DIRECTIONS, pixels.count))
    angles = 2 * np.pi / _DIRECTIONS * np.arange(_DIRECTIONS)
    for k, (sine, cosine) in enumerate(zip(np.sin(angles), np.cos(angles), strict=True)):
        half_pixel = (abs(sine) + abs(cosine)) / 2
        support[k] = np.maximum.reduceat(y * sine + x * cosine, starts) + half_pixel
    turn = 2 * np.pi / _DIRECTIONS
    sides = (np.roll(support, 1, axis=0) + np.roll(support, -1, axis=0) - 2 * support * np.cos(turn)) / np.sin(turn)
    return np.asarray((support * sides).sum(axis=0) / 2)


def _stains(
    pixels: _Pixels, stain: NDArray[np.float32], eosin: NDArray[np.float32], mpp: float
) -> dict[str, NDArray[np.float64]]:
    from scipy import ndimage

    dark, pink = stain[pixels.place], eosin[pixels.place]
    smooth = ndimage.gaussian_filter(stain, _GRAIN_UM / mpp, truncate=3)[pixels.place]
    differences = pixels.centred(dark)
    y, x = pixels.centred(pixels.y), pixels.centred(pixels.x)
    radius = pixels.centred(y * y + x * x)
    variance, radius_variance = pixels.mean(differences**2), pixels.mean(radius**2)
    scale = np.sqrt(variance * radius_variance)
    return {
        "haematoxylin": pixels.mean(dark),
        "haematoxylin_sd": np.sqrt(variance),
        "eosin": pixels.mean(pink),
        "eosin_sd": np.sqrt(pixels.mean(pixels.centred(pink) ** 2)),
        "grain": pixels.mean(np.abs(dark - smooth)),
        "rim": np.divide(pixels.mean(differences * radius), scale, out=np.zeros(pixels.count), where=scale > 1e-9),
    }


def _ring(
    instances: NDArray[np.uint32],
    lookup: NDArray[np.int32],
    inside: _Pixels,
    stain: NDArray[np.float32],
    eosin: NDArray[np.float32],
    mpp: float,
) -> dict[str, NDArray[np.float64]]:
    """Means over the pixels of no cell that are nearest to a cell and at most 2 µm away from it."""
    from scipy import ndimage

    free = instances == 0
    distance, nearest = ndimage.distance_transform_edt(free, return_indices=True)
    ring = free & (distance * mpp <= _RING_UM)
    numbers = np.zeros(instances.shape, np.int32)
    numbers[ring] = lookup[instances[nearest[0][ring], nearest[1][ring]]]
    pixels = _Pixels(numbers, inside.count)
    dark, pink = stain[pixels.place], eosin[pixels.place]
    return {"ring_haematoxylin": pixels.mean(dark), "ring_eosin": pixels.mean(pink)}
