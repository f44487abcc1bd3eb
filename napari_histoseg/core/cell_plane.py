"""The cells of an image in memory: an instance map and what is known about each cell."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_geometry import CellGeometry, Replaced, pixel_counts
from napari_histoseg.core.cell_patch import NO_CELL, NO_POINT, ROW, CellPatch, Origin
from napari_histoseg.core.cell_runs import CellRuns, occurring
from napari_histoseg.core.cells import CellPoints, CellTable
from napari_histoseg.core.checkpoint import CELLS, Stored, filled
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.planes import Chunked, read_only

MOST_AHEAD = 1_000_000
"""New cells may leave at most so many numbers unused."""

_LARGE_PX = 1 << 19  # from here on, taking a patch back is quicker from a copy of what it replaced
_MOST_KEPT_PX = 1 << 25  # of such copies, of four bytes each: two maps of 4096 x 4096

_ID = ("id", "<u4")
_COLUMNS = ("class_id", "origin", "verified", "score")
_NOTED = np.dtype([_ID, *((name, ROW[name]) for name in _COLUMNS)])
_POINT = ("point_y", "point_x")
_NOTED_POINT = np.dtype([_ID, *((name, ROW[name]) for name in _POINT)])
_COMPRESSION = 1


class Cells(Chunked):
    """Every cell of an image: its pixels, and as its attributes a class, an origin, a person's word, a score, a point.

    Cells have numbers from 1 on, and a number that a cell has had is never given to another one. Everything is kept
    up to date edit by edit. Looking up is by number, in arrays as long as the highest number ever used.

    Parameters
    ----------
    instances : ndarray of uint32, shape (H, W)
        Number of the cell at each pixel, 0 where there is none; taken over, not copied.
    rows : ndarray of `ROW`, shape (n,)
        By number, from 0 on; ``NO_CELL`` where there is no such cell.
    """

    def __init__(self, instances: NDArray[np.uint32], rows: NDArray[np.void]) -> None:
        super().__init__({"instances": instances})
        self._instances = instances
        self._rows = rows
        self._geometry = CellGeometry(instances, len(rows))
        self._is_noted = True
        self._replaced: list[Replaced] = []

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Cells:
        """No cells on an image of ``shape``."""
        return cls(filled(shape, CELLS, "instances"), np.full(1, NO_CELL))

    @classmethod
    def restored(cls, stored: Stored) -> Cells | None:
        """The cells of a checkpoint; None when it has none or is damaged."""
        if "instances" not in stored.arrays:
            return None
        try:
            noted = _unpacked(stored.note["table"], _NOTED)
            # The version before points did not write any.
            points = _unpacked(stored.note["points"], _NOTED_POINT) if "points" in stored.note else None
            count = int(stored.note["next_id"])
        except (KeyError, TypeError, ValueError, binascii.Error, zlib.error):
            return None
        instances = stored.arrays["instances"]
        largest = max(int(noted["id"].max(initial=0)), int(instances.max(initial=0)))
        rows = np.full(max(count, largest + 1), NO_CELL)
        for name in _COLUMNS:
            rows[name][noted["id"]] = noted[name]
        if points is not None:
            for name in _POINT:
                rows[name][points["id"]] = points[name]
        return cls(instances, rows)

    # looking -------------------------------------------------------------------------------------------------------

    @property
    def instances(self) -> NDArray[np.uint32]:
        """Number of the cell at each pixel (H, W), 0 where there is none; a read-only view that stays live."""
        return read_only(self._instances)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Numbers of all cells, ascending."""
        return np.flatnonzero(self._geometry.area)

    @property
    def next_id(self) -> int:
        """The first number that no cell has ever had."""
        return len(self._rows)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._geometry.area))

    def __contains__(self, cell_id: int) -> bool:
        return 0 < cell_id < self.next_id and bool(self._geometry.area[cell_id])

    @property
    def class_lookup(self) -> NDArray[np.uint8]:
        """Class id by number of the cell, ``IGNORE`` for an unknown class, no cell and background; a read-only view.

        ``cells.class_lookup[cells.instances[box.slices]]`` is the class of each pixel.
        """
        return read_only(self._rows["class_id"])

    def class_of(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Class id of each of those cells, ``IGNORE`` where it is unknown."""
        return np.asarray(self._rows["class_id"][self._known(ids)], np.uint8)

    def rows(self, ids: ArrayLike) -> NDArray[np.void]:
        """All attributes of each of those cells, as `ROW`; a copy."""
        return self._rows[self._known(ids)]

    def origin_of(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """`Origin` of each of those cells."""
        return np.asarray(self._rows["origin"][self._known(ids)], np.uint8)

    def is_verified(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Whether a person vouched for each of those cells: drew it, gave it its class or accepted it."""
        return np.asarray(self._rows["verified"][self._known(ids)], bool)

    @property
    def persons_ids(self) -> NDArray[np.int64]:
        """Numbers of the cells that a person vouched for or placed a point in, ascending."""
        return np.flatnonzero((self._rows["verified"] > 0) | (self._rows["origin"] == Origin.POINT))

    def areas_px(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Number of pixels of each of those cells."""
        return np.asarray(self._geometry.area[self._known(ids)])

    def centroids(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Middle of each of those cells, (k, 2) as (y, x) in pixels, the middle of the first pixel being 0."""
        return self._geometry.centroids(self._known(ids))

    def boxes(self, ids: ArrayLike) -> NDArray[np.int64]:
        """The smallest box around each of those cells, (k, 4) as y0, x0, y1, x1."""
        return self._geometry.boxes(self._known(ids))

    def box_around(self, ids: ArrayLike) -> Box:
        """The smallest box around all of those cells; empty when there are none."""
        return self._geometry.box_around(self._known(ids))

    def points(self, box: Box | None = None) -> CellPoints:
        """The points that a person placed, by default all of them.

        Parameters
        ----------
        box : Box, optional
            Only those that lie on one of its pixels.
        """
        ids = np.flatnonzero(self._rows["point_y"] != NO_POINT)
        y, x = (self._rows[name][ids].astype(np.float64) for name in _POINT)
        if box is not None:
            row, column = np.rint(y), np.rint(x)
            is_inside = (row >= box.y0) & (row < box.y1) & (column >= box.x0) & (column < box.x1)
            ids, y, x = ids[is_inside], y[is_inside], x[is_inside]
        return CellPoints(ids, y, x, np.asarray(self._rows["class_id"][ids], np.uint8))

    def counts(self) -> dict[int, int]:
        """Number of cells by class id; ``IGNORE`` for those of unknown class."""
        numbers = np.bincount(self._rows["class_id"][self.ids], minlength=256)
        return {int(k): int(numbers[k]) for k in np.flatnonzero(numbers)}

    def table(self, mpp: float | None) -> CellTable:
        """One row for each cell, with NaN for the haematoxylin, and for the area where µm per pixel is unknown."""
        ids = self.ids
        y, x = self._geometry.centroids(ids).T
        rows = self._rows[ids]
        return CellTable(
            ids=ids,
            class_ids=rows["class_id"].copy(),
            x=x,
            y=y,
            area_um2=self._geometry.area[ids].astype(np.float64) * (np.nan if mpp is None else mpp**2),
            score=rows["score"].astype(np.float64),
            haematoxylin=np.full(len(ids), np.nan),
        )

    # what an act would change --------------------------------------------------------------------------------------

    def class_patch(self, ids: ArrayLike, class_id: int) -> CellPatch | None:
        """What giving those cells a class, on a person's word, changes; None when nothing."""
        known = np.unique(self._known(ids))
        rows = self._rows[known]
        rows["score"][rows["class_id"] != class_id] = 1.0
        rows["class_id"] = class_id
        rows["verified"] = True
        return self._rows_patch(known, rows)

    def verified_patch(self, ids: ArrayLike) -> CellPatch | None:
        """What vouching for those cells changes; None when nothing."""
        known = np.unique(self._known(ids))
        rows = self._rows[known]
        rows["verified"] = True
        return self._rows_patch(known, rows)

    def edit_patch(
        self,
        box: Box,
        after: NDArray[np.uint32],
        classes: Mapping[int, int],
        points: Mapping[int, tuple[float, float]],
        *,
        origin: Origin | None,
        verified: bool | None,
    ) -> CellPatch | None:
        """What setting the numbers of a box (h, w) changes; None when nothing. See `CellEditing.edit_cells`."""
        tight = Box.of_mask(after != self._instances[box.slices])
        pixels = tight if tight.is_empty else tight.shift(int(box.y0), int(box.x0))
        runs = CellRuns.between(self._instances[pixels.slices], after[tight.slices])
        self._check_new(occurring(runs.after))
        ids = occurring(runs.before, runs.after)
        ids = ids[ids > 0]
        named = np.array([*classes, *points], np.int64)
        ids = np.union1d(ids, self._known(np.setdiff1d(named, ids)))
        area = self._by_number(self._geometry.area, ids, 0)
        for numbers, sign in ((runs.before, -1), (runs.after, 1)):
            is_cell = numbers > 0
            place = np.searchsorted(ids, numbers[is_cell])
            area += sign * np.bincount(place, runs.lengths[is_cell], len(ids)).astype(np.int64)
        rows = self._by_number(self._rows, ids, NO_CELL)
        numbers = np.array(list(classes), np.int64)
        place, given = np.searchsorted(ids, numbers), np.array(list(classes.values()), np.uint8)
        is_new = self._by_number(self._geometry.area, ids, 0) == 0
        rows["score"][is_new | (origin is not None)] = 1.0
        rows["score"][place[rows["class_id"][place] != given]] = 1.0
        rows["class_id"][place] = given
        if origin is not None:
            rows["origin"] = origin
        if verified is not None:
            rows["verified"] = verified
        place = np.searchsorted(ids, np.array(list(points), np.int64))
        for name, values_of in zip(_POINT, np.array(list(points.values()), np.float32).reshape(-1, 2).T, strict=True):
            rows[name][place] = values_of
        rows[area == 0] = NO_CELL
        return self._patch(pixels, runs, ids, rows)

    def replacement_patch(self, instances: NDArray[np.uint32], rows: NDArray[np.void]) -> CellPatch | None:
        """What putting other cells in the place of all there are changes; None when nothing.

        Parameters
        ----------
        instances : ndarray of uint32, shape (H, W)
        rows : ndarray of `ROW`, shape (n,)
            By number, from 0 on; at least as many as the highest number in ``instances`` needs.
        """
        pixels = Box.of_mask(instances != self._instances)
        runs = CellRuns.between(self._instances[pixels.slices], instances[pixels.slices])
        count = max(len(rows), self.next_id)
        is_there = pixel_counts(instances, count) > 0
        is_there[0] = False
        new = np.full(count, NO_CELL)
        new[: len(rows)][is_there[: len(rows)]] = rows[is_there[: len(rows)]]
        old = self._by_number(self._rows, np.arange(count), NO_CELL)
        ids = np.flatnonzero(new != old)
        return self._patch(pixels, runs, ids, new[ids])

    def difference_patch(self, other: Cells) -> CellPatch | None:
        """What leads from here to ``other``; None when they are equal."""
        return self.replacement_patch(other._instances, other._rows)

    def apply(self, patch: CellPatch) -> None:
        """Set changed pixels and rows to their values after the patch; doing it twice changes nothing more."""
        missing = patch.largest_id + 1 - self.next_id
        if missing > 0:
            self._rows = np.append(self._rows, np.full(missing, NO_CELL))
            self._geometry.grow(len(self._rows))
        if patch.changed:
            self._set_pixels(patch.pixels, patch.runs)
            self._touch(patch.pixels, "instances")
        self._rows[patch.ids] = patch.after_rows
        self._is_noted = False

    def _set_pixels(self, box: Box, runs: CellRuns) -> None:
        part = self._instances[box.slices]
        for replaced in self._replaced:
            if replaced.is_what_remains_of(runs):
                self._geometry = replaced.exchange(runs, part, self._geometry)
                return
        if runs.changed > _LARGE_PX and part.size <= _MOST_KEPT_PX:
            while sum(kept.size for kept in self._replaced) + part.size > _MOST_KEPT_PX:
                del self._replaced[0]
            self._replaced.append(Replaced(runs, part.copy(), self._geometry.copy()))
        self._geometry.move(box, runs.put(part))

    # the checkpoint ------------------------------------------------------------------------------------------------

    @property
    def is_dirty(self) -> bool:
        """Whether pixels or rows changed since they were last written."""
        return bool(self.dirty) or not self._is_noted

    def note(self) -> dict[str, Any]:
        """The table as JSON; with that it counts as written."""
        self._is_noted = True
        table = self._packed(self.ids, _NOTED)
        return {"next_id": self.next_id, "table": table, "points": self._packed(self.points().ids, _NOTED_POINT)}

    def _packed(self, ids: NDArray[np.int64], columns: np.dtype[np.void]) -> str:
        """Some columns of the rows of those cells as text, which `_unpacked` reads."""
        noted = np.zeros(len(ids), columns)
        for name in columns.names or ():
            noted[name] = ids if name == "id" else self._rows[name][ids]
        return base64.b64encode(zlib.compress(noted.tobytes(), _COMPRESSION)).decode("ascii")

    def _rows_patch(self, ids: NDArray[np.int64], rows: NDArray[np.void]) -> CellPatch | None:
        return self._patch(Box(0, 0, 0, 0), CellRuns.none(), ids, rows)

    def _patch(self, pixels: Box, runs: CellRuns, ids: NDArray[np.int64], rows: NDArray[np.void]) -> CellPatch | None:
        old = self._by_number(self._rows, ids, NO_CELL)
        is_changed = old != rows
        if not is_changed.any() and not runs.changed:
            return None
        changed = ids[is_changed]
        box = pixels.union(self._geometry.box_around(changed[changed < self.next_id]))
        numbers = changed.astype(np.uint32)
        return CellPatch(box, pixels, runs, numbers, old[is_changed], rows[is_changed])

    def _known(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Those numbers as an array; ``InputError`` when one is of no cell."""
        known = np.atleast_1d(np.asarray(ids)).astype(np.int64)
        is_wrong = (known < 1) | (known >= self.next_id)
        is_wrong |= self._geometry.area[np.where(is_wrong, 0, known)] == 0
        if is_wrong.any():
            raise InputError(f"There is no cell {int(known[is_wrong][0])} in this image; it may have been deleted.")
        return known

    def _check_new(self, ids: NDArray[np.int64]) -> None:
        """``InputError`` when one of the numbers was used before and is free now, or is far too high."""
        old = ids[(ids > 0) & (ids < self.next_id)]
        dead = old[self._geometry.area[old] == 0]
        if dead.size:
            raise InputError(f"Number {int(dead[0])} was another cell's; number new cells from {self.next_id} on.")
        if ids.size and int(ids[-1]) >= self.next_id + MOST_AHEAD:
            raise InputError(f"Number {int(ids[-1])} is too high for a new cell; number them from {self.next_id} on.")

    def _by_number(self, values: NDArray[Any], ids: NDArray[np.int64], fill: Any) -> NDArray[Any]:
        """``values[ids]``, and ``fill`` for numbers that were never used."""
        found = np.full(len(ids), fill, values.dtype)
        is_old = ids < self.next_id
        found[is_old] = values[ids[is_old]]
        return found


def _unpacked(text: str, columns: np.dtype[np.void]) -> NDArray[np.void]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), columns)
