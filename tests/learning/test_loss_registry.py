"""A loss written as a list of names is the sum of those losses, on every output of the network."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning import image_losses, losses, tversky
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.class_weights import batch_class_weights
from napari_histoseg.learning.loss_registry import LOSSES, build_loss

SCORES = ("l1", "smooth_l1", "mse")


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    labels[0, :2] = IGNORE
    weight = torch.rand(2, 8, 8, generator=generator)
    return Batch(torch.rand(2, 3, 8, 8, generator=generator), labels, weight, score=torch.tensor([0.2, 0.7]))


def test_a_sum_of_named_losses(logits: torch.Tensor, batch: Batch) -> None:
    built = build_loss(
        [
            {"name": "focal", "gamma": 1, "class_weight": "log_freq"},
            {"name": "dice", "weight": 0.5},
            {"name": "smoothness", "weight": 0.1, "edge_aware": True},
        ]
    )
    weights = batch_class_weights(batch.labels, 3, "log_freq")
    expected = (
        losses.focal(logits, batch.labels, gamma=1, weight=batch.weight, class_weight=weights)
        + 0.5 * losses.soft_dice(logits, batch.labels, weight=batch.weight)
        + 0.1 * image_losses.smoothness(logits, image=batch.image)
    )
    torch.testing.assert_close(built(logits, batch), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_one_number_with_a_gradient(name: str, logits: torch.Tensor, batch: Batch) -> None:
    output = torch.rand(2, requires_grad=True) if name in SCORES else logits
    value = build_loss([{"name": name}])(output, batch)
    value.backward()
    assert value.shape == () and value.item() > 0
    assert output.grad is not None and output.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in (*SCORES, "smoothness")])
def test_without_any_known_pixel_every_loss_is_zero(name: str, logits: torch.Tensor, batch: Batch) -> None:
    unknown = Batch(batch.image, torch.full_like(batch.labels, IGNORE))
    value = build_loss([{"name": name}])(logits, unknown)
    value.backward()
    assert value.item() == 0 and logits.grad is not None and (logits.grad == 0).all()


def test_gaps_between_two_regions_count_more(logits: torch.Tensor, batch: Batch) -> None:
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, :, :3], labels[0, :, 6:], labels[1, 0] = 1, 2, IGNORE
    gapped = replace(batch, labels=labels)
    class_weight = [0.5, 1.0, 2.0]
    weight = torch.tensor(class_weight)[labels.masked_fill(labels == IGNORE, 0)]
    weight[0, :, 3:6] += 10 * math.exp(-16 / 50)  # d1 + d2 is 4 in the gap
    expected = losses.cross_entropy(logits, labels, weight=weight * batch.weight)
    built = build_loss([{"name": "border_cross_entropy", "class_weight": class_weight}])
    torch.testing.assert_close(built(logits, gapped), expected)


def test_tversky_presets_and_changes_to_them(logits: torch.Tensor, batch: Batch) -> None:
    for name, preset in tversky.PRESETS.items():
        expected = tversky.focal_tversky(logits, batch.labels, weight=batch.weight, **vars(preset))
        torch.testing.assert_close(build_loss([{"name": "focal_tversky", "preset": name}])(logits, batch), expected)
    changed = build_loss([{"name": "focal_tversky", "preset": "abraham", "exponent": 1}])(logits, batch)
    expected = tversky.tversky(logits, batch.labels, fp_weight=0.3, fn_weight=0.7, weight=batch.weight)
    torch.testing.assert_close(changed, expected)


def test_auxiliary_outputs_fade_with_the_epoch(logits: torch.Tensor, batch: Batch) -> None:
    others = [logits * 0.5, logits - 1, -logits]
    loss = build_loss([{"name": "cross_entropy"}], auxiliary="per_epoch", steps_per_epoch=10)
    own = [losses.cross_entropy(x, batch.labels, weight=batch.weight) for x in (logits, *others)]
    for step, epoch in ((0, 1), (9, 1), (10, 2), (45, 5)):
        loss.before_step(step)
        torch.testing.assert_close(loss({"out": logits, "aux": others}, batch), own[0] + sum(own[1:]) / epoch)
    torch.testing.assert_close(loss(logits, batch), own[0])


def test_auxiliary_outputs_with_constant_weights(logits: torch.Tensor, batch: Batch) -> None:
    output = {"out": logits, "aux": [logits * 2, -logits]}
    own = [losses.cross_entropy(x, batch.labels, weight=batch.weight) for x in (logits, logits * 2, -logits)]
    items = [{"name": "cross_entropy"}]
    torch.testing.assert_close(build_loss(items)(output, batch), sum(own))
    torch.testing.assert_close(build_loss(items, auxiliary=0.0)(output, batch), own[0])
    weighted = build_loss(items, auxiliary=[0.5, 0.25])(output, batch)
    torch.testing.assert_close(weighted, own[0] + 0.5 * own[1] + 0.25 * own[2])
    with pytest.raises(InputError, match=r"1 weights .* has 2"):
        build_loss(items, auxiliary=[1.0])(output, batch)


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([{"name": "focall"}], "no loss 'focall'; did you mean 'focal'"),
        ([{"name": "focal", "gama": 2}], "setting of the loss 'focal' 'gama'; did you mean 'gamma'"),
        ([{"name": "dice", "gamma": 2}], "choose from none"),
        ([{"name": "cross_entropy", "class_weight": "log_frequency"}], "did you mean 'log_freq'"),
        ([{"name": "focal_tversky", "preset": "unetshrap"}], "did you mean 'unetsharp'"),
        ([{"name": "l1_l2", "activation": "sofmax"}], "did you mean 'softmax'"),
        ([{"weight": 1}], "has no name"),
        ([], "empty"),
    ],
)
def test_mistakes_are_told_with_the_nearest_name(items: list[dict[str, object]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build_loss(items)


def test_what_does_not_fit_is_refused(logits: torch.Tensor, batch: Batch) -> None:
    with pytest.raises(InputError, match="2 numbers, the network has 3"):
        build_loss([{"name": "focal", "class_weight": [1.0, 2.0]}])(logits, batch)
    with pytest.raises(InputError, match="steps_per_epoch"):
        build_loss([{"name": "focal"}], auxiliary="per_epoch")
    with pytest.raises(InputError, match="score for each image"):
        build_loss([{"name": "l1"}])(torch.rand(2), Batch(batch.image, batch.labels))
