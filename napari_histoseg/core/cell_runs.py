"""Changed pixels of an instance map, as runs of pixels in a row that went from one cell to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPARSE = 8  # fewer changed pixels than one in so many are set one by one instead of painting the whole box


@dataclass(frozen=True, eq=False)
class CellRuns:
    """What became of the pixels of a box; there are far fewer runs than pixels.

    Parameters
    ----------
    shape : (int, int)
        (h, w) of the box in pixels.
    starts : ndarray of int64, shape (k,)
        First pixel of each run, counted row by row, ascending; a run ends with its row.
    lengths : ndarray of int64, shape (k,)
        Number of pixels of each run.
    before, after : ndarray of uint32, shape (k,)
        Numbers of the cells, which differ; 0 is background.
    """

    shape: tuple[int, int]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    before: NDArray[np.uint32]
    after: NDArray[np.uint32]

    @classmethod
    def none(cls) -> CellRuns:
        """Nothing changed."""
        nothing = np.zeros(0, np.int64)
        return cls((0, 0), nothing, nothing, nothing.astype(np.uint32), nothing.astype(np.uint32))

    @classmethod
    def between(cls, before: NDArray[np.uint32], after: NDArray[np.uint32]) -> CellRuns:
        """What leads from one instance map (h, w) to the other."""
        height, width = before.shape
        old, new = before.ravel(), after.ravel()
        is_start = np.ones(old.size, bool)
        np.not_equal(old[1:], old[:-1], out=is_start[1:])
        is_start[1:] |= new[1:] != new[:-1]
        is_start[:: max(1, width)] = True
        starts = np.flatnonzero(is_start)
        lengths = np.diff(np.append(starts, old.size))
        is_changed = old[starts] != new[starts]
        starts = starts[is_changed]
        return cls((height, width), starts, lengths[is_changed], old[starts], new[starts])

    @classmethod
    def of_mask(
        cls, mask: NDArray[np.bool_], lengths: NDArray[np.uint32], before: NDArray[np.uint32], after: NDArray[np.uint32]
    ) -> CellRuns:
        """The runs that `stretches` told, in the changed pixels of ``mask`` (h, w)."""
        if not mask.size:
            return cls.none()
        flat, width = mask.ravel(), mask.shape[1]
        is_head, is_tail = flat.copy(), flat.copy()
        is_head[1:] &= ~flat[:-1]
        is_head[::width] = flat[::width]
        is_tail[:-1] &= ~flat[1:]
        is_tail[width - 1 :: width] = flat[width - 1 :: width]
        heads = np.flatnonzero(is_head)
        sizes = np.flatnonzero(is_tail) + 1 - heads
        # Among the changed pixels only: where a piece of the mask begins, and where another pair of cells begins.
        count = int(sizes.sum())
        begins = np.zeros((2, count), bool)
        at_head, at_pair = (np.cumsum(part) - part for part in (sizes, lengths.astype(np.int64)))
        begins[0, at_head] = begins[1, at_pair] = True
        cuts = np.flatnonzero(begins.any(axis=0))
        head, pair = (np.cumsum(begins[side, cuts]) - 1 for side in range(2))
        starts = heads[head] + cuts - at_head[head]
        return cls(mask.shape, starts, np.diff(np.append(cuts, count)), before[pair], after[pair])

    @property
    def changed(self) -> int:
        """Number of changed pixels."""
        return int(self.lengths.sum())

    def reversed(self) -> CellRuns:
        """The runs that take these back."""
        return CellRuns(self.shape, self.starts, self.lengths, self.after, self.before)

    def stretches(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
        """Number of changed pixels, cell before and cell after of each stretch without a change of these cells.

        Other than runs they go on over unchanged pixels and row ends: together with `mask` they say the same.
        """
        is_start = np.ones(len(self.starts), bool)
        is_start[1:] = (self.before[1:] != self.before[:-1]) | (self.after[1:] != self.after[:-1])
        first = np.flatnonzero(is_start)
        lengths = np.add.reduceat(self.lengths, first) if first.size else self.lengths
        return lengths.astype(np.uint32), self.before[first], self.after[first]

    def mask(self) -> NDArray[np.bool_]:
        """Which pixels (h, w) changed."""
        return self._spread(np.ones(len(self.starts), bool))

    def put(self, part: NDArray[np.uint32]) -> CellRuns:
        """Set the changed pixels of ``part`` (h, w) to the cells after.

        Returns
        -------
        CellRuns
            What that changed: these runs, or others when ``part`` did not hold the cells before.
        """
        if _SPARSE * self.changed < part.size:
            place = self._places()
            was = None if (part[place] == np.repeat(self.before, self.lengths)).all() else part.copy()
            part[place] = np.repeat(self.after, self.lengths)
        else:
            old, new = self._spread(self.before), self._spread(self.after)
            is_changed = old != new
            was = part.copy() if ((part != old) & is_changed).any() else None
            np.copyto(part, new, where=is_changed)
        return self if was is None else CellRuns.between(was, part)

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of each changed pixel."""
        ends = np.cumsum(self.lengths)
        first = np.repeat(self.starts - (ends - self.lengths), self.lengths)
        rows, columns = np.divmod(first + np.arange(first.size), self.shape[1])
        return rows, columns

    def _spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value for each run at its pixels (h, w), 0 elsewhere."""
        ends = self.starts + self.lengths
        lengths = np.empty(2 * len(values) + 1, np.int64)
        lengths[1::2] = self.lengths
        lengths[::2] = np.append(self.starts, self.shape[0] * self.shape[1]) - np.append(0, ends)
        between = np.zeros(lengths.size, values.dtype)
        between[1::2] = values
        return np.repeat(between, lengths).reshape(self.shape)


def occurring(*numbers: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """The numbers that occur in any of the arrays, ascending."""
    largest = max(int(part.max(initial=0)) for part in numbers)
    if largest > 16 * sum(part.size for part in numbers):
        return np.unique(np.concatenate([part.ravel() for part in numbers])).astype(np.int64)
    is_there = np.zeros(largest + 1, bool)
    for part in numbers:
        is_there[part] = True
    return np.flatnonzero(is_there)
