"""Focal and Tversky losses against golden numbers, cross entropy and MONAI, and their promises about unknown pixels."""

from __future__ import annotations

import pytest
import torch
from monai.losses import TverskyLoss

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.losses import cross_entropy, focal
from napari_histoseg.learning.tversky import PRESETS, focal_tversky, tversky, tversky_index


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(3, (2, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("gamma", "golden"), [(0, 0.169846), (1, 0.026531), (2, 0.0041443), (5, 1.57955e-5)])
def test_focal_of_one_pixel(gamma: float, golden: float) -> None:
    logits = torch.tensor([2.0, 0.0, -1.0]).view(1, 3, 1, 1)
    value = focal(logits, torch.zeros(1, 1, 1, dtype=torch.long), gamma=gamma)
    assert value.item() == pytest.approx(golden, rel=2e-5)


def test_focal_without_focus_is_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> None:
    labels[0, :2] = IGNORE
    weight = torch.rand(2, 8, 8)
    expected = cross_entropy(logits, labels, weight=weight)
    torch.testing.assert_close(focal(logits, labels, gamma=0, weight=weight), expected)


def test_class_weights_scale_the_focal_loss(logits: torch.Tensor, labels: torch.Tensor) -> None:
    doubled = focal(logits, labels, class_weight=torch.full((3,), 2.0))
    torch.testing.assert_close(doubled, 2 * focal(logits, labels))


def test_certain_pixels_have_a_finite_focal_gradient() -> None:
    logits = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    focal(logits, torch.zeros(1, 1, 1, dtype=torch.long), gamma=0.5).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("fp", "fn", "index", "four_thirds", "three_quarters"),
    [
        (0.7, 0.3, 0.755814, 0.152626, 0.347369),
        (0.3, 0.7, 0.691489, 0.208462, 0.413955),
        (0.5, 0.5, 0.722222, 0.181244, 0.382625),
    ],
)
def test_index_of_four_pixels(fp: float, fn: float, index: float, four_thirds: float, three_quarters: float) -> None:
    truth, p = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.9, 0.4, 0.2, 0.1])
    value = tversky_index((p * truth).sum(), p.sum(), truth.sum(), fp_weight=fp, fn_weight=fn).item()
    assert value == pytest.approx(index, abs=1e-6)
    assert (1 - value) ** (4 / 3) == pytest.approx(four_thirds, abs=1e-6)
    assert (1 - value) ** 0.75 == pytest.approx(three_quarters, abs=1e-6)


def test_presets_weigh_the_errors_they_are_named_for() -> None:
    """An image with one false positive costs U-Net#'s more than one with a false negative, Abraham's less."""
    labels = torch.tensor([[[1, 1, 0, 0]]])
    too_much, too_little = (torch.tensor([[[1, 1, n, 0]]]) for n in (1, 0))
    too_little = torch.tensor([[[1, 0, 0, 0]]])

    def foreground(predicted: torch.Tensor, name: str) -> float:
        sure = 40.0 * torch.stack([predicted == 0, predicted == 1], dim=1).float()
        p, y = sure.softmax(dim=1)[:, 1], (labels == 1).float()
        preset = PRESETS[name]
        index = tversky_index(
            (p * y).sum(), p.sum(), y.sum(), fp_weight=preset.fp_weight, fn_weight=preset.fn_weight
        ).item()
        return (1 - index) ** preset.exponent

    assert foreground(too_much, "unetsharp") == pytest.approx((1 - 2 / 2.7) ** (4 / 3), abs=1e-5)
    assert foreground(too_little, "unetsharp") == pytest.approx((1 - 1 / 1.3) ** (4 / 3), abs=1e-5)
    assert foreground(too_much, "abraham") == pytest.approx((1 - 2 / 2.3) ** 0.75, abs=1e-5)
    assert foreground(too_little, "abraham") == pytest.approx((1 - 1 / 1.7) ** 0.75, abs=1e-5)


def test_tversky_agrees_with_monai(logits: torch.Tensor, labels: torch.Tensor) -> None:
    theirs = TverskyLoss(
        softmax=True, to_onehot_y=True, batch=True, alpha=0.7, beta=0.3, smooth_nr=1e-7, smooth_dr=1e-7
    )
    torch.testing.assert_close(tversky(logits, labels), theirs(logits, labels[:, None]))


def test_pooled_index_lets_the_frequent_class_decide() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[0, 0, 0] = 1
    blind = torch.zeros(1, 2, 10, 10)
    blind[:, 0] = 12.0
    assert focal_tversky(blind, labels, per_class=False).item() < 0.01
    assert focal_tversky(blind, labels).item() > 0.4


def test_only_present_classes_count(logits: torch.Tensor) -> None:
    labels = torch.ones(2, 8, 8, dtype=torch.long)
    p = logits.softmax(dim=1)[:, 1]
    index = tversky_index(p.sum(), p.sum(), torch.tensor(128.0), fp_weight=0.7, fn_weight=0.3)
    torch.testing.assert_close(tversky(logits, labels), 1 - index)


@pytest.mark.parametrize("loss", [focal, tversky, focal_tversky])
def test_unknown_pixels_have_a_gradient_of_exactly_zero(loss, logits: torch.Tensor, labels: torch.Tensor) -> None:
    labels[0, :3] = IGNORE
    loss(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad[0, :, :3] == 0).all() and (logits.grad[0, :, 3:] != 0).any()


@pytest.mark.parametrize("loss", [focal, tversky, focal_tversky])
def test_nothing_known_gives_zero_with_a_graph(loss, logits: torch.Tensor) -> None:
    value = loss(logits, torch.full((2, 8, 8), IGNORE))
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None and (logits.grad == 0).all()


def test_pixel_weights_are_counts(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """A weight of 2 is the pixel twice, a weight of 0 is no pixel."""
    weight = torch.ones(2, 8, 8)
    weight[1] = 0
    torch.testing.assert_close(tversky(logits, labels, weight=weight), tversky(logits[:1], labels[:1]))
    twice = torch.cat([logits, logits[1:]]), torch.cat([labels, labels[1:]])
    weight[1] = 2
    torch.testing.assert_close(focal_tversky(logits, labels, weight=weight), focal_tversky(*twice))
