"""Networks that take squares of one size only: windows, their blending, small images, wrong requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import small_weights

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import Plan, Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.weights import Weights

SIDE = 252


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return small_weights("micronet_252", tmp_path)


def request(weights: Weights, height: int, width: int, **options: object) -> PredictRequest:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = image_from_array(pixels, name="noise", mpp=weights.mpp)
    return PredictRequest(image, weights.model_id, weights, device="cpu", keep_probabilities=True, **options)


class Watched(Predictor):
    """Remembers the sizes of what reaches the network."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, device="cpu")
        self.fed: list[tuple[int, ...]] = []
        self.network.register_forward_pre_hook(lambda _layer, inputs: self.fed.append(tuple(inputs[0].shape[-2:])))


class Ready(Predictors):
    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self._predictor = predictor

    def get(self, weights: Weights, device: str) -> Predictor:
        return self._predictor


@pytest.mark.parametrize(("height", "width", "windows"), [(100, 130, 1), (252, 252, 1), (300, 252, 2), (200, 500, 3)])
def test_every_window_has_exactly_that_size(weights: Weights, height: int, width: int, windows: int) -> None:
    with Watched(weights) as predictor:
        result = run_job(predict(request(weights, height, width), Ready(predictor)))
        assert predictor.fed == [(SIDE, SIDE)] * windows
    assert result.probabilities is not None and result.probabilities.shape == (2, height, width)
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-5)


def test_a_small_image_is_reflected(weights: Weights) -> None:
    asked = request(weights, 100, 130)
    pixels = asked.image.read(0, Box.of_shape((100, 130)))
    filled = np.pad(pixels, ((0, 152), (0, 122), (0, 0)), mode="reflect")
    with Predictor(weights, device="cpu") as predictor:
        expected = predictor.probabilities(filled[None])[0, :, :100, :130]
    np.testing.assert_allclose(run_job(predict(asked)).probabilities, expected, atol=1e-6)


def test_overlapping_windows_are_blended(weights: Weights) -> None:
    asked = request(weights, 252, 440)
    found = run_job(predict(asked)).probabilities
    pixels = asked.image.read(0, Box.of_shape((252, 440)))
    with Predictor(weights, device="cpu") as predictor:
        left, right = (predictor.probabilities(pixels[None, :, x : x + SIDE])[0] for x in (0, 188))
    assert found is not None
    np.testing.assert_allclose(found[:, :, :190], left[:, :, :190], atol=1e-6)
    np.testing.assert_allclose(found[:, :, 250:], right[:, :, 62:], atol=1e-6)
    both = np.stack([left[:, :, 196:244], right[:, :, 8:56]])
    assert (found[:, :, 196:244] >= both.min(axis=0) - 1e-6).all()
    assert (found[:, :, 196:244] <= both.max(axis=0) + 1e-6).all()
    assert np.abs(left[:, :, 196:244] - right[:, :, 8:56]).max() > 1e-3, "windows that agree prove no blending"


def test_another_tile_size_is_refused_and_the_own_one_taken(weights: Weights) -> None:
    with pytest.raises(InputError, match="Micro-Net-252 takes tiles of 252 px only, not 512; leave out the tile size"):
        Plan(request(weights, 300, 300, tile_px=512))
    Plan(request(weights, 300, 300, tile_px=SIDE))


def test_tiles_cannot_be_made_smaller_when_memory_is_short(weights: Weights) -> None:
    assert request(weights, 300, 300).smaller() is None
