"""What every registered model promises; a new model is tested by being registered.

The cards are checked for every model on torch's meta device, in full size and without memory. What a network does is
checked in its smallest legal configuration, once for models that share it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import legal_side_px, lively, small_variant, small_weights
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from napari_histoseg.core.errors import InputError, ModelError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.context import takes_context
from napari_histoseg.models.outputs import auxiliary_outputs, main_output
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.registry import RegisteredModel, list_models
from napari_histoseg.models.weights import Weights, build_network, resolve

MODELS = list_models()


def distinct(models: tuple[RegisteredModel, ...]) -> list[RegisteredModel]:
    """The models without those whose small network is that of a model before."""
    found = {(m.module, str(sorted(small_variant(m).items())), m.spec.input_px): m for m in reversed(models)}
    return list(found.values())[::-1]


def each(models: list[RegisteredModel] | tuple[RegisteredModel, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("model", models, ids=[m.spec.id for m in models])


SMALL = distinct(MODELS)
every_card = each(MODELS)
every_network = each(SMALL)
every_learner = each([m for m in SMALL if m.spec.needs_weights])
every_map_maker = each([m for m in SMALL if m.spec.task != "regression"])


def classes_of(model: RegisteredModel) -> int:
    """Three classes where a model can have any number."""
    return 3 if model.spec.needs_weights and model.spec.task != "regression" else len(model.spec.classes)


def small(model: RegisteredModel, seed: int = 0) -> nn.Module:
    return lively(model.build(classes_of(model), **small_variant(model)), seed)


def noise(model: RegisteredModel, count: int) -> Tensor:
    side = legal_side_px(model)
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def weights_of(model: RegisteredModel, folder: Path, *, half: bool = False) -> Weights:
    return small_weights(model.spec.id, folder, half=half) if model.spec.needs_weights else resolve(model.spec.id)


# The card


@every_card
def test_parameters_and_arithmetic_are_those_of_the_card(model: RegisteredModel) -> None:
    spec = model.spec
    with torch.device("meta" if spec.golden_parameters else "cpu"):
        network = model.build().eval()
        image = torch.zeros(1, 3, *spec.paper_input)
    assert sum(p.numel() for p in network.parameters()) == spec.golden_parameters
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == (spec.golden_parameters if spec.golden_trainable is None else spec.golden_trainable)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    assert counter.get_total_flops() / 1e9 == pytest.approx(spec.gflops, rel=0.01)


@every_card
def test_the_card_is_consistent(model: RegisteredModel) -> None:
    spec = model.spec
    assert spec.title and spec.paper and spec.licence and spec.mpp > 0 and spec.classes
    assert spec.tile_px % spec.required_multiple == 0 and spec.tile_px > 2 * spec.halo_px
    assert all(side % spec.required_multiple == 0 for side in spec.paper_input)
    assert set(spec.variant) <= set(model.options())
    assert spec.needs_weights == (spec.golden_parameters > 0)
    if spec.input_px is not None:
        assert spec.tile_px == spec.input_px and spec.required_multiple == 1 and not spec.is_local


# Sizes


@every_map_maker
def test_logits_have_the_size_of_the_image(model: RegisteredModel) -> None:
    network, count = small(model).eval(), classes_of(model)
    multiple = model.spec.required_multiple
    sizes = [(4 * multiple, 6 * multiple), (5 * multiple, 4 * multiple)]
    for height, width in sizes if model.spec.input_px is None else [(model.spec.input_px,) * 2]:
        with torch.no_grad():
            logits = network(torch.rand(2, 3, height, width))
        assert logits.shape == (2, count, height, width) and logits.dtype == torch.float32
        assert (logits.sum(dim=1) - 1).abs().max() > 0.01, "these look like probabilities, not logits"


@each([m for m in SMALL if m.spec.task == "regression"])
def test_scores_lie_between_0_and_1(model: RegisteredModel) -> None:
    with torch.no_grad():
        scores = small(model).eval()(noise(model, 2))
    assert scores.shape == (2,) and scores.dtype == torch.float32
    assert ((scores > 0) & (scores < 1)).all()


@each([m for m in SMALL if m.spec.input_px is not None or m.spec.required_multiple > 1])
def test_a_wrong_size_is_answered_with_the_right_one(model: RegisteredModel) -> None:
    multiple, exact = model.spec.required_multiple, model.spec.input_px
    height, width = 4 * multiple + 1, 5 * multiple
    message = f"multiples of {multiple} .*not {height} x {width}; pad to {5 * multiple} x {5 * multiple}"
    with pytest.raises(ModelError, match=message if exact is None else f"exactly {exact} x {exact} .*not 5 x 5"):
        small(model)(torch.rand(2, 3, height, width))


# Training


def training_loss(network: nn.Module, image: Tensor) -> Tensor:
    """A plain loss of all outputs."""
    output = network(image)
    out = main_output(output)
    if out.dim() == 1:
        return (out - 0.5).abs().mean()
    labels = torch.randint(0, out.shape[1], out[:, 0].shape, generator=torch.Generator().manual_seed(1))
    return torch.stack([functional.cross_entropy(x, labels) for x in (out, *auxiliary_outputs(output))]).sum()


@every_learner
def test_gradients_are_finite_and_reach_every_parameter(model: RegisteredModel) -> None:
    network = small(model).train()
    training_loss(network, noise(model, 2)).backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} has no gradient"
            assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"
        else:
            assert parameter.grad is None, f"{name} is frozen and yet has a gradient"


@every_learner
def test_one_image_can_be_trained_on(model: RegisteredModel) -> None:
    loss = training_loss(small(model).train(), noise(model, 1))
    loss.backward()
    assert torch.isfinite(loss)


@every_learner
def test_evaluation_gives_one_tensor_and_does_not_change_the_network(model: RegisteredModel) -> None:
    network = small(model).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.no_grad():
        assert isinstance(network(noise(model, 1)), Tensor)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


# Weights and prediction


@every_learner
def test_saved_weights_give_the_same_network(model: RegisteredModel, tmp_path: Path) -> None:
    image = noise(model, 1)
    saved = lively(model.build(**small_variant(model))).eval()
    loaded = build_network(weights_of(model, tmp_path))
    halved = build_network(weights_of(model, tmp_path, half=True))
    with torch.no_grad():
        expected, found, rounded = saved(image), loaded(image), halved(image)
    assert torch.equal(found, expected)
    assert 0 < (rounded - expected).square().mean().sqrt() < 0.05 * expected.square().mean().sqrt()


@every_map_maker
def test_the_predictor_takes_any_size(model: RegisteredModel, tmp_path: Path) -> None:
    exact = model.spec.input_px
    with Predictor(weights_of(model, tmp_path), device="cpu") as predictor:
        for height, width in ((1, 1), (7, 33), (70, 41)) if exact is None else ((33, 41),):
            batch = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
            probabilities = predictor.probabilities(batch)
            assert probabilities.shape == (1, len(predictor.classes), height, width)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        if exact is not None:
            with pytest.raises(InputError, match=f"takes {exact} x {exact} pixels at once, not {exact + 1} x 5"):
                predictor.probabilities(np.zeros((1, exact + 1, 5, 3), np.uint8))


@each([m for m in SMALL if m.spec.task == "regression"])
def test_the_predictor_scores(model: RegisteredModel, tmp_path: Path) -> None:
    side = legal_side_px(model)
    batch = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    with Predictor(weights_of(model, tmp_path), device="cpu") as predictor:
        scores = predictor.scores(batch)
    assert scores.shape == (2,) and scores.dtype == np.float32 and ((scores > 0) & (scores < 1)).all()


@each([m for m in SMALL if takes_context(m.spec)])
def test_with_a_context_margin_the_centre_is_answered(model: RegisteredModel) -> None:
    margin = model.spec.required_multiple
    plain, central = small(model).eval(), model.build(classes_of(model), **small_variant(model), context_margin=margin)
    central.load_state_dict(plain.state_dict())
    image = noise(model, 1)
    with torch.no_grad():
        torch.testing.assert_close(central.eval()(image), plain(image)[..., margin:-margin, margin:-margin])


@each([m for m in SMALL if m.spec.is_local])
def test_tiled_equals_whole(model: RegisteredModel, tmp_path: Path) -> None:
    wider = {"width": 8} if "width" in model.options() else {}  # so that no layer falls silent
    weights = small_weights(model.spec.id, tmp_path, **wider)
    tile_px = max(256, 2 * model.spec.halo_px + 4 * model.spec.required_multiple)
    coarse = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    pixels = coarse.repeat(11, axis=0).repeat(11, axis=1)[: tile_px + 171, : tile_px + 90]
    image = image_from_array(pixels, name="noise", mpp=weights.mpp)
    with Predictor(weights, device="cpu") as predictor:
        whole = predictor.probabilities(pixels[None])[0]
    tiled = run_job(
        predict(PredictRequest(image, model.spec.id, weights, device="cpu", tile_px=tile_px, keep_probabilities=True))
    )
    assert tiled.probabilities is not None and tiled.labels is not None
    assert whole.std(axis=(1, 2)).max() > 0.01, "a flat map proves nothing"
    assert np.abs(tiled.probabilities - whole).max() <= 1e-4
    assert (tiled.labels == np.array([c.id for c in weights.classes])[whole.argmax(axis=0)]).mean() > 0.9999
