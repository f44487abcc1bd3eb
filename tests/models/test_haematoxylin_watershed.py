"""The method without weights: its threshold against scikit-image, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from skimage.filters import threshold_otsu

from napari_histoseg.core.errors import ModelError
from napari_histoseg.inference.stain import haematoxylin
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import resolve
from napari_histoseg.models.zoo.haematoxylin_watershed import HaematoxylinThreshold, local_mean, otsu

MODEL = "haematoxylin_watershed"
NUCLEUS, STROMA, GLASS = (70, 40, 130), (225, 150, 195), (245, 243, 244)


def test_otsu_agrees_with_skimage() -> None:
    rng = np.random.default_rng(0)
    rows = [
        np.concatenate([rng.normal(0.2, 0.1, 3000), rng.normal(1.0, 0.2, 600)]),
        rng.exponential(1.0, 3600),
        np.concatenate([rng.normal(0, 1, 1800), rng.normal(8, 1, 1800)]),
    ]
    found = otsu(torch.tensor(np.stack(rows), dtype=torch.float32))
    for value, row in zip(found.tolist(), rows, strict=True):
        width = np.ptp(row) / 256
        assert abs(value - threshold_otsu(row.astype(np.float32))) < 1.01 * width


def test_otsu_of_equal_values_is_a_number() -> None:
    assert torch.isfinite(otsu(torch.full((2, 50), 0.7))).all()


def test_nuclei_are_told_from_stroma_and_glass() -> None:
    pixels = np.full((160, 160, 3), GLASS, np.uint8)
    pixels[:, 60:] = STROMA
    y, x = np.mgrid[:160, :160]
    truth = np.zeros((160, 160), bool)
    for cy, cx in ((40, 90), (100, 120), (130, 85)):
        truth |= (y - cy) ** 2 + (x - cx) ** 2 < 12**2
    pixels[truth] = NUCLEUS
    with Predictor(resolve(MODEL), device="cpu") as predictor:
        found = predictor.probabilities(pixels[None])[0].argmax(axis=0) == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("colour", [GLASS, STROMA])
def test_a_window_without_nuclei_stays_empty(colour: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 2, (1, 96, 96, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    with Predictor(resolve(MODEL), device="cpu") as predictor:
        assert (predictor.probabilities(pixels)[0].argmax(axis=0) == 0).all()


def test_the_amount_is_that_of_the_stain_helpers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    density = -np.log((pixels.astype(np.float32) + 1) / 256)
    amount = (density * HaematoxylinThreshold().unmix.flatten().numpy()).sum(axis=-1)
    difference = amount - haematoxylin(pixels)  # they call another brightness white, which adds a constant
    assert np.ptp(difference) < 1e-4


def test_the_neighbourhood_is_averaged_inside_the_image() -> None:
    amount = np.random.default_rng(0).random((90, 200))
    weight = uniform_filter(np.ones_like(amount), 141, mode="constant")
    expected = uniform_filter(amount, 141, mode="constant") / weight
    found = local_mean(torch.tensor(amount[None, None], dtype=torch.float32))[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_has_no_weights_and_learns_no_other_classes() -> None:
    network = get_model(MODEL).build()
    assert not list(network.parameters()) and not network.state_dict()
    with pytest.raises(ModelError, match="cannot learn 5 classes"):
        get_model(MODEL).build(5)
