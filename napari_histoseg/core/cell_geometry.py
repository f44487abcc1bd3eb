"""Area, middle and box of every cell, kept up to date while pixels change hands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_runs import CellRuns

_STRIP_PX = 256
_MANY = 5000  # boxes that take longer one by one than all in one pass over a map of 4096 x 4096 pixels
_FAR = np.iinfo(np.int64).max


class CellGeometry:
    """Sums over the pixels of each cell; an edit costs as much as it changes pixels.

    A box that may have become smaller is measured again when somebody asks for it.

    Parameters
    ----------
    instances : ndarray of uint32, shape (H, W)
        The live instance map.
    count : int
        Numbers from 0 to ``count`` - 1 may occur in it.
    """

    def __init__(self, instances: NDArray[np.uint32], count: int) -> None:
        self._instances = instances
        self.area = np.zeros(count, np.int64)
        self._sums = np.zeros((count, 2), np.int64)
        self._boxes = _no_boxes(count)
        self._is_stale = np.zeros(count, bool)
        if count > 1:
            for top, strip in _strips(instances):
                self._add(_runs_in(strip, top))

    def grow(self, count: int) -> None:
        """Make room for numbers up to ``count`` - 1."""
        more = count - len(self.area)
        self.area = np.append(self.area, np.zeros(more, np.int64))
        self._sums = np.concatenate([self._sums, np.zeros((more, 2), np.int64)])
        self._boxes = np.concatenate([self._boxes, _no_boxes(more)])
        self._is_stale = np.append(self._is_stale, np.zeros(more, bool))

    def copy(self) -> CellGeometry:
        """The same sums, which stay as they are while these go on."""
        twin = CellGeometry(self._instances, 0)
        twin.area, twin._sums, twin._boxes = self.area.copy(), self._sums.copy(), self._boxes.copy()
        twin._is_stale = self._is_stale.copy()
        return twin

    def move(self, box: Box, runs: CellRuns) -> None:
        """Pixels of a box went from one cell to another; the map has them already."""
        y, x = np.divmod(runs.starts, max(1, runs.shape[1]))
        y, x = y + box.y0, x + box.x0
        self._remove(_Runs(runs.before, y, x, runs.lengths).only(runs.before > 0))
        self._add(_Runs(runs.after, y, x, runs.lengths).only(runs.after > 0))

    def centroids(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(k, 2) as (y, x), the middle of the first pixel being 0."""
        return np.asarray(self._sums[ids] / np.maximum(self.area[ids], 1)[:, None], np.float64)

    def boxes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k, 4) as y0, x0, y1, x1."""
        stale = np.unique(ids[self._is_stale[ids]])
        if len(stale) > _MANY:
            self._measure_stale()
        else:
            for cell_id in stale.tolist():
                self._measure(cell_id)
        return self._boxes[ids]

    def box_around(self, ids: NDArray[np.int64]) -> Box:
        """The smallest box around all of those cells; empty when none of them has a pixel."""
        there = ids[self.area[ids] > 0]
        if not there.size:
            return Box(0, 0, 0, 0)
        boxes = self.boxes(there)
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))

    def _measure(self, cell_id: int) -> None:
        y0, x0, y1, x1 = self._boxes[cell_id]
        tight = Box.of_mask(self._instances[y0:y1, x0:x1] == cell_id).shift(y0, x0)
        self._boxes[cell_id] = tight.y0, tight.x0, tight.y1, tight.x1
        self._is_stale[cell_id] = False

    def _measure_stale(self) -> None:
        """All at once, in one pass over the map."""
        self._boxes[self._is_stale] = _no_boxes(int(self._is_stale.sum()))
        for top, strip in _strips(self._instances):
            runs = _runs_in(strip, top)
            self._enclose(runs.only(self._is_stale[runs.ids]))
        self._is_stale[:] = False

    def _add(self, runs: _Runs) -> None:
        self._count(runs, 1)
        self._enclose(runs)

    def _enclose(self, runs: _Runs) -> None:
        """Let the boxes of cells grow around their runs."""
        cells, which = self._grouped(runs.ids)
        low = _no_boxes(len(cells))
        np.minimum.at(low[:, 0], which, runs.y)
        np.minimum.at(low[:, 1], which, runs.x)
        np.maximum.at(low[:, 2], which, runs.y + 1)
        np.maximum.at(low[:, 3], which, runs.x + runs.lengths)
        self._boxes[cells, :2] = np.minimum(self._boxes[cells, :2], low[:, :2])
        self._boxes[cells, 2:] = np.maximum(self._boxes[cells, 2:], low[:, 2:])

    def _remove(self, runs: _Runs) -> None:
        cells = self._count(runs, -1)
        is_gone = self.area[cells] == 0
        self._boxes[cells[is_gone]] = _no_boxes(int(is_gone.sum()))
        self._is_stale[cells] = ~is_gone

    def _grouped(self, ids: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """The cells among ``ids``, ascending, and for each of ``ids`` its place among them."""
        if ids.size < len(self.area):
            cells, which = np.unique(ids, return_inverse=True)
            return cells.astype(np.int64), which
        is_there = np.zeros(len(self.area), bool)
        is_there[ids] = True
        return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[ids]

    def _count(self, runs: _Runs, sign: int) -> NDArray[np.int64]:
        """Sums of whole numbers below 2**53, which floating point adds exactly; returns the cells among the runs."""
        cells, which = self._grouped(runs.ids)
        length = runs.lengths
        sums = (length, runs.y * length, runs.x * length + length * (length - 1) // 2)
        area, sum_y, sum_x = (np.bincount(which, part, len(cells)).astype(np.int64) for part in sums)
        self.area[cells] += sign * area
        self._sums[cells] += sign * np.stack([sum_y, sum_x], axis=1)
        return cells


class Replaced:
    """What a large patch replaced, so that taking it back and doing it again are exchanges of memory.

    Undo and redo keep their order: when the patch is taken back, its pixels are as it left them.

    Parameters
    ----------
    runs : CellRuns
        Of the patch.
    part : ndarray of uint32, shape (h, w)
        What its box held before.
    geometry : CellGeometry
        Of all cells before.
    """

    def __init__(self, runs: CellRuns, part: NDArray[np.uint32], geometry: CellGeometry) -> None:
        self._runs = runs
        self._part = part
        self._geometry = geometry

    @property
    def size(self) -> int:
        """Number of pixels that are kept."""
        return int(self._part.size)

    def is_what_remains_of(self, runs: CellRuns) -> bool:
        """Whether those runs take the patch back."""
        own = self._runs
        return own.starts is runs.starts and own.before is runs.after and own.after is runs.before

    def exchange(self, runs: CellRuns, part: NDArray[np.uint32], geometry: CellGeometry) -> CellGeometry:
        """Put back what was there into ``part`` (h, w), and keep what is there instead; returns its geometry."""
        for (_, kept), (_, live) in zip(_strips(self._part), _strips(part), strict=True):
            held = live.copy()
            live[:], kept[:] = kept, held
        was = self._geometry
        was.grow(len(geometry.area))
        self._runs, self._geometry = runs, geometry
        return was


class _Runs(NamedTuple):
    """Pixels of one cell side by side in a row: number of the cell, first pixel and number of pixels of each, (k,)."""

    ids: NDArray[np.uint32]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> _Runs:
        """Those of the runs that are chosen, (k,)."""
        return _Runs(self.ids[chosen], self.y[chosen], self.x[chosen], self.lengths[chosen])


def _runs_in(strip: NDArray[np.uint32], top: int) -> _Runs:
    """The cells of some rows of an instance map, the first of which is row ``top``."""
    runs = CellRuns.between(np.zeros_like(strip), strip)
    y, x = np.divmod(runs.starts, max(1, strip.shape[1]))
    return _Runs(runs.after, y + top, x, runs.lengths)


def pixel_counts(instances: NDArray[np.uint32], count: int) -> NDArray[np.int64]:
    """Number of pixels of each number from 0 to ``count`` - 1, which none in ``instances`` (H, W) exceeds."""
    counts = np.zeros(count, np.int64)
    for _, strip in _strips(instances):
        counts += np.bincount(strip.ravel(), minlength=count)
    return counts


def _strips(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Rows of an array, a few at a time with the number of the first, so that intermediate results stay small."""
    for top in range(0, len(array), _STRIP_PX):
        yield top, array[top : top + _STRIP_PX]


def _no_boxes(count: int) -> NDArray[np.int64]:
    """Boxes around nothing, which grow around whatever is added."""
    return np.tile(np.array([_FAR, _FAR, 0, 0]), (count, 1))
