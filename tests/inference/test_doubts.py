"""What is planted wrong is doubted, in its kind and near the top; what is right is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellPoints
from napari_histoseg.inference.doubts import Doubt, DoubtRequest, find_doubts
from napari_histoseg.inference.ground import Ground, find_threshold
from napari_histoseg.inference.instances import cell_table
from napari_histoseg.inference.points import PointRules, Points, grow
from napari_histoseg.jobs.job import run_job

MPP = 0.5
SHAPE = (260, 300)
GRID = np.array([(y, x) for y in range(25, 250, 30) for x in range(25, 290, 30)], float)
NAMES = {1: "tumour"}


def tissue(radii: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A violet disk of each radius (pixels) at the places of `GRID`, on noisy pink."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.zeros(SHAPE, bool)
    for (cy, cx), radius in zip(GRID, radii, strict=True):
        inside |= np.hypot(y - cy, x - cx) <= radius
    pixels = np.where(inside[..., None], (70, 40, 130), (225, 150, 195)).astype(float)
    pixels = ndimage.gaussian_filter(pixels, (0.7, 0.7, 0)) + np.random.default_rng(0).normal(0, 4, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def doubted(
    places: NDArray[np.float64],
    *,
    radii: NDArray[np.float64] | None = None,
    settled: tuple[int, ...] = (),
    are_points: bool = True,
) -> tuple[Doubt, ...]:
    """Doubts about the cells that grow from points at those places."""
    pixels = tissue(np.full(len(GRID), 6.0) if radii is None else radii)
    points = Points.of(*places.T, np.ones(len(places), np.uint8))

    def read(box: Box) -> NDArray[np.uint8]:
        return pixels[box.slices]

    ground = Ground(read, SHAPE, MPP, run_job(find_threshold(read, SHAPE, MPP)))
    instances = run_job(grow(ground, points, rules=PointRules()))
    table = cell_table(instances, MPP, class_ids=points.class_ids)
    marked = points if are_points else points.only(np.zeros(len(points), bool))
    given = CellPoints(marked.numbers.astype(np.int64), marked.y, marked.x, marked.class_ids)
    is_settled = np.isin(table.ids, settled)
    return run_job(find_doubts(DoubtRequest(ground, instances.astype(np.uint32), table, given, is_settled, NAMES)))


@pytest.mark.parametrize("are_points", [True, False])
def test_what_is_right_is_left_alone(are_points: bool) -> None:
    assert doubted(GRID, are_points=are_points) == ()


@pytest.mark.parametrize("are_points", [True, False])
def test_a_nucleus_without_a_point_or_a_cell(are_points: bool) -> None:
    (found,) = doubted(np.delete(GRID, 20, axis=0), are_points=are_points)
    assert found.kind == "nucleus without a point" and found.cell_id == 0 and found.weight > 0.8
    assert np.hypot(found.y - GRID[20, 0], found.x - GRID[20, 1]) < 2
    assert "no point" in found.sentence and "µm²" in found.sentence


def test_two_points_in_one_nucleus() -> None:
    found = doubted(np.vstack([GRID, GRID[20] + (4, 2)]))
    assert found[0].kind == "two points in one nucleus" and found[0].cell_id in (21, len(GRID) + 1)
    assert "21" in found[0].sentence and f"{len(GRID) + 1}" in found[0].sentence
    assert np.hypot(found[0].y - GRID[20, 0], found[0].x - GRID[20, 1]) < 6


def test_two_nuclei_that_touch_are_no_doubt() -> None:
    radii = np.full(len(GRID), 6.0)
    radii[20] = 0
    places = np.delete(GRID, 20, axis=0)
    assert doubted(places, radii=radii) == ()


def test_a_cell_where_nothing_is_stained_has_a_weak_boundary() -> None:
    off = GRID[20] + (15, 15)
    (found,) = doubted(np.vstack([GRID, off]))
    assert found.kind in ("weak boundary", "size outlier") and found.cell_id == len(GRID) + 1 and found.weight > 0.5


def test_a_size_that_is_unusual_for_the_class() -> None:
    radii = np.full(len(GRID), 6.0)
    radii[20] = 12.0
    (found,) = doubted(GRID, radii=radii)
    assert found.kind == "size outlier" and found.cell_id == 21
    assert "larger" in found.sentence and "tumour" in found.sentence


def test_what_a_person_vouched_for_is_not_doubted() -> None:
    off = GRID[20] + (15, 15)
    assert doubted(np.vstack([GRID, off]), settled=(len(GRID) + 1,)) == ()


def test_the_worst_come_first_and_each_cell_once() -> None:
    places = np.vstack([np.delete(GRID, [3, 40], axis=0), GRID[20] + (3, 1), GRID[50] + (15, 15)])
    found = doubted(places)
    assert [d.weight for d in found] == sorted((d.weight for d in found), reverse=True)
    assert all(0 < d.weight <= 1 for d in found)
    cells = [d.cell_id for d in found if d.cell_id]
    assert len(cells) == len(set(cells)) and {d.kind for d in found[:4]} >= {"nucleus without a point"}


def test_no_cells_at_all() -> None:
    found = doubted(np.zeros((0, 2)))
    assert len(found) == len(GRID) and {d.kind for d in found} == {"nucleus without a point"}
