"""Which cells look wrong, worst first, so that a person looks at few instead of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellPoints, CellTable
from napari_histoseg.inference.ground import REGION_UM, Ground
from napari_histoseg.jobs.job import Job, Progress

DoubtKind = Literal["weak boundary", "size outlier", "two points in one nucleus", "nucleus without a point"]

_TILE_PX = 512
_STEP_UM = 1.0
_WEAK = 0.5
_LEAST_IN_CLASS = 8
_FAR_OUT = 3.0
_CERTAINLY_OUT = 8.0
_LEAST_SPREAD = 0.15
_TOGETHER = 0.6
_LEAST_NUCLEUS_UM2 = 12.0
_LEAST_PART = 0.3
_MOST_COVERED = 0.3
_SHARED = 0.5


@dataclass(frozen=True)
class Doubt:
    """Something that a person should look at.

    Parameters
    ----------
    kind : DoubtKind
    cell_id : int
        Number of the cell; 0 for a nucleus that has none.
    y, x : float
        Where to look, in pixels of the image.
    weight : float
        0..1; how surely something is wrong.
    sentence : str
        What looks wrong, in plain words.
    """

    kind: DoubtKind
    cell_id: int
    y: float
    x: float
    weight: float
    sentence: str


@dataclass(frozen=True, eq=False)
class DoubtRequest:
    """Cells to look at.

    Parameters
    ----------
    ground : Ground
        Of the image.
    instances : ndarray of uint32, shape (H, W)
        A copy of the instance map.
    table : CellTable
        Of all cells, with areas.
    points : CellPoints
        Those of cells that grew from points.
    is_settled : ndarray of bool, shape (n,)
        For each row of the table, whether a person has vouched for the cell, so that it is in no doubt.
    names : mapping of int to str
        Names of the classes by id.
    """

    ground: Ground
    instances: NDArray[np.uint32]
    table: CellTable
    points: CellPoints
    is_settled: NDArray[np.bool_]
    names: Mapping[int, str]


def find_doubts(request: DoubtRequest) -> Job[tuple[Doubt, ...]]:
    """What looks wrong in an image, worst first, each cell once, as a job of tiles."""
    looks = _Looks(request)
    tiles = list(Box.of_shape(request.instances.shape).tiles(_TILE_PX))
    lonely: list[_Nucleus] = []
    for done, tile in enumerate(tiles):
        yield Progress(done, len(tiles), "Looking for doubtful cells.")
        for _ in request.ground.outlining(_around(request, tile)):
            yield Progress(done, len(tiles), "Outlining nuclei.")
        looks.add(tile)
        lonely += _without_cell(request, tile)
    together = dict(_together(request, looks))
    halves = {number for pair in together for number in pair}
    odd = (doubt for doubt in _outliers(request) if doubt.cell_id not in halves)
    found = [*_weak(request, looks), *odd, *together.values(), *_lonely(request, lonely)]
    worst: dict[tuple[int, float, float], Doubt] = {}
    for doubt in sorted(found, key=lambda doubt: -doubt.weight):
        worst.setdefault((doubt.cell_id, 0, 0) if doubt.cell_id else (0, doubt.y, doubt.x), doubt)
    return tuple(worst.values())


class _Looks:
    """Sums of the stain in cells, across their outlines, and on the borders between two, tile by tile."""

    def __init__(self, request: DoubtRequest) -> None:
        self._request = request
        self._count = int(request.table.ids.max(initial=0)) + 1
        self._sums = np.zeros((4, self._count))
        self._borders: dict[tuple[int, int], tuple[float, int]] = {}

    def add(self, tile: Box) -> None:
        """Take a tile in; what lies across its edge is left out."""
        stain, _ = self._request.ground.stain(tile)
        instances = self._request.instances[tile.slices]
        inside = instances > 0
        self._sums[0] += np.bincount(instances[inside], stain[inside], self._count)
        self._sums[1] += np.bincount(instances[inside], minlength=self._count)
        step = max(1, round(_STEP_UM / self._request.ground.mpp))
        for axis in (0, 1):
            cells, amount = np.swapaxes(instances, 0, axis), np.swapaxes(stain, 0, axis)
            for near, far in ((slice(None, -step), slice(step, None)), (slice(step, None), slice(None, -step))):
                is_edge = (cells[near] > 0) & (cells[far] == 0)
                which, fall = cells[near][is_edge], (amount[near] - amount[far])[is_edge]
                self._sums[2] += np.bincount(which, fall, self._count)
                self._sums[3] += np.bincount(which, minlength=self._count)
            self._add_borders(cells, amount)

    def _add_borders(self, cells: NDArray[np.uint32], amount: NDArray[np.float32]) -> None:
        one, other = cells[:-1], cells[1:]
        is_border = (one != other) & (one > 0) & (other > 0)
        pair = np.sort(np.stack([one[is_border], other[is_border]], axis=1), axis=1)
        value = ((amount[:-1] + amount[1:]) / 2)[is_border]
        pairs, which = np.unique(pair, axis=0, return_inverse=True)
        sums, counts = np.bincount(which.ravel(), value, len(pairs)), np.bincount(which.ravel(), minlength=len(pairs))
        for (a, b), total, count in zip(pairs.tolist(), sums.tolist(), counts.tolist(), strict=True):
            old = self._borders.get((a, b), (0.0, 0))
            self._borders[a, b] = old[0] + total, old[1] + count

    @property
    def stain(self) -> NDArray[np.float64]:
        """Mean amount in each cell, by number."""
        return np.asarray(self._sums[0] / np.maximum(self._sums[1], 1), np.float64)

    @property
    def contrast(self) -> NDArray[np.float64]:
        """How much less stain there is a little outside of each cell, by number; NaN where other cells surround it."""
        with np.errstate(invalid="ignore"):
            return np.where(self._sums[3] > 0, self._sums[2] / self._sums[3], np.nan)

    @property
    def borders(self) -> Mapping[tuple[int, int], float]:
        """Mean amount on the border of each two cells that touch, the lower number first."""
        return {pair: total / count for pair, (total, count) in self._borders.items()}


@dataclass(frozen=True)
class _Nucleus:
    """A stained nucleus without a point, and the share of it that cells of other nuclei took."""

    y: float
    x: float
    area_um2: float
    contrast: float
    shared: float


def _weak(request: DoubtRequest, looks: _Looks) -> Iterator[Doubt]:
    """Cells whose surroundings are nearly as dark as they are."""
    table = request.table
    contrast = looks.contrast[table.ids]
    known = contrast[np.isfinite(contrast)]
    usual = float(np.median(known)) if known.size else 0.0
    if usual <= 0:
        return
    weight = 1 - contrast / (_WEAK * usual)
    for k in np.flatnonzero((weight > 0) & ~request.is_settled).tolist():
        sentence = f"Cell {table.ids[k]} is hardly darker than what lies around it; its outline is a guess."
        yield _doubt("weak boundary", table, k, weight[k], sentence)


def _outliers(request: DoubtRequest) -> Iterator[Doubt]:
    """Cells far larger or smaller than their class, by the median and the median deviation of the logarithm."""
    table = request.table
    size = np.log(table.area_um2)
    for class_id in np.unique(table.class_ids):
        same = np.flatnonzero(table.class_ids == class_id)
        if len(same) < _LEAST_IN_CLASS:
            continue
        usual = np.median(size[same])
        spread = max(1.4826 * float(np.median(np.abs(size[same] - usual))), _LEAST_SPREAD)
        name = request.names.get(int(class_id), "cells of unknown class")
        for k in same.tolist():
            out = abs(size[k] - usual) / spread
            if out > _FAR_OUT and not request.is_settled[k]:
                ratio = float(np.exp(abs(size[k] - usual)))
                word = "larger" if size[k] > usual else "smaller"
                sentence = f"Cell {table.ids[k]} is {ratio:.1f} times {word} than is usual here for {name}."
                yield _doubt("size outlier", table, k, (out - _FAR_OUT) / (_CERTAINLY_OUT - _FAR_OUT), sentence)


def _together(request: DoubtRequest, looks: _Looks) -> Iterator[tuple[tuple[int, int], Doubt]]:
    """Cells whose points are so near to each other, with no paler border between, that they mark one nucleus."""
    points, table, mpp = request.points, request.table, request.ground.mpp
    row = {number: k for k, number in enumerate(table.ids.tolist())}
    place = {number: (y, x) for number, y, x in zip(points.ids.tolist(), points.y, points.x, strict=True)}
    stain = looks.stain
    for (a, b), border in looks.borders.items():
        if a not in place or b not in place or (request.is_settled[row[a]] and request.is_settled[row[b]]):
            continue
        apart_um = float(np.hypot(place[a][0] - place[b][0], place[a][1] - place[b][1])) * mpp
        across_um = float(np.sqrt(4 / np.pi * (table.area_um2[row[a]] + table.area_um2[row[b]])))
        nearness = 1 - apart_um / (_TOGETHER * across_um)
        darkness = border / max(min(stain[a], stain[b]), 1e-6)
        weight = 2 * nearness * min(1.0, max(0.0, darkness) ** 2)
        if weight > 0:
            k = row[a] if table.area_um2[row[a]] < table.area_um2[row[b]] else row[b]
            sentence = f"Cells {a} and {b} look like one nucleus with two points."
            yield (a, b), _doubt("two points in one nucleus", table, k, weight, sentence)


def _without_cell(request: DoubtRequest, tile: Box) -> list[_Nucleus]:
    """Nuclei with their middle in a tile in which no point lies, and which cells without points hardly cover."""
    mpp, points = request.ground.mpp, request.points
    window = _around(request, tile)
    nuclei = request.ground.nuclei(window)
    stain, level = request.ground.stain(window)
    instances, labels = request.instances[window.slices], nuclei.labels
    count = len(nuclei.middles) + 1
    area = np.bincount(labels.ravel(), minlength=count)[1:]
    rows, columns = np.rint(points.y).astype(np.intp) - window.y0, np.rint(points.x).astype(np.intp) - window.x0
    is_near = (rows >= 0) & (rows < window.height) & (columns >= 0) & (columns < window.width)
    held = np.bincount(labels[rows[is_near], columns[is_near]], minlength=count)[1:]
    is_pointless = ~np.isin(instances, points.ids[is_near]) & (instances > 0)
    covered = np.bincount(labels[is_pointless], minlength=count)[1:]
    shared = np.bincount(labels[instances > 0], minlength=count)[1:] / np.maximum(area, 1)
    contrast = np.bincount(labels.ravel(), (stain - level).ravel(), count)[1:] / np.maximum(area, 1)
    y, x = nuclei.middles.T
    is_lonely = (held == 0) & (covered < _MOST_COVERED * area) & (area * mpp**2 >= _LEAST_NUCLEUS_UM2)
    is_lonely &= (y >= tile.y0) & (y < tile.y1) & (x >= tile.x0) & (x < tile.x1)
    return [
        _Nucleus(float(y[k]), float(x[k]), float(area[k]) * mpp**2, float(contrast[k]), float(shared[k]))
        for k in np.flatnonzero(is_lonely)
    ]


def _around(request: DoubtRequest, tile: Box) -> Box:
    """The part of the image in which nuclei lie that have their middle in a tile."""
    return tile.pad(round(REGION_UM / request.ground.mpp)).clip(request.instances.shape)


def _lonely(request: DoubtRequest, nuclei: list[_Nucleus]) -> Iterator[Doubt]:
    """Nuclei without a cell, more surely the more they are like cells in size and stain."""
    areas = request.table.area_um2
    usual_um2 = float(np.median(areas)) if areas.size else 0.0
    usual_contrast = float(np.median([nucleus.contrast for nucleus in nuclei])) if nuclei else 1.0
    for nucleus in nuclei:
        likeness = min(1.0, nucleus.area_um2 / usual_um2) if usual_um2 else 1.0
        if likeness >= _LEAST_PART:
            darkness = min(1.0, nucleus.contrast / max(usual_contrast, 1e-6))
            sentence = f"A stained nucleus of {nucleus.area_um2:.0f} µm² has no point."
            weight = likeness * max(0.0, darkness) * (1 - _SHARED * nucleus.shared)
            yield Doubt("nucleus without a point", 0, nucleus.y, nucleus.x, weight, sentence)


def _doubt(kind: DoubtKind, table: CellTable, k: int, weight: float, sentence: str) -> Doubt:
    return Doubt(kind, int(table.ids[k]), float(table.y[k]), float(table.x[k]), float(min(1.0, weight)), sentence)
