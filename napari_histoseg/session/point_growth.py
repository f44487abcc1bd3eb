"""Which cells of an image grow from points and which stay, and what growing some of them anew changes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.jobs.job import Job

if TYPE_CHECKING:
    from napari_histoseg.core.cell_plane import Cells
    from napari_histoseg.inference.ground import Ground
    from napari_histoseg.inference.points import PointRules, Points

_MOST_APART = 8
_GRID_PX = 512


@dataclass(frozen=True, eq=False)
class Growth:
    """The cells of an image as seen by those that grow from points.

    Parameters
    ----------
    points : Points
        One for each cell that grows, numbered as the cells.
    stays : ndarray of bool, shape (n,)
        By number of the cell, whether its outline is not touched.
    """

    points: Points
    stays: NDArray[np.bool_]

    @classmethod
    def of(cls, cells: Cells, *, keeps_found: bool) -> Growth:
        """What grows and what stays.

        A cell grows when its outline came from its point, unless the point lies on a cell that stays. What a model or a
        file outlined and nobody vouched for stays only when ``keeps_found``.
        """
        from napari_histoseg.inference.points import Points

        ids = cells.ids
        stays = np.zeros(cells.next_id, bool)
        stays[ids] = True
        if not keeps_found:
            is_found = np.isin(cells.origin_of(ids), (Origin.MODEL, Origin.IMPORT)) & ~cells.is_verified(ids)
            stays[ids[is_found]] = False
        marked = cells.points()
        grows = cells.origin_of(marked.ids) == Origin.POINT
        stays[marked.ids[grows]] = False
        rows, columns = np.rint(marked.y).astype(np.intp), np.rint(marked.x).astype(np.intp)
        grows &= ~stays[cells.instances[rows, columns]]
        stays[marked.ids[~grows]] = True
        chosen = (column[grows] for column in (marked.y, marked.x, marked.class_ids, marked.ids.astype(np.int32)))
        return cls(Points(*chosen), stays)

    def without(self, ids: list[int]) -> Growth:
        """The same when those cells are gone."""
        stays = self.stays.copy()
        stays[ids] = False
        return Growth(self.points.only(~np.isin(self.points.numbers, ids)), stays)

    def with_point(self, number: int, y: float, x: float, class_id: int) -> Growth:
        """The same with one more point."""
        from napari_histoseg.inference.points import Points

        return self.with_points(Points.of(np.array([y]), np.array([x]), np.array([class_id], np.uint8)), number)

    def with_points(self, more: Points, first_number: int) -> Growth:
        """The same with more points, which are numbered from ``first_number`` on."""
        from napari_histoseg.inference.points import Points

        old, numbers = self.points, np.arange(first_number, first_number + len(more), dtype=np.int32)
        points = Points(
            np.append(old.y, more.y),
            np.append(old.x, more.x),
            np.append(old.class_ids, more.class_ids),
            np.append(old.numbers, numbers),
        )
        return Growth(points, self.stays)

    def taken(self, instances: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which pixels of an instance map belong to cells that stay."""
        return self.stays[instances]


def regrown(
    cells: Cells, growth: Growth, gone: list[int], changed: list[Box], *, ground: Ground, rules: PointRules
) -> tuple[Box, NDArray[np.uint32]]:
    """What a box of the instance map holds after points came, went or moved: box and numbers (h, w).

    Parameters
    ----------
    cells : Cells
        Before the change.
    growth : Growth
        After it.
    gone : list of int
        Cells whose old outline goes as a whole.
    changed : list of Box
        Where points were and are, and outlines that go.
    ground : Ground
    rules : PointRules
    """
    from napari_histoseg.inference.points import solve_box

    def is_taken(box: Box) -> NDArray[np.bool_]:
        return growth.taken(cells.instances[box.slices])

    reach_px = int(rules.reach_um / ground.mpp) + 1
    touched = [box.pad(rules.margin_px(ground.mpp) - reach_px).clip(cells.shape) for box in changed]
    parts = touched if len(touched) <= _MOST_APART else _grid(touched, cells.shape)
    wide = [box.pad(reach_px).clip(cells.shape) for box in parts]
    around = functools.reduce(Box.union, wide, cells.box_around(gone))
    after = cells.instances[around.slices].copy()
    after[np.isin(after, gone)] = 0
    numbers = growth.points.numbers
    for core, box in zip(parts, wide, strict=True):
        is_new = np.zeros(max(cells.next_id, int(numbers.max(initial=0)) + 1), bool)
        is_new[growth.points.inside(core).numbers] = True
        grown = solve_box(ground, growth.points, box, rules=rules, is_taken=is_taken)
        part = after[box.relative_to(around).slices]
        part[is_new[part]] = 0
        is_won = is_new[grown] & (part == 0)
        part[is_won] = grown[is_won]
    return around, after


def grown_whole(
    instances: NDArray[np.uint32], growth: Growth, *, ground: Ground, rules: PointRules
) -> Job[NDArray[np.uint32]]:
    """The whole instance map with all cells grown anew, as a job; ``instances`` is a copy, which it changes."""
    from napari_histoseg.inference.points import grow

    def is_taken(box: Box) -> NDArray[np.bool_]:
        return growth.taken(instances[box.slices])

    grown = yield from grow(ground, growth.points, rules=rules, is_taken=is_taken)
    for box in Box.of_shape(instances.shape).tiles(_GRID_PX):
        part = instances[box.slices]
        np.copyto(part, grown[box.slices], where=~growth.taken(part), casting="unsafe")
    return instances


def places(y: NDArray[np.floating], x: NDArray[np.floating]) -> list[Box]:
    """Boxes around points: the pixel of each, or of many points the tiles in which they lie."""
    rows, columns = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
    if len(rows) <= _MOST_APART:
        size = 1
    else:
        size = _GRID_PX
        rows, columns = np.unique(np.stack([rows // size, columns // size]), axis=1) * size
    return [Box(top, left, top + size, left + size) for top, left in zip(rows.tolist(), columns.tolist(), strict=True)]


def _grid(boxes: list[Box], shape: tuple[int, int]) -> list[Box]:
    """The tiles of an image that boxes meet, each once."""
    found = {
        Box(top, left, top + _GRID_PX, left + _GRID_PX).clip(shape)
        for box in boxes
        for top in range(box.y0 // _GRID_PX * _GRID_PX, box.y1, _GRID_PX)
        for left in range(box.x0 // _GRID_PX * _GRID_PX, box.x1, _GRID_PX)
    }
    return sorted(found)
