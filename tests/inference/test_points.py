"""Cells from points: every point keeps a cell of its class, and a part gives what the whole gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.points import (
    REACH_UM,
    PointRules,
    Points,
    cells_from_points,
    single_points,
    solve_box,
    threshold_of,
)

NUCLEUS, STROMA = (70, 40, 130), (225, 150, 195)
MPP = 0.5
both_modes = pytest.mark.parametrize("mode", ["marker", "contour"])


def painted(
    places: list[tuple[float, float]], shape: tuple[int, int] = (120, 140), radius: float = 7
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Dark disks on pink with a little noise, and which disk (from 1) each pixel belongs to."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.array([np.hypot(y - cy, x - cx) for cy, cx in places])
    truth = np.where(distance.min(axis=0) <= radius, distance.argmin(axis=0) + 1, 0)
    pixels = np.where((truth > 0)[..., None], NUCLEUS, STROMA).astype(float)
    pixels = ndimage.gaussian_filter(pixels, (0.7, 0.7, 0)) + np.random.default_rng(0).normal(0, 4, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8), truth


PLACES = [(30.0, 30.0), (30.0, 42.0), (80.0, 60.0), (90.0, 110.0), (25.0, 100.0)]


def marked(places: list[tuple[float, float]], class_ids: list[int] | None = None) -> Points:
    y, x = np.array(places, float).reshape(-1, 2).T
    return Points.of(y, x, np.array(class_ids or [1] * len(places), np.uint8))


@both_modes
def test_each_disk_becomes_the_cell_of_its_point(mode: Any) -> None:
    pixels, truth = painted(PLACES)
    found = cells_from_points(pixels, marked(PLACES, [1, 2, 3, 1, 2]), MPP, rules=PointRules(mode=mode))
    for number in range(1, 6):
        ours, true = found.instances == number, truth == number
        assert 2 * (ours & true).sum() / (ours.sum() + true.sum()) > 0.85
    np.testing.assert_array_equal(found.labels, np.array([0, 1, 2, 3, 1, 2])[found.instances])
    assert found.table.ids.tolist() == [1, 2, 3, 4, 5] and found.table.class_ids.tolist() == [1, 2, 3, 1, 2]
    np.testing.assert_allclose(np.stack([found.table.y, found.table.x], axis=1), PLACES, atol=1.5)
    assert (found.table.haematoxylin > 0.5).all() and (found.outside, found.doubled) == (0, 0)


@both_modes
@pytest.mark.parametrize("mpp", [0.25, 0.55, 1.0])
def test_sizes_follow_the_resolution(mode: Any, mpp: float) -> None:
    radius_um = 3.5
    places = [(20 / mpp, 20 / mpp), (20 / mpp, 45 / mpp)]
    pixels, _ = painted(places, (round(40 / mpp), round(65 / mpp)), radius_um / mpp)
    table = cells_from_points(pixels, marked(places), mpp, rules=PointRules(mode=mode)).table
    np.testing.assert_allclose(table.area_um2, np.pi * radius_um**2, rtol=0.3)


@both_modes
def test_every_point_lies_in_a_cell_of_its_class(mode: Any) -> None:
    rng = np.random.default_rng(1)
    pixels, _ = painted(PLACES)
    places = rng.uniform(0, 119, (60, 2))  # also on stroma and crowded on one nucleus
    points = Points.of(*places.T, class_ids=rng.integers(1, 4, 60).astype(np.uint8))
    found = cells_from_points(pixels, points, MPP, rules=PointRules(mode=mode))
    used = single_points(points, 1.0)
    y, x = used.pixels(Box.of_shape(pixels.shape))
    np.testing.assert_array_equal(found.labels[y, x], used.class_ids)
    np.testing.assert_array_equal(found.instances[y, x], used.numbers)
    assert len(found.table) == len(used)


@both_modes
def test_no_cell_reaches_farther_than_asked(mode: Any) -> None:
    pixels = np.full((100, 100, 3), STROMA, np.uint8)
    pixels[20:80, 20:80] = NUCLEUS
    found = cells_from_points(pixels, marked([(50, 50)]), MPP, rules=PointRules(mode=mode, reach_um=5))
    y, x = np.nonzero(found.instances)
    assert np.hypot(y - 50, x - 50).max() * MPP <= 5 and len(y) > 250


@both_modes
def test_what_nobody_marked(mode: Any) -> None:
    pixels, truth = painted(PLACES)
    rules = PointRules(mode=mode)
    without = cells_from_points(pixels, marked(PLACES[:4]), MPP, rules=rules)
    assert (without.labels[truth == 5] == 0).all()
    ignored = cells_from_points(pixels, marked(PLACES[:4]), MPP, rules=replace(rules, unlabelled="ignore"))
    assert (ignored.labels[truth == 5] == IGNORE).mean() > 0.8
    assert (ignored.labels[truth == 0] == IGNORE).mean() < 0.02


@both_modes
def test_points_outside_and_twice_are_left_out_and_counted(mode: Any) -> None:
    pixels, _ = painted(PLACES)
    extra = [(-3.0, 10.0), (10.0, 139.6), (30.0, 30.4), (120.2, 2.0)]
    found = cells_from_points(pixels, marked(PLACES + extra), MPP, rules=PointRules(mode=mode))
    assert (found.outside, found.doubled) == (3, 1)
    plain = cells_from_points(pixels, marked(PLACES), MPP, rules=PointRules(mode=mode))
    np.testing.assert_array_equal(found.instances, plain.instances)


@both_modes
def test_no_points_no_cells(mode: Any) -> None:
    pixels, _ = painted(PLACES)
    found = cells_from_points(pixels, marked([]), MPP, rules=PointRules(mode=mode))
    assert not found.instances.any() and not found.labels.any() and len(found.table) == 0


@both_modes
def test_a_blank_image_gives_disks(mode: Any) -> None:
    found = cells_from_points(np.full((60, 60, 3), 240, np.uint8), marked([(30, 30)]), MPP, rules=PointRules(mode=mode))
    radius_um = 1.5 if mode == "marker" else 2.5
    assert found.table.area_um2[0] == pytest.approx(np.pi * radius_um**2, rel=0.15)


def test_a_nucleus_of_unknown_class_is_a_cell_without_a_label() -> None:
    pixels, _ = painted(PLACES)
    found = cells_from_points(pixels, marked(PLACES, [1, 1, 255, 1, 1]), MPP)
    assert (found.labels[found.instances == 3] == IGNORE).all() and (found.instances == 3).sum() > 100
    with pytest.raises(InputError, match="class 0"):
        cells_from_points(pixels, marked(PLACES, [1, 1, 0, 1, 1]), MPP)


def test_a_large_image_is_solved_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, _ = painted(PLACES)
    whole = cells_from_points(pixels, marked(PLACES), MPP)
    monkeypatch.setattr("napari_histoseg.inference.points._TILE_PX", 50)
    tiled = cells_from_points(pixels, marked(PLACES), MPP)
    np.testing.assert_array_equal(tiled.instances, whole.instances)
    np.testing.assert_array_equal(tiled.labels, whole.labels)


@both_modes
def test_a_changed_point_changes_only_what_is_near(mode: Any) -> None:
    rng = np.random.default_rng(3)
    places = [(float(y), float(x)) for y, x in rng.uniform(5, 195, (110, 2))]
    pixels, _ = painted(places, (200, 200), 6)
    points = single_points(marked(places), 1.0)
    rules, whole = PointRules(mode=mode), Box.of_shape(pixels.shape)
    before, after = (
        solve_box(pixels, some, MPP, whole, threshold=threshold_of(pixels, MPP), rules=rules)[1]
        for some in (points, points.only(points.numbers != 1))
    )
    y, x = np.nonzero(before != after)
    distance_um = np.hypot(y - places[0][0], x - places[0][1]) * MPP
    assert len(y) > 20 and distance_um.max() < REACH_UM


@both_modes
def test_a_part_is_what_the_whole_is_there(mode: Any) -> None:
    rng = np.random.default_rng(2)
    places = [(float(y), float(x)) for y, x in rng.uniform(5, 295, (190, 2))]
    pixels, _ = painted(places, (300, 300), 6)
    rules = PointRules(mode=mode, unlabelled="ignore")
    points = single_points(marked(places[:170]), 1.0)
    threshold = threshold_of(pixels, MPP)
    whole = Box.of_shape(pixels.shape)
    labels, instances = solve_box(pixels, points, MPP, whole, threshold=threshold, rules=rules)
    for box in (Box(110, 110, 200, 190), Box(0, 200, 90, 300)):
        part_labels, part_instances = solve_box(pixels, points, MPP, box, threshold=threshold, rules=rules)
        np.testing.assert_array_equal(part_instances, instances[box.slices])
        np.testing.assert_array_equal(part_labels, labels[box.slices])
