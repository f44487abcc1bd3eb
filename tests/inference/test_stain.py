"""Stain estimation and normalisation against torchstain, and its behaviour where there is nothing to estimate."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2hed

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.stain import (
    REFERENCE,
    concentrations,
    estimate_image_stains,
    estimate_stains,
    haematoxylin,
    normalise,
    normalised_image,
)


def painted(side_px: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """Random amounts of the reference stains, which the estimate must find again."""
    rng = np.random.default_rng(seed)
    amounts = rng.exponential(0.6, (side_px, side_px, 2)) + 0.05
    amounts[: side_px // 2, :, 0] *= rng.random((side_px // 2, side_px)) < 0.5
    density = amounts @ REFERENCE.vectors
    return np.clip(240 * np.exp(-density) - 1, 0, 255).round().astype(np.uint8)


def monuseg(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    with zipfile.ZipFile(folder / "monuseg_train.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:count]
        return [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))[:500, :500] for name in names]


def test_the_stains_that_were_painted_are_found() -> None:
    stains = estimate_stains(painted())
    assert stains.is_estimated
    cosines = (stains.vectors * REFERENCE.vectors).sum(axis=1) / np.linalg.norm(REFERENCE.vectors, axis=1)
    assert (cosines > 0.99).all()
    np.testing.assert_allclose(np.linalg.norm(stains.vectors, axis=1), 1, atol=1e-9)


def test_real_images_agree_with_torchstain(shared_data: Path) -> None:
    normalizers = pytest.importorskip("torchstain.numpy.normalizers")
    agreed = 0
    for image in monuseg(shared_data, 6):
        expected, _, _ = normalizers.NumpyMacenkoNormalizer().normalize(image)
        stains = estimate_stains(image)
        difference = np.abs(normalise(image, stains).astype(int) - expected.astype(int))
        agreed += int(difference.max() <= 1)
    assert agreed == 6


def test_the_order_of_the_pixels_does_not_matter() -> None:
    image = painted()
    for turned in (image[::-1], np.rot90(image)):
        np.testing.assert_allclose(estimate_stains(turned).vectors, estimate_stains(image).vectors, atol=1e-6)


@pytest.mark.parametrize("value", [(255, 255, 255), (0, 0, 0), (150, 60, 130)])
def test_an_image_of_one_colour_stays_as_it_is(value: tuple[int, int, int]) -> None:
    image = np.full((64, 64, 3), value, np.uint8)
    stains = estimate_stains(image)
    assert not stains.is_estimated
    np.testing.assert_array_equal(normalise(image, stains), image)


def test_too_little_tissue_changes_nothing() -> None:
    image = np.full((128, 128, 3), 250, np.uint8)
    image[:20, :20] = painted(20)
    assert not estimate_stains(image).is_estimated


def test_normalising_twice_changes_little() -> None:
    image = painted()
    once = normalise(image, estimate_stains(image))
    twice = normalise(once, estimate_stains(once))
    assert np.abs(once.astype(int) - twice.astype(int)).mean() < 3


def test_tiles_with_the_stains_of_the_slide_fit_together() -> None:
    image = painted()
    stains = estimate_stains(image)
    np.testing.assert_array_equal(normalise(image, stains)[:40, 8:], normalise(image[:40, 8:], stains))


def test_a_large_image_is_sampled() -> None:
    pixels = np.tile(painted(128), (10, 10, 1))
    image = image_from_array(pixels, name="large", mpp=0.5)
    sampled, full = estimate_image_stains(image), estimate_stains(pixels)
    np.testing.assert_allclose(sampled.vectors, full.vectors, atol=0.02)
    region = estimate_image_stains(image, Box(0, 0, 128, 128))
    np.testing.assert_allclose(region.vectors, estimate_stains(pixels[:128, :128]).vectors)
    with pytest.raises(InputError, match="does not meet 'large'"):
        estimate_image_stains(image, Box(5000, 5000, 5100, 5100))


def test_an_image_read_with_standard_stains() -> None:
    pixels = painted(128)
    image = image_from_array(pixels, name="image", mpp=0.5)
    normalised, box = normalised_image(image), Box(10, 20, 60, 90)
    assert (normalised.content_id, normalised.mpp) == (image.content_id, 0.5)
    np.testing.assert_array_equal(normalised.read(0, box), normalise(pixels, estimate_stains(pixels))[box.slices])


def test_amounts_rebuild_the_density() -> None:
    image = painted()
    stains = estimate_stains(image)
    rebuilt = 240 * np.exp(-(concentrations(image, stains) @ stains.vectors)) - 1
    assert np.abs(rebuilt - image).mean() < 3


def test_haematoxylin_follows_skimage() -> None:
    image = painted()
    ours, theirs = haematoxylin(image), rgb2hed(image)[..., 0]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    assert abs(float(haematoxylin(np.full((2, 2, 3), 239, np.uint8)).max())) < 1e-6
