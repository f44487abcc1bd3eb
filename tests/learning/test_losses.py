"""Losses against hand-computed values, independent implementations, and their promises about unknown pixels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.losses import ce_dice, cross_entropy, distillation, soft_dice


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def labels() -> torch.Tensor:
    labels = torch.randint(3, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    labels[0, :3] = IGNORE
    return labels


def test_cross_entropy_of_one_pixel_is_minus_log_probability() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0]).view(1, 3, 1, 1)
    value = cross_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.long))
    assert value.item() == pytest.approx(0.169846, abs=1e-6)


def test_cross_entropy_with_class_weights_is_torch_weighted_mean(logits: torch.Tensor, labels: torch.Tensor) -> None:
    weights = torch.tensor([0.2, 1.0, 3.0])
    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(logits, labels, class_weight=weights), expected)


def test_cross_entropy_with_pixel_weights_is_a_weighted_mean(logits: torch.Tensor, labels: torch.Tensor) -> None:
    weight = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(2))
    known = labels != IGNORE
    each = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    expected = (each[known] * weight[known]).sum() / weight[known].sum()
    torch.testing.assert_close(cross_entropy(logits, labels, weight=weight), expected)


def test_soft_dice_agrees_with_monai() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 16, 16, generator=generator)
    labels = torch.randint(3, (2, 16, 16), generator=generator)
    reference = DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    torch.testing.assert_close(soft_dice(logits, labels), reference(logits, labels[:, None]))


def test_soft_dice_ignores_unknown_pixels_and_absent_classes(logits: torch.Tensor) -> None:
    labels = torch.full((2, 8, 8), IGNORE)
    labels[0, 0] = 1
    perfect = torch.full((2, 3, 8, 8), -20.0)
    perfect[:, 1] = 20.0
    assert soft_dice(perfect, labels).item() == pytest.approx(0.0, abs=1e-6)
    changed = logits.detach().clone()
    changed[1] += 5.0
    torch.testing.assert_close(soft_dice(changed, labels), soft_dice(logits, labels))


def test_distillation_is_zero_with_zero_gradient_where_both_agree() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(4)).requires_grad_()
    value = distillation(logits, logits.detach().softmax(dim=1), weight=torch.ones(1, 4, 4))
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max().item() < 1e-6


def test_distillation_of_certain_targets_is_cross_entropy() -> None:
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    soft = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    assert distillation(logits, soft, weight=torch.ones(1, 1, 1)).item() == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice, ce_dice])
def test_gradient_is_exactly_zero_on_unknown_pixels(loss, logits: torch.Tensor, labels: torch.Tensor) -> None:
    loss(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad[0, :, :3] == 0).all()
    assert (logits.grad[0, :, 3:] != 0).any()


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice, ce_dice])
def test_nothing_known_gives_zero_with_a_graph(loss, logits: torch.Tensor) -> None:
    value = loss(logits, torch.full((2, 8, 8), IGNORE))
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_distillation_without_weight_gives_zero_with_a_graph(logits: torch.Tensor) -> None:
    value = distillation(logits, torch.full((2, 3, 8, 8), 1 / 3), weight=torch.zeros(2, 8, 8))
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_scaled_loss_without_known_pixels_has_a_gradient_of_exactly_zero() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    nothing, nowhere = torch.full((1, 4, 4), IGNORE), torch.zeros(1, 4, 4)
    soft = torch.full((1, 3, 4, 4), 1 / 3)
    value = 100 * cross_entropy(logits, nothing, weight=nowhere) + 100 * distillation(logits, soft, weight=nowhere)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None and (logits.grad == 0).all()
