"""A few edits never ruin evaluation mode: networks with batch normalisation, with good statistics and with none."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.adam import Adam
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.batch_norm import estimate_statistics
from napari_histoseg.learning.finetune import FineTuneRequest, FineTuneResult, finetune
from napari_histoseg.learning.fit import fit
from napari_histoseg.learning.freeze import train_mode
from napari_histoseg.learning.losses import cross_entropy
from napari_histoseg.learning.optim import constant
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.learning.snapshot import EditSnapshot, TrainingImage
from napari_histoseg.models.outputs import main_output
from napari_histoseg.models.weights import RANDOM, Weights, WeightsCard, build_network, save_weights

NETWORKS = [("unet", {"width": 4, "batch_norm": True}), ("unetpp", {"width": 4})]
every_network = pytest.mark.parametrize(("model_id", "variant"), NETWORKS, ids=[name for name, _ in NETWORKS])
PLAN = FineTunePlan(steps=25, minutes=60, batch_size=3, tile_px=32, learning_rate=3e-3, max_change=1.0)
FROM_SCRATCH = PLAN.model_copy(update={"steps": 50, "learning_rate": 1e-2})
DARK = -100


@cache
def scene(seed: int, brightness: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dark blobs (class 2) on light ground (class 1), uint8 (48, 64, 3) and labels (48, 64)."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 8)) < 0.4
    labels = np.where(np.kron(coarse, np.ones((8, 8), bool)), 2, 1).astype(np.uint8)
    light = np.where(labels == 2, 70, 190) + brightness
    pixels = light[..., None] + rng.integers(-40, 40, (48, 64, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def tensors(seeds: range, brightness: int = 0) -> tuple[Tensor, Tensor]:
    images, labels = zip(*(scene(seed, brightness) for seed in seeds), strict=True)
    return torch.from_numpy(np.stack(images)).movedim(-1, 1) / 255, torch.from_numpy(np.stack(labels)).long()


def accuracy(network: nn.Module, seeds: range) -> float:
    """Share of right pixels in evaluation mode."""
    image, labels = tensors(seeds)
    with torch.no_grad():
        answer = main_output(network.eval()(image)).argmax(dim=1)
    return float((answer == labels).float().mean())


def mistake(network: nn.Module, seeds: range) -> float:
    """Cross-entropy in the mode the network is in."""
    image, labels = tensors(seeds)
    with torch.no_grad():
        return cross_entropy(main_output(network(image)), labels).item()


def trained(network: nn.Module, steps: int) -> nn.Module:
    """The network after some steps on six scenes in plain training mode."""
    image, labels = tensors(range(6))
    rng = np.random.default_rng(0)

    def batches() -> Any:
        while True:
            chosen = rng.choice(6, 3, replace=False)
            yield Batch(image[chosen], labels[chosen])

    def loss(output: Any, batch: Batch) -> Tensor:
        return cross_entropy(main_output(output), batch.labels)

    optimizer = Adam(network.parameters(), lr=1e-2)
    for _ in fit(
        network,
        batches(),
        loss=loss,
        optimizer=optimizer,
        schedule=constant,
        steps=steps,
        device="cpu",
        mode=train_mode,
    ):
        pass
    return network


def weights_of(model_id: str, variant: dict[str, Any], name: str = RANDOM) -> Weights:
    return Weights(name, model_id, None, WeightsCard(name, model_id, EPITHELIUM.classes, 1.0, variant=variant))


def edits(seed: int, brightness: int = 0) -> TrainingImage:
    """Three strokes of 8 px on a scene."""
    pixels, truth = scene(seed, brightness)
    labels, state = np.full(truth.shape, IGNORE, np.uint8), np.zeros(truth.shape, np.uint8)
    for y, x in ((5, 6), (20, 30), (35, 50)):
        at = (slice(y, y + 8), slice(x, x + 8))
        labels[at], state[at] = truth[at], 1
    return TrainingImage(image_from_array(pixels, name=f"scene {seed}", mpp=1.0), labels, state)


def retrained(parent: Weights, *items: TrainingImage, plan: FineTunePlan = PLAN) -> tuple[nn.Module, FineTuneResult]:
    result = run_job(finetune(FineTuneRequest(parent, EditSnapshot(items, EPITHELIUM.classes), plan)))
    network = build_network(parent)
    network.load_state_dict(dict(result.state))
    return network, result


@pytest.fixture(scope="module", params=NETWORKS, ids=[name for name, _ in NETWORKS])
def parent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A network that has learned the scenes, with statistics that fit."""
    model_id, variant = request.param
    random = weights_of(model_id, variant, "good")
    network = trained(build_network(random), 40)
    list(estimate_statistics(network, iter(tensors(range(6))[0].split(3))))
    return save_weights(tmp_path_factory.mktemp(model_id) / "good.safetensors", network.state_dict(), random.card)


def test_a_few_edits_of_one_odd_image_do_not_ruin_a_good_network(parent: Weights) -> None:
    """Three strokes on an image much darker than the others, whose own statistics would mislead on all others."""
    before = accuracy(build_network(parent), range(10, 14))
    assert before > 0.9
    network, _ = retrained(parent, edits(20, brightness=DARK))
    assert accuracy(network, range(10, 14)) > before - 0.15
    statistics = dict(build_network(parent).named_buffers())
    assert statistics and all(torch.equal(value, statistics[key]) for key, value in network.named_buffers())


def test_the_same_edits_do_ruin_it_when_statistics_follow_them(
    parent: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_histoseg.learning.finetune.train_mode_frozen_statistics", train_mode)
    before = accuracy(build_network(parent), range(10, 14))
    network, _ = retrained(parent, edits(20, brightness=DARK))
    assert accuracy(network, range(10, 14)) < before - 0.25


@every_network
def test_statistics_lag_behind_weights_and_are_found_again(model_id: str, variant: dict[str, Any]) -> None:
    network = trained(build_network(weights_of(model_id, variant)), 4)
    lagging = mistake(network, range(6))
    before = {key: value.clone() for key, value in network.named_parameters()}
    assert list(estimate_statistics(network, iter(tensors(range(6))[0].split(3)))) == [1, 2]
    assert not network.training
    found = mistake(network, range(6))
    assert all(torch.equal(before[key], value) for key, value in network.named_parameters())
    by_batch = mistake(network.train(), range(6))
    assert lagging > by_batch + 0.05
    assert found == pytest.approx(by_batch, abs=0.005)


@every_network
def test_an_untrained_network_learns_from_a_few_edits_and_works_in_evaluation_mode(
    model_id: str, variant: dict[str, Any]
) -> None:
    network, result = retrained(weights_of(model_id, variant), edits(0), edits(1), edits(2), plan=FROM_SCRATCH)
    assert accuracy(network, range(10, 14)) > 0.85
    assert result.plan.blend == 1 and result.blend == 1
    assert "The parent was untrained, so nothing of it was kept." in result.notes
    assert not any(score.kind == "agreement" for score in result.scores)


def test_statistics_are_the_plain_mean_over_batches() -> None:
    layer = nn.BatchNorm2d(2, momentum=0.3)
    model = nn.Sequential(layer, nn.Dropout(0.9))
    batches = [torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(k)) * (k + 1) for k in range(3)]
    list(estimate_statistics(model, iter(batches)))
    expected = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    torch.testing.assert_close(layer.running_mean, expected)
    assert layer.momentum == 0.3 and not model.training


def test_a_network_without_batch_norm_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.InstanceNorm2d(2))
    assert list(estimate_statistics(model, iter([torch.rand(1, 3, 4, 4)]))) == []
