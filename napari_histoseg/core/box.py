"""Half-open pixel rectangles, always in (y, x) order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=True)
class Box:
    """A half-open rectangle ``[y0, y1) x [x0, x1)`` in pixels of one level of an image."""

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def of_shape(cls, shape: tuple[int, ...]) -> Box:
        """The whole of an array whose first two axes are (y, x)."""
        return cls(0, 0, int(shape[0]), int(shape[1]))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Box:
        """The smallest box around the true pixels; empty when there are none."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return cls(0, 0, 0, 0)
        columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
        return cls(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @property
    def height(self) -> int:
        return max(0, self.y1 - self.y0)

    @property
    def width(self) -> int:
        return max(0, self.x1 - self.x0)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def is_empty(self) -> bool:
        return self.area == 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index for an array whose first two axes are (y, x)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def center(self) -> tuple[float, float]:
        return (self.y0 + self.y1) / 2, (self.x0 + self.x1) / 2

    def intersect(self, other: Box) -> Box:
        """The overlap of two boxes; an empty box when there is none."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        return Box(y0, x0, max(y0, min(self.y1, other.y1)), max(x0, min(self.x1, other.x1)))

    def union(self, other: Box) -> Box:
        """The smallest box around both; an empty box adds nothing."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        return Box(min(self.y0, other.y0), min(self.x0, other.x0), max(self.y1, other.y1), max(self.x1, other.x1))

    def contains(self, other: Box) -> bool:
        return self.intersect(other) == other

    def pad(self, margin_px: int) -> Box:
        return Box(self.y0 - margin_px, self.x0 - margin_px, self.y1 + margin_px, self.x1 + margin_px)

    def clip(self, shape: tuple[int, ...]) -> Box:
        return self.intersect(Box.of_shape(shape))

    def shift(self, dy: int, dx: int) -> Box:
        return Box(self.y0 + dy, self.x0 + dx, self.y1 + dy, self.x1 + dx)

    def relative_to(self, other: Box) -> Box:
        """The same rectangle in the coordinates of ``other``'s top left corner."""
        return self.shift(-other.y0, -other.x0)

    def scaled(self, factor: float) -> Box:
        """The smallest whole-pixel box that covers this one after multiplying coordinates by ``factor``."""
        return Box(
            math.floor(self.y0 * factor),
            math.floor(self.x0 * factor),
            math.ceil(self.y1 * factor),
            math.ceil(self.x1 * factor),
        )

    def tiles(self, size_px: int) -> Iterator[Box]:
        """Boxes of at most ``size_px`` that cover this one without overlap, row by row."""
        for y in range(self.y0, self.y1, size_px):
            for x in range(self.x0, self.x1, size_px):
                yield Box(y, x, min(y + size_px, self.y1), min(x + size_px, self.x1))
