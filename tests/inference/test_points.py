"""Cells from points: every point keeps a cell of its class, and a part gives what the whole gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.ground import Ground, find_threshold
from napari_histoseg.inference.points import PointRules, Points, cells_from_points, single_points, solve_box
from napari_histoseg.jobs.job import run_job

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


def blotches(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Tissue at its worst: dark and pale patches of any shape, with holes, bridges and specks."""
    amount = ndimage.gaussian_filter(rng.normal(0, 1, shape), rng.uniform(0.7, 4))
    share = np.clip(0.5 + amount / amount.std() / 2, 0, 1)[..., None]
    return np.asarray(np.array(STROMA) * (1 - share) + np.array(NUCLEUS) * share, np.uint8)


class Scene:
    """An image of blotches with random points and cells that stay, at 1 µm per pixel."""

    def __init__(self, seed: int, mode: Any) -> None:
        rng = self.rng = np.random.default_rng(seed)
        self.shape = (int(rng.integers(60, 190)), int(rng.integers(60, 190)))
        pixels = blotches(rng, self.shape)
        read = pixels.__getitem__
        whole = Box.of_shape(self.shape)
        threshold = run_job(find_threshold(lambda box: read(box.slices), self.shape, 1.0))
        self.ground = Ground(lambda box: read(box.slices), self.shape, 1.0, threshold)
        self.taken = ndimage.binary_opening(rng.random(self.shape) < 0.5, np.ones((3, 3)))
        count = int(rng.integers(1, 400))
        places = rng.uniform(-0.4, np.array(self.shape) - 0.6, (count, 2))
        numbers = rng.permutation(count).astype(np.int32) + 7
        points = Points(*places.T, np.ones(count, np.uint8), numbers)
        points = single_points(points, 0.5)
        self.points = points.only(~self.taken[points.pixels(whole)])
        self.rules = PointRules(mode=mode)

    def solved(self, points: Points, box: Box | None = None) -> NDArray[np.int32]:
        part = Box.of_shape(self.shape) if box is None else box
        return solve_box(self.ground, points, part, rules=self.rules, is_taken=lambda window: self.taken[window.slices])


@both_modes
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_part_is_bit_for_bit_what_the_whole_is_there(mode: Any, seed: int) -> None:
    scene = Scene(seed, mode)
    whole = scene.solved(scene.points)
    y, x = (int(scene.rng.integers(0, side - 5)) for side in scene.shape)
    box = Box(y, x, y + int(scene.rng.integers(1, 40)), x + int(scene.rng.integers(1, 40))).clip(scene.shape)
    np.testing.assert_array_equal(scene.solved(scene.points, box), whole[box.slices])


@both_modes
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_point_changes_only_what_is_near(mode: Any, seed: int) -> None:
    scene = Scene(seed, mode)
    if len(scene.points) == 0:
        return
    which = int(scene.rng.integers(len(scene.points)))
    others = scene.points.only(np.arange(len(scene.points)) != which)
    y, x = np.nonzero(scene.solved(scene.points) != scene.solved(others))
    margin_px = scene.rules.margin_px(1.0)
    assert (np.abs(y - scene.points.y[which]) <= margin_px).all()
    assert (np.abs(x - scene.points.x[which]) <= margin_px).all()


@both_modes
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_each_point_has_its_pixel_and_no_cell_that_stays_loses_one(mode: Any, seed: int) -> None:
    scene = Scene(seed, mode)
    found = scene.solved(scene.points)
    assert not found[scene.taken].any()
    at = found[scene.points.pixels(Box.of_shape(scene.shape))]
    np.testing.assert_array_equal(at, scene.points.numbers)
    y, x = np.nonzero(found)
    place = np.argsort(scene.points.numbers)[np.searchsorted(np.sort(scene.points.numbers), found[y, x])]
    away = np.hypot(y - np.rint(scene.points.y[place]), x - np.rint(scene.points.x[place]))
    assert away.max(initial=0) <= scene.rules.reach_um


def test_nuclei_are_the_same_wherever_they_are_looked_at() -> None:
    pixels, truth = painted(PLACES)
    ground = Ground(lambda box: pixels[box.slices], truth.shape, MPP, 0.8)
    whole = ground.nuclei(Box.of_shape(truth.shape))
    part = Box(60, 40, 110, 130)
    there = ground.nuclei(part)
    np.testing.assert_array_equal(there.labels > 0, whole.labels[part.slices] > 0)
    assert {(80, 60), (90, 110)} <= {tuple(place) for place in there.middles.tolist()}
    np.testing.assert_allclose(there.area_px * MPP**2, np.pi * 3.5**2, rtol=0.3)


def test_tiles_of_the_ground_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, _ = painted(PLACES)
    whole = cells_from_points(pixels, marked(PLACES), MPP, rules=PointRules(mode="contour"))
    monkeypatch.setattr("napari_histoseg.inference.ground._NUCLEI_TILE_PX", 40)
    tiled = cells_from_points(pixels, marked(PLACES), MPP, rules=PointRules(mode="contour"))
    np.testing.assert_array_equal(tiled.instances, whole.instances)
