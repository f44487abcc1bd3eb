"""What an image shows apart from any points: its stain and the outlines of its nuclei.

Everything is found in tiles that lie the same way whatever part is asked for, so that the same place always has the
same bits, and is remembered, so that a part that was looked at is there at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.inference.instances import InstanceRules, split
from napari_histoseg.inference.stain import haematoxylin
from napari_histoseg.jobs.job import Job, Progress

T = TypeVar("T")

REGION_UM = 20.0
"""No part of an outlined nucleus is farther from its middle."""

_STAIN_TILE_PX, _NUCLEI_TILE_PX = 1024, 512
_MOST_SAMPLED = 64
_MOST_KEPT_PX = 1 << 25
_SMOOTH_UM = 0.4
_NEIGHBOURHOOD_UM = 35.0
_LEAST_AMOUNT = 0.2
_NUCLEI_MARGIN_UM = 20.0
_OUTLINE_RULES = InstanceRules(min_area_um2=5.0)
_BIN = 1 / 256
_FIRST_BIN, _BINS = -1.0, 8 * 256


@dataclass(frozen=True, eq=False)
class Nuclei:
    """Nuclei of a part of an image, outlined without looking at points.

    Parameters
    ----------
    labels : ndarray of int32, shape (h, w)
        Number of the nucleus at each pixel of the part, 0 for none.
    middles : ndarray of int64, shape (n, 2)
        Pixel (y, x) of the image nearest to the middle of each; that of number ``k`` in row ``k - 1``.
    area_px : ndarray of int64, shape (n,)
        Pixels of each, also beyond the part.
    """

    labels: NDArray[np.int32]
    middles: NDArray[np.int64]
    area_px: NDArray[np.int64]


class Ground:
    """The stain and the nuclei of an image; both a window and a job may ask it.

    Parameters
    ----------
    read : callable
        Gives the pixels of a box, uint8 of shape (h, w, 3).
    shape : (int, int)
    mpp : float
        µm per pixel.
    threshold : float
        As `find_threshold` gives it for the whole image.
    """

    def __init__(
        self, read: Callable[[Box], NDArray[np.uint8]], shape: tuple[int, int], mpp: float, threshold: float
    ) -> None:
        self.shape, self.mpp, self.threshold = shape, mpp, threshold
        self._read = read
        self._stains = _Tiles(shape, _STAIN_TILE_PX, self._stain_tile)
        self._nuclei = _Tiles(shape, _NUCLEI_TILE_PX, self._nuclei_tile)

    def stain(self, box: Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Smoothed amount of haematoxylin, and the level above which a pixel is stained, each (h, w)."""
        amount, level = np.empty(box.shape, np.float32), np.empty(box.shape, np.float32)
        for part, (tile_amount, tile_level) in self._stains.within(box):
            inside = part.relative_to(box).slices
            cut = self._stains.in_tile(part)
            amount[inside], level[inside] = tile_amount[cut], tile_level[cut]
        return amount, level

    def nuclei(self, box: Box) -> Nuclei:
        """The outlined nuclei of a box."""
        labels = np.zeros(box.shape, np.int32)
        firsts, tables = [], []
        count = 0
        for part, (tile_labels, first, table) in self._nuclei.within(box):
            cut = tile_labels[self._nuclei.in_tile(part)]
            labels[part.relative_to(box).slices] = np.where(cut > 0, cut + count, 0)
            firsts.append(first)
            tables.append(table)
            count += len(first)
        _, place, number = np.unique(np.concatenate(firsts), return_index=True, return_inverse=True)
        table = np.concatenate(tables)[place]
        return Nuclei(np.append(0, number + 1).astype(np.int32)[labels], table[:, :2], table[:, 2])

    def outlining(self, box: Box) -> Iterator[None]:
        """Find the nuclei of a box in steps that are short enough for a job."""
        for tile in self._nuclei.missing(box):
            yield
            self.nuclei(tile)

    def _stain_tile(self, tile: Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        from scipy import ndimage

        size = round(_NEIGHBOURHOOD_UM / self.mpp) | 1
        window = tile.pad(size // 2 + _smoothing_px(self.mpp)).clip(self.shape)
        amount = _smooth(self._read(window), self.mpp)
        around = ndimage.uniform_filter(amount, size)
        level = np.maximum((np.float32(self.threshold) + around) / 2, np.float32(_LEAST_AMOUNT))
        cut = tile.relative_to(window).slices
        return amount[cut].copy(), level[cut].copy()

    def _nuclei_tile(self, tile: Box) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Numbers at the pixels of a tile; of each number the first pixel in the image, and (y, x, area)."""
        window = tile.pad(round(_NUCLEI_MARGIN_UM / self.mpp)).clip(self.shape)
        amount, level = self.stain(window)
        found = split(amount > level, self.mpp, rules=_OUTLINE_RULES)
        y, x = np.nonzero(found)
        which = found[y, x]
        area = np.bincount(which, minlength=1)
        sums = np.stack([np.bincount(which, places, len(area)) for places in (y, x)], axis=1)
        middles = np.rint(sums / np.maximum(area, 1)[:, None]).astype(np.int64)
        is_far = np.hypot(y - middles[which, 0], x - middles[which, 1]) * self.mpp > REGION_UM
        found[y[is_far], x[is_far]] = 0
        first = np.full(len(area), np.iinfo(np.int64).max)
        np.minimum.at(first, which[~is_far], ((y + window.y0) * self.shape[1] + x + window.x0)[~is_far])
        cut = found[tile.relative_to(window).slices]
        present = np.flatnonzero(np.bincount(cut.ravel(), minlength=len(area))[1:]) + 1
        numbers = np.zeros(len(area), np.int32)
        numbers[present] = np.arange(1, len(present) + 1)
        table = np.column_stack([middles[present] + (window.y0, window.x0), area[present]])
        return numbers[cut], first[present], table


def find_threshold(read: Callable[[Box], NDArray[np.uint8]], shape: tuple[int, int], mpp: float) -> Job[float]:
    """Amount of haematoxylin that parts nuclei from the rest of an image (Otsu 1979), as a job of tiles.

    Of a large image, 64 tiles that are spread evenly speak for all.
    """
    from skimage.filters import threshold_otsu

    counts = np.zeros(_BINS, np.int64)
    tiles = list(Box.of_shape(shape).tiles(_STAIN_TILE_PX))
    tiles = tiles[:: -(-len(tiles) // _MOST_SAMPLED)]
    for done, tile in enumerate(tiles):
        yield Progress(done, len(tiles), "Looking at the stain.")
        window = tile.pad(_smoothing_px(mpp)).clip(shape)
        amount = _smooth(read(window), mpp)[tile.relative_to(window).slices]
        bins = ((amount - _FIRST_BIN) / _BIN).astype(np.int64).clip(0, _BINS - 1)
        counts += np.bincount(bins.ravel(), minlength=_BINS)
    middles = _FIRST_BIN + (np.arange(_BINS) + 0.5) * _BIN
    if np.count_nonzero(counts) == 1:  # all of one colour
        return float(middles[counts.argmax()])
    return float(threshold_otsu(hist=(counts, middles)))


def _smoothing_px(mpp: float) -> int:
    return int(4 * _SMOOTH_UM / mpp + 0.5) + 1


def _smooth(pixels: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(haematoxylin(pixels), _SMOOTH_UM / mpp), np.float32)


class _Tiles(Generic[T]):
    """What was found in tiles of an image, the oldest forgotten when there are too many."""

    def __init__(self, shape: tuple[int, int], size_px: int, find: Callable[[Box], T]) -> None:
        self._shape = shape
        self._size_px = size_px
        self._find = find
        self._most = max(4, _MOST_KEPT_PX // size_px**2)
        self._found: dict[Box, T] = {}
        self._lock = threading.Lock()

    def within(self, box: Box) -> list[tuple[Box, T]]:
        """The parts of a box, each inside one tile, with what was found in that tile."""
        return [(tile.intersect(box), self._get(tile)) for tile in self._around(box)]

    def missing(self, box: Box) -> list[Box]:
        """The tiles around a box in which nobody has looked yet."""
        return [tile for tile in self._around(box) if tile not in self._found]

    def in_tile(self, part: Box) -> tuple[slice, slice]:
        """Where a part lies in the arrays of its tile."""
        y0, x0 = part.y0 % self._size_px, part.x0 % self._size_px
        return slice(y0, y0 + part.height), slice(x0, x0 + part.width)

    def _around(self, box: Box) -> Iterator[Box]:
        size = self._size_px
        for top in range(box.y0 // size * size, box.y1, size):
            for left in range(box.x0 // size * size, box.x1, size):
                yield Box(top, left, top + size, left + size).clip(self._shape)

    def _get(self, tile: Box) -> T:
        with self._lock:
            found = self._found.get(tile)
        if found is None:
            found = self._find(tile)
            with self._lock:
                while len(self._found) >= self._most:
                    del self._found[next(iter(self._found))]
                self._found[tile] = found
        return found
