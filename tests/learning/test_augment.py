"""Augmentation keeps image and labels together, never invents labels, and repeats with its seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.color import combine_stains, separate_stains
from torch import Generator

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.augment import (
    Appearance,
    Placement,
    dihedral,
    gaussian_blur,
    random_crop,
    random_scale,
    vary_appearance,
    vary_colour,
    vary_stain,
)
from napari_histoseg.learning.batch import Batch

_STRONG_PLACEMENT = Placement(scale=(0.6, 1.6), jitter=0.2, rotation=0.7)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def blobs(count: int = 4, side_px: int = 64) -> Batch:
    """Smooth images whose labels are a threshold of their first channel, so that misalignment shows."""
    noise = np.random.default_rng(0).random((count, 3, side_px, side_px))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 4, 4), mode="mirror")
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    image = torch.from_numpy(smooth.astype(np.float32))
    return Batch(image, (image[:, 0] > image[:, 0].median()).long() * 2)


def test_crops_keep_labels_on_their_pixels() -> None:
    batch = blobs()
    threshold = batch.image[:, 0].median()
    crop = random_crop(batch, _STRONG_PLACEMENT, seeded(), size_px=48, scale=1.3)
    known = crop.labels != IGNORE
    away_from_edge = (crop.image[:, 0] - threshold).abs() > 0.05
    agree = ((crop.image[:, 0] > threshold).long() * 2 == crop.labels)[known & away_from_edge]
    assert agree.numel() > 4000
    assert agree.float().mean() > 0.99


def test_a_crop_that_is_neither_turned_by_odd_angles_nor_scaled_keeps_pixels_exactly() -> None:
    batch = blobs(8, 32)
    crop = random_crop(batch, Placement(), seeded(), size_px=32)
    for i in range(8):
        originals = [dihedral(Batch(batch.image[i : i + 1], batch.labels[i : i + 1]), k) for k in range(8)]
        matches = [
            k
            for k, original in enumerate(originals)
            if torch.equal(original.labels[0], crop.labels[i])
            and torch.allclose(original.image[0], crop.image[i], atol=1e-4)
        ]
        assert len(matches) == 1


def test_all_eight_orientations_occur() -> None:
    one = blobs(1, 16)
    batch = Batch(one.image.repeat(200, 1, 1, 1), one.labels.repeat(200, 1, 1))
    crop = random_crop(batch, Placement(), seeded(), size_px=16)
    seen = {labels.numpy().tobytes() for labels in crop.labels}
    assert len(seen) == 8


def test_labels_beyond_the_border_are_ignored_and_weightless() -> None:
    image = torch.rand(6, 3, 32, 32, generator=seeded())
    batch = Batch(image, torch.ones(6, 32, 32).long(), torch.ones(6, 32, 32), torch.ones(6, 3, 32, 32) / 3, None)
    crop = random_crop(batch, Placement(rotation=1.0), seeded(1), size_px=32)
    outside = crop.labels == IGNORE
    corners = crop.labels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert 0.02 < outside.float().mean() < 0.3
    assert (corners == IGNORE).float().mean() > 0.8
    assert crop.weight is not None
    assert (crop.weight[outside] == 0).all() and (crop.weight[~outside] == 1).all()
    assert torch.isfinite(crop.image).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_label_appears_that_was_not_there(seed: int) -> None:
    labels = torch.randint(2, (4, 40, 40), generator=seeded(seed)) * 4 + 3
    batch = Batch(torch.rand(4, 3, 40, 40, generator=seeded(seed)), labels)
    crop = random_crop(batch, _STRONG_PLACEMENT, seeded(seed), size_px=32, scale=0.8)
    assert set(crop.labels.unique().tolist()) <= {3, 7, IGNORE}


def test_scale_magnifies() -> None:
    image = torch.zeros(1, 3, 64, 64)
    labels = torch.zeros(1, 64, 64).long()
    labels[:, 28:36, 28:36] = 1
    crop = random_crop(Batch(image, labels), Placement(), seeded(), size_px=64, scale=2.0)
    assert (crop.labels == 1).sum().item() == 256


def test_same_seed_same_batch_and_other_seed_another() -> None:
    def make(seed: int) -> Batch:
        generator = seeded(seed)
        scale = random_scale(_STRONG_PLACEMENT, generator)
        crop = random_crop(blobs(), _STRONG_PLACEMENT, generator, size_px=32, scale=scale)
        return Batch(vary_appearance(crop.image, Appearance(), generator), crop.labels)

    assert torch.equal(make(1).image, make(1).image) and torch.equal(make(1).labels, make(1).labels)
    assert not torch.equal(make(1).image, make(2).image)


@pytest.mark.parametrize("orientation", range(8))
def test_orientations_are_undone_by_their_inverse(orientation: int) -> None:
    batch = blobs(2, 16)
    inverse = orientation if orientation >= 4 else (4 - orientation) % 4
    turned = dihedral(batch, orientation)
    back = dihedral(turned, inverse) if orientation < 4 else _undo_mirrored(turned, orientation)
    assert torch.equal(back.image, batch.image) and torch.equal(back.labels, batch.labels)


def _undo_mirrored(batch: Batch, orientation: int) -> Batch:
    return dihedral(dihedral(batch, (4 - orientation % 4) % 4), 4)


def test_colours_change_only_as_strongly_as_asked() -> None:
    image = torch.rand(3, 3, 16, 16, generator=seeded()) * 0.9 + 0.05
    strength = torch.tensor([0.0, 0.0, 1.0])
    for vary in (vary_stain, vary_colour):
        out = vary(image, Appearance(grey=0.0), seeded(1), strength=strength)
        torch.testing.assert_close(out[:2], image[:2], atol=1e-3, rtol=0)
        assert (out[2] - image[2]).abs().mean() > 0.01
        assert out.min() >= 0 and out.max() <= 1


def test_stain_amounts_scale_as_colour_deconvolution_says() -> None:
    """Twice the stain is twice the concentration; scikit-image does the deconvolution."""
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    image = torch.rand(1, 3, 8, 8, generator=seeded()) * 0.4 + 0.5
    out = vary_stain(image, Appearance(stain=0.5, stain_hue=0.0), seeded(3), strength=torch.ones(1))
    before = separate_stains(image[0].permute(1, 2, 0).double().numpy(), np.linalg.inv(stains))
    amounts = np.exp((2 * torch.rand(1, 3, generator=seeded(3)).numpy() - 1) * 0.5)
    expected = combine_stains(np.maximum(before, 0) * amounts, stains)
    inside = (before > 0).all(axis=2)
    assert inside.any()
    assert out[0].permute(1, 2, 0).numpy()[inside] == pytest.approx(expected[inside], abs=0.02)


def test_white_stays_white_under_stain_changes() -> None:
    out = vary_stain(torch.ones(4, 3, 4, 4), Appearance(), seeded(), strength=torch.ones(4))
    torch.testing.assert_close(out, torch.ones(4, 3, 4, 4))


def test_blur_agrees_with_scipy() -> None:
    image = torch.rand(1, 3, 32, 32, generator=seeded())
    expected = ndimage.gaussian_filter(image.numpy(), (0, 0, 1.5, 1.5), mode="mirror", radius=(0, 0, 5, 5))
    assert gaussian_blur(image, 1.5).numpy() == pytest.approx(expected, abs=1e-5)


def test_random_scale_stays_in_range_and_covers_it() -> None:
    generator = seeded()
    scales = [random_scale(_STRONG_PLACEMENT, generator) for _ in range(500)]
    assert 0.6 <= min(scales) < 0.65 and 1.5 < max(scales) <= 1.6
    assert abs(np.mean(np.log(scales)) - math.log(0.6 * 1.6) / 2) < 0.05
