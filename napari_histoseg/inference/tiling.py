"""How an image is cut for a model, and how the pieces become one map again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box

Probabilities = NDArray[np.float32]
Compute = Callable[[Box], Probabilities]
"""Probabilities (C, h, w) of one window of the model's grid."""

_EDGE_PX = 8
"""Outermost pixels of a blended window, which see padding instead of tissue and are not used."""

KEPT_BYTES = 512 << 20
"""Most that finished windows may take in memory while they wait for their neighbours."""


def cut(boxes: Iterable[Box], side_px: tuple[int, int]) -> list[Box]:
    """Tiles of at most ``side_px`` (height, width) that cover each box without overlap, row by row."""
    tiles: list[Box] = []
    for box in boxes:
        for y in range(box.y0, box.y1, side_px[0]):
            for x in range(box.x0, box.x1, side_px[1]):
                tiles.append(Box(y, x, y + side_px[0], x + side_px[1]).intersect(box))
    return tiles


def nearest_first(tiles: Iterable[Box], visible: Box) -> list[Box]:
    """Tiles in view first, and of these and of the others those near the middle of the view."""
    cy, cx = visible.center

    def distance(tile: Box) -> tuple[bool, float]:
        y, x = tile.center
        return tile.intersect(visible).is_empty, (y - cy) ** 2 + (x - cx) ** 2

    return sorted(tiles, key=distance)


def in_strips(tiles: Iterable[Box], strip_px: int) -> list[Box]:
    """Tiles in strips of that width, each from top to bottom, so that neighbours follow soon."""
    return sorted(tiles, key=lambda tile: (tile.x0 // strip_px, tile.y0, tile.x0))


def align(box: Box, multiple: int, shape: tuple[int, int]) -> Box:
    """``box`` grown to the multiples of ``multiple`` around it, cut to ``shape``."""
    return Box(
        box.y0 // multiple * multiple,
        box.x0 // multiple * multiple,
        -(-box.y1 // multiple) * multiple,
        -(-box.x1 // multiple) * multiple,
    ).clip(shape)


class HaloTiles:
    """For models that look at a bounded neighbourhood: each piece is computed with a halo, which is cut off.

    The result is that of the whole image in one pass. Windows lie on the model's stride, since pooling does.
    ``context_px`` are fed around each window besides.
    """

    def __init__(self, shape: tuple[int, int], halo_px: int, multiple: int, *, context_px: int = 0) -> None:
        self._shape = shape
        self._halo_px = halo_px
        self._multiple = multiple
        self._context_px = context_px

    def window(self, box: Box) -> Box:
        """What must be fed for ``box`` of the grid to be right."""
        core = align(box, self._multiple, self._shape)
        return align(core.pad(self._halo_px).clip(self._shape), self._multiple, self._shape)

    def fed_px(self, box: Box) -> int:
        """How many pixels ``box`` costs."""
        return self.window(box).pad(self._context_px).area

    def probabilities(self, box: Box, compute: Compute) -> Probabilities:
        """Probabilities (C, h, w) of ``box`` of the grid."""
        window = self.window(box)
        return compute(window)[:, *box.relative_to(window).slices]


class BlendedTiles:
    """For models whose normalisation sees the whole window: fixed overlapping windows, averaged.

    The windows lie on a grid of their own, so a pixel's probability does not depend on which boxes were asked for,
    or in which order: it is the weighted mean over all windows that hold it, summed in a fixed order. Windows are
    kept up to a bound of memory and computed anew beyond it. ``context_px`` are fed around each window besides.
    """

    def __init__(self, shape: tuple[int, int], side_px: int, overlap_px: int, *, context_px: int = 0) -> None:
        self._shape = shape
        self._side_px = side_px
        self._overlap_px = overlap_px
        self._context_px = context_px
        self._starts = [_starts(n, side_px, side_px - overlap_px) for n in shape]
        self._kept: OrderedDict[Box, Probabilities] = OrderedDict()

    @property
    def stride_px(self) -> int:
        return self._side_px - self._overlap_px

    def fed_px(self, box: Box) -> int:
        """How many pixels ``box`` costs: of each window the share that lies in it, its neighbours pay for the rest."""
        windows = self.windows(box)
        shares = sum(window.intersect(box).area / window.area for window in windows)
        return int(shares * windows[0].pad(self._context_px).area) if windows else 0

    def windows(self, box: Box) -> list[Box]:
        """The windows that count in ``box``, row by row."""
        height, width = (min(self._side_px, n) for n in self._shape)
        rows = [y for y in self._starts[0] if y < box.y1 and y + height > box.y0]
        columns = [x for x in self._starts[1] if x < box.x1 and x + width > box.x0]
        windows = (Box(y, x, y + height, x + width) for y in rows for x in columns)
        return [window for window in windows if not self._used(window).intersect(box).is_empty]

    def probabilities(self, box: Box, compute: Compute) -> Probabilities:
        """Probabilities (C, h, w) of ``box`` of the grid."""
        total: Probabilities | None = None
        weight = np.zeros(box.shape, np.float32)
        for window in self.windows(box):
            part = self._used(window).intersect(box)
            values = self._window(window, compute)
            share = self._weight(window)[part.relative_to(window).slices]
            if total is None:
                total = np.zeros((len(values), *box.shape), np.float32)
            inside = part.relative_to(box).slices
            total[:, *inside] += values[:, *part.relative_to(window).slices] * share
            weight[inside] += share
        if total is None:
            raise ValueError(f"{box} is outside of the grid {self._shape}.")
        return total / weight

    def _used(self, window: Box) -> Box:
        """The window without its outermost pixels, except where the image ends."""
        height, width = self._shape
        return Box(
            window.y0 + _EDGE_PX * (window.y0 > 0),
            window.x0 + _EDGE_PX * (window.x0 > 0),
            window.y1 - _EDGE_PX * (window.y1 < height),
            window.x1 - _EDGE_PX * (window.x1 < width),
        )

    def _weight(self, window: Box) -> NDArray[np.float32]:
        """Hann ramps over the overlap, 1 between them."""
        rows, columns = (_ramp(n, self._overlap_px) for n in window.shape)
        return rows[:, None] * columns

    def _window(self, window: Box, compute: Compute) -> Probabilities:
        if window in self._kept:
            self._kept.move_to_end(window)
        else:
            values = compute(window)
            self._kept[window] = values
            while len(self._kept) > max(1, KEPT_BYTES // values.nbytes):
                self._kept.popitem(last=False)
        return self._kept[window]


def _starts(size_px: int, side_px: int, stride_px: int) -> list[int]:
    """Where windows begin along one axis; the last one is shifted back to end at the border."""
    last = max(0, size_px - side_px)
    return [*range(0, last, stride_px), last]


def _ramp(size_px: int, overlap_px: int) -> NDArray[np.float32]:
    from_edge = np.minimum(np.arange(size_px), np.arange(size_px)[::-1]) + 0.5 - _EDGE_PX
    span = max(1, overlap_px - 2 * _EDGE_PX)
    ramp = np.sin(np.clip(from_edge / span, 0.5 / span, 1.0) * (np.pi / 2)) ** 2
    return np.asarray(ramp, np.float32)
