"""What every registered model promises; a new model is tested by being registered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively, options_of, small_variant, small_weights
from torch.nn import functional

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.registry import RegisteredModel, list_models
from napari_histoseg.models.weights import build_network

MODELS = list_models()
every_model = pytest.mark.parametrize("model", MODELS, ids=[m.spec.id for m in MODELS])
local_models = [m for m in MODELS if m.spec.is_local]
learning_models = [m for m in MODELS if m.spec.needs_weights]
every_learning_model = pytest.mark.parametrize("model", learning_models, ids=[m.spec.id for m in learning_models])


def small(model: RegisteredModel, num_classes: int | None = None) -> torch.nn.Module:
    return lively(model.build(num_classes, **small_variant(model)))


@every_model
def test_parameter_count(model: RegisteredModel) -> None:
    with torch.device("meta"):
        network = model.build()
    assert sum(p.numel() for p in network.parameters()) == model.spec.golden_parameters


@every_model
def test_spec_is_consistent(model: RegisteredModel) -> None:
    spec = model.spec
    assert spec.tile_px % spec.required_multiple == 0 and spec.tile_px > 2 * spec.halo_px
    assert set(spec.variant) <= options_of(model)
    assert spec.title and spec.paper and spec.licence and spec.mpp > 0


@every_model
@pytest.mark.parametrize("factors", [(4, 6), (5, 4)])
def test_logits_have_the_size_of_the_image(model: RegisteredModel, factors: tuple[int, int]) -> None:
    height, width = (factor * model.spec.required_multiple for factor in factors)
    count = 3 if model.spec.needs_weights else len(model.spec.classes)
    with torch.no_grad():
        logits = small(model, count).eval()(torch.rand(2, 3, height, width))
    assert logits.shape == (2, count, height, width) and logits.dtype == torch.float32
    assert (logits.sum(dim=1) - 1).abs().max() > 0.01, "these look like probabilities, not logits"


@every_model
def test_a_wrong_size_is_answered_with_the_right_one(model: RegisteredModel) -> None:
    multiple = model.spec.required_multiple
    if multiple == 1:
        pytest.skip("takes every size")
    with pytest.raises(ModelError, match=f"multiples of {multiple}.*{4 * multiple + 1} x {5 * multiple}.*pad to"):
        small(model)(torch.rand(1, 3, 4 * multiple + 1, 5 * multiple))


@every_learning_model
def test_gradients_are_finite_and_reach_every_parameter(model: RegisteredModel) -> None:
    network = small(model, 3).train()
    side = 4 * model.spec.required_multiple
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, side, side), generator=generator)
    loss = functional.cross_entropy(network(torch.rand(2, 3, side, side, generator=generator)), labels)
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"


@every_learning_model
def test_one_image_can_be_trained_on(model: RegisteredModel) -> None:
    side = 4 * model.spec.required_multiple
    loss = small(model, 2).train()(torch.rand(1, 3, side, side)).square().mean()
    loss.backward()
    assert torch.isfinite(loss)


@every_model
def test_saved_weights_give_the_same_network(model: RegisteredModel, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 4 * model.spec.required_multiple, 4 * model.spec.required_multiple)
    loaded = build_network(small_weights(model.spec.id, tmp_path))
    with torch.no_grad():
        assert torch.equal(loaded(image), small(model).eval()(image))


@every_model
def test_the_predictor_takes_any_size(model: RegisteredModel, tmp_path: Path) -> None:
    with Predictor(small_weights(model.spec.id, tmp_path), device="cpu") as predictor:
        for height, width in ((1, 1), (7, 33), (70, 41)):
            batch = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
            probabilities = predictor.probabilities(batch)
            assert probabilities.shape == (1, len(predictor.classes), height, width)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@every_model
def test_evaluation_does_not_change_the_network(model: RegisteredModel) -> None:
    network = small(model).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    side = 4 * model.spec.required_multiple
    network(torch.rand(1, 3, side, side))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("model", local_models, ids=[m.spec.id for m in local_models])
def test_tiled_equals_whole(model: RegisteredModel, tmp_path: Path) -> None:
    weights = small_weights(model.spec.id, tmp_path)
    tile_px = max(256, 2 * model.spec.halo_px + 4 * model.spec.required_multiple)
    pixels = np.random.default_rng(0).integers(0, 256, (tile_px + 171, tile_px + 90, 3), dtype=np.uint8)
    image = image_from_array(pixels, name="noise", mpp=weights.mpp)
    with Predictor(weights, device="cpu") as predictor:
        whole = predictor.probabilities(pixels[None])[0]
    tiled = run_job(
        predict(PredictRequest(image, model.spec.id, weights, device="cpu", tile_px=tile_px, keep_probabilities=True))
    )
    assert tiled.probabilities is not None and tiled.labels is not None
    assert whole.std(axis=(1, 2)).max() > 0.02, "a flat map proves nothing"
    assert np.abs(tiled.probabilities - whole).max() <= 1e-4
    assert (tiled.labels == np.array([c.id for c in weights.classes])[whole.argmax(axis=0)]).mean() > 0.9999
