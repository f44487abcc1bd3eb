"""Cells from probability maps: parted, numbered, measured."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import regionprops

from napari_histoseg.inference import instances as module
from napari_histoseg.inference.instances import (
    InstanceRules,
    cell_table,
    classes_of,
    instances_from_probabilities,
)

MPP = 0.5


def disks(shape: tuple[int, int], places: list[tuple[float, float, float]]) -> NDArray[np.bool_]:
    """Union of disks (y, x, radius)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for cy, cx, radius in places:
        mask |= (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return mask


def two_classes(mask: NDArray[np.bool_], sure: float = 0.9) -> NDArray[np.float32]:
    nucleus = np.where(mask, sure, 1 - sure)
    return np.stack([1 - nucleus, nucleus]).astype(np.float32)


def test_touching_disks_are_parted_between_them() -> None:
    mask = disks((60, 80), [(30, 25, 9), (30, 42, 9)])
    found = instances_from_probabilities(two_classes(mask), MPP)
    assert found.dtype == np.int32 and found.max() == 2
    assert set(found[30, :34]) == {0, 1} and set(found[30, 34:]) == {0, 2}
    assert abs(int((found == 1).sum()) - int((found == 2).sum())) < 12


def test_a_long_cell_stays_whole() -> None:
    y, x = np.mgrid[:60, :80]
    mask = ((y - 30) / 6) ** 2 + ((x - 40) / 14) ** 2 <= 1
    assert instances_from_probabilities(two_classes(mask), MPP).max() == 1


def test_specks_go_and_holes_close() -> None:
    mask = disks((60, 80), [(30, 30, 10), (10, 70, 2)]) & ~disks((60, 80), [(30, 30, 3)])
    found = instances_from_probabilities(two_classes(mask), MPP)
    assert found.max() == 1 and found[30, 30] == 1 and found[10, 70] == 0


def test_a_lumen_between_cells_stays_open() -> None:
    ring = disks((120, 120), [(60, 60, 40)]) & ~disks((120, 120), [(60, 60, 28)])
    assert instances_from_probabilities(two_classes(ring), MPP)[60, 60] == 0


def test_sizes_are_in_micrometres() -> None:
    small, large = disks((64, 64), [(32, 32, 5)]), disks((256, 256), [(128, 128, 20)])
    for mask, mpp in ((small, 0.8), (large, 0.2)):
        rules = InstanceRules(min_area_um2=40)
        assert instances_from_probabilities(two_classes(mask), mpp, rules=rules).max() == 1
        assert instances_from_probabilities(two_classes(mask), mpp, rules=InstanceRules(min_area_um2=60)).max() == 0


def test_the_boundary_class_parts_what_distance_cannot() -> None:
    block = np.zeros((40, 60), bool)
    block[10:30, 10:50] = True
    border = np.zeros_like(block)
    border[10:30, 29:31] = True
    probabilities = np.stack([~block, block & ~border, border]).astype(np.float32)
    found = instances_from_probabilities(probabilities, MPP, boundary=2)
    assert found.max() == 2 and (found[block] > 0).mean() > 0.97
    assert len(set(found[20, 12:28])) == 1 and len(set(found[20, 32:48])) == 1


def test_tiles_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    places = [(*rng.uniform(0, 400, 2), rng.uniform(5, 9)) for _ in range(220)]
    probabilities = two_classes(disks((400, 400), places))
    whole = instances_from_probabilities(probabilities, MPP)
    monkeypatch.setattr(module, "_TILE_PX", 150)
    tiled = instances_from_probabilities(probabilities, MPP)
    assert whole.max() > 100 and abs(int(tiled.max()) - int(whole.max())) <= 1
    assert (tiled == whole).mean() > 0.5 and ((tiled > 0) == (whole > 0)).mean() > 0.999


def test_numbers_have_no_gaps() -> None:
    mask = disks((200, 200), [(20, 20, 7), (20, 90, 7), (90, 40, 7), (160, 170, 7), (150, 20, 7)])
    found = instances_from_probabilities(two_classes(mask), MPP)
    assert np.unique(found).tolist() == [0, 1, 2, 3, 4, 5]


def test_nothing_in_gives_nothing_out() -> None:
    probabilities = two_classes(np.zeros((50, 40), bool))
    found = instances_from_probabilities(probabilities, MPP)
    channels, scores = classes_of(found, probabilities)
    table = cell_table(found, MPP, class_ids=channels.astype(np.uint8), score=scores)
    assert found.shape == (50, 40) and not found.any() and len(table) == 0


def test_everything_foreground_is_finite() -> None:
    found = instances_from_probabilities(two_classes(np.ones((50, 40), bool)), MPP)
    assert found.min() >= 1


def test_classes_come_from_the_mean_probability() -> None:
    instances = np.zeros((4, 6), np.int32)
    instances[:, :3], instances[:, 4:] = 1, 2
    probabilities = np.zeros((3, 4, 6), np.float32)
    probabilities[1, :, :3], probabilities[2, :, :3] = 0.2, 0.7
    probabilities[1, :, 4:] = 0.6
    channels, scores = classes_of(instances, probabilities)
    assert channels.tolist() == [2, 1]
    np.testing.assert_allclose(scores, [0.7, 0.6], atol=1e-6)
    channels, scores = classes_of(instances, probabilities, boundary=2)
    assert channels.tolist() == [1, 1]
    np.testing.assert_allclose(scores, [0.9, 0.6], atol=1e-6)


def test_the_table_agrees_with_skimage() -> None:
    rng = np.random.default_rng(0)
    mask = disks((120, 150), [(*rng.uniform(10, 110, 2), rng.uniform(4, 9)) for _ in range(25)])
    found = instances_from_probabilities(two_classes(mask), MPP)
    stain = rng.random(found.shape).astype(np.float32)
    table = cell_table(found, MPP, class_ids=np.ones(int(found.max()), np.uint8), haematoxylin=stain)
    regions = regionprops(found, intensity_image=stain)
    assert len(table) == len(regions) > 5
    for row, region in enumerate(regions):
        assert table.ids[row] == region.label
        np.testing.assert_allclose((table.y[row], table.x[row]), region.centroid)
        assert table.area_um2[row] == pytest.approx(region.area * MPP**2)
        assert table.haematoxylin[row] == pytest.approx(region.intensity_mean, abs=1e-5)
    assert (table.score == 1).all()
