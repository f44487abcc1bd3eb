"""Paintings: what is shown is what is to be learned, and every painting can be had again."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import disk

from training.restain import Look, Nuclei, Painting, Textures, make_textures, paint, take_apart

PURPLE, GROUND = (90, 40, 160), (200, 190, 225)
LOOK = Look(side_px=96, area_px=300.0, magnification=(0.9, 1.1))


@pytest.fixture(scope="module")
def nuclei() -> Nuclei:
    image = np.full((128, 160, 3), GROUND, np.uint8)
    instances = np.zeros((128, 160), np.int32)
    for number, (y, x) in enumerate([(20, 20), (20, 38), (60, 90), (100, 40), (95, 130)], start=1):
        place = disk((y, x), 10, shape=instances.shape)
        image[place], instances[place] = PURPLE, number
    return take_apart(image, instances)


@pytest.fixture(scope="module")
def textures() -> Textures:
    return make_textures(count=2, side_px=128, seed=0)


def painting(nuclei: Nuclei, textures: Textures, seed: int, look: Look = LOOK) -> Painting:
    return paint([nuclei], textures, look, np.random.default_rng(seed))


def test_an_image_is_taken_apart(nuclei: Nuclei) -> None:
    inside = nuclei.instances > 0
    assert abs(float(nuclei.density[~inside].mean())) < 0.02
    assert float(nuclei.density[inside].mean()) == pytest.approx(1, abs=0.02)
    assert nuclei.depth[20, 15:25].max() == 1 and nuclei.depth[~inside].max() == 0
    assert nuclei.area_px == pytest.approx(np.pi * 10**2, rel=0.1)


def test_an_image_without_nuclei_can_be_painted(textures: Textures) -> None:
    empty = take_apart(np.full((50, 60, 3), GROUND, np.uint8), np.zeros((50, 60), np.int32))
    for seed in range(8):
        found = painting(empty, textures, seed)
        assert np.isfinite(found.image).all() and not found.labels.any()


def test_textures_have_unit_deviation_and_grow_coarser(textures: Textures) -> None:
    kinds = (textures.fine, textures.middle, textures.coarse)
    for field in kinds:
        assert abs(field.mean()) < 1e-3 and field.std() == pytest.approx(1, abs=1e-3)
    steps = [float(np.abs(np.diff(field, axis=2)).mean()) for field in kinds]
    assert steps[0] > 2 * steps[1] > 4 * steps[2]


def test_a_seed_gives_one_painting(nuclei: Nuclei, textures: Textures) -> None:
    first, again, other = (painting(nuclei, textures, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.image != other.image).any()


def test_paintings_are_images_with_labels(nuclei: Nuclei, textures: Textures) -> None:
    for seed in range(20):
        found = painting(nuclei, textures, seed)
        assert found.image.shape == (96, 96, 3) and found.image.dtype == np.float32
        assert found.image.min() >= 0 and found.image.max() <= 1
        assert set(np.unique(found.labels)) <= {0, 1, 2}
        assert found.weight.min() == 1 and (found.weight[found.labels == 2] >= 2).all()


def test_nuclei_are_darker_than_the_ground_where_labels_say_so(nuclei: Nuclei, textures: Textures) -> None:
    plain = Look(side_px=96, area_px=300.0, magnification=(0.9, 1.1), plain=1.0)
    for seed in range(10):
        found = painting(nuclei, textures, seed, plain)
        red = found.image[..., 0]
        if (found.labels == 1).sum() > 50:
            assert red[found.labels == 1].mean() < red[found.labels == 0].mean() - 0.1


def test_nuclei_that_touch_are_parted_by_a_heavy_boundary(textures: Textures) -> None:
    image = np.full((64, 64, 3), GROUND, np.uint8)
    instances = np.zeros((64, 64), np.int32)
    instances[:, :32], instances[:, 32:] = 1, 2
    halves = take_apart(image, instances)
    look = Look(side_px=64, area_px=halves.area_px, magnification=(1, 1), crowded=0.0)
    weights = [painting(halves, textures, seed, look).weight.max() for seed in range(10)]
    assert max(weights) == 6


def test_magnification_scales_nuclei(nuclei: Nuclei, textures: Textures) -> None:
    def share(area_px: float) -> float:
        look = Look(side_px=96, area_px=area_px, magnification=(1, 1), crowded=0.0)
        rims, insides = 0, 0
        for seed in range(12):
            labels = painting(nuclei, textures, seed, look).labels
            rims, insides = rims + int((labels == 2).sum()), insides + int((labels == 1).sum())
        return rims / insides

    assert share(900.0) < 0.75 * share(200.0)
