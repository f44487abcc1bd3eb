"""The predictor: from pixels to probabilities on a device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import small_weights

from napari_histoseg.core.errors import InputError, WeightsError
from napari_histoseg.models.predictor import IMAGENET_MEAN, IMAGENET_SD, Predictor, add_self_test, find_device
from napari_histoseg.models.weights import Weights, build_network, read_weights


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return small_weights("unet", tmp_path, batch_norm=True)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def test_probabilities_are_the_softmax_of_the_network(weights: Weights) -> None:
    batch = noise(64, 96)
    image = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = build_network(weights)(image).softmax(dim=1).numpy()
    with Predictor(weights, device="cpu") as predictor:
        np.testing.assert_allclose(predictor.probabilities(batch), expected, atol=1e-5)


def test_imagenet_normalisation(weights: Weights) -> None:
    batch = noise(32, 32)
    image = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    image = (image - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_SD).view(3, 1, 1)
    with torch.no_grad():
        expected = build_network(weights)(image).softmax(dim=1).numpy()
    with Predictor(replace(weights, card=replace(weights.card, normalisation="imagenet")), device="cpu") as predictor:
        np.testing.assert_allclose(predictor.probabilities(batch), expected, atol=1e-5)


def test_padding_is_by_reflection_and_cut_again(weights: Weights) -> None:
    batch = noise(50, 61)
    padded = np.pad(batch, ((0, 0), (0, 14), (0, 3), (0, 0)), mode="reflect")
    with Predictor(weights, device="cpu") as predictor:
        expected = predictor.probabilities(padded)[..., :50, :61]
        np.testing.assert_array_equal(predictor.probabilities(batch), expected)


def test_the_same_input_gives_the_same_bits(weights: Weights) -> None:
    batch = noise(160, 160)
    with Predictor(weights, device="cpu") as first, Predictor(weights, device="cpu") as second:
        np.testing.assert_array_equal(first.probabilities(batch), second.probabilities(batch))


def test_the_self_test_lets_the_right_weights_pass(weights: Weights) -> None:
    tested = add_self_test(weights)
    assert tested.path is not None and tested.card.self_test is not None
    assert np.shape(tested.card.self_test["probabilities"]) == (5, 4, 4)
    Predictor(read_weights(tested.path), device="cpu").close()


@pytest.mark.parametrize("change", [{"normalisation": "imagenet"}, {"self_test": {"probabilities": [[[0.2]]]}}])
def test_the_self_test_refuses_a_network_that_computes_something_else(
    weights: Weights, change: dict[str, object]
) -> None:
    path = add_self_test(weights).path
    assert path is not None
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(WeightsError, match="'small' do not reproduce the self-test"):
        Predictor(read_weights(path), device="cpu")


def test_a_layer_can_be_broken_off(weights: Weights) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise TimeoutError

    predictor = Predictor(weights, device="cpu", before_layer=stop)
    with pytest.raises(TimeoutError):
        predictor.probabilities(noise(32, 32))
    assert calls == 5
    predictor.probabilities(noise(32, 32))


def test_devices() -> None:
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="no device 'gpu'"):
        find_device("gpu")
    with pytest.raises(InputError, match="'cuda:99' is not there"):
        find_device("cuda:99")


def test_closing_lets_go_of_the_network(weights: Weights) -> None:
    predictor = Predictor(weights, device="cpu")
    with predictor:
        assert any(True for _ in predictor.network.parameters())
    assert not any(True for _ in predictor.network.parameters())
