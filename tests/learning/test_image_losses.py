"""Losses on label images and scores against sums written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.image_losses import l1_l2, smoothness
from napari_histoseg.learning.score_losses import l1, mse, smooth_l1


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(3, (2, 6, 5), generator=torch.Generator().manual_seed(1))


def test_l1_l2_as_published(logits: torch.Tensor, labels: torch.Tensor) -> None:
    difference = (logits.softmax(1) - F.one_hot(labels, 3).movedim(-1, 1)).flatten(1)
    literal = (2 * difference.norm(1, dim=1) + 3 * difference.norm(2, dim=1)).mean()
    torch.testing.assert_close(l1_l2(logits, labels, l1=2, l2=3, normalise=False), literal)
    per_pixel = (difference.abs().mean(1) + difference.square().mean(1).sqrt()).mean()
    torch.testing.assert_close(l1_l2(logits, labels), per_pixel)
    raw = (logits - F.one_hot(labels, 3).movedim(-1, 1)).flatten(1)
    expected = (raw.abs().mean(1) + raw.square().mean(1).sqrt()).mean()
    torch.testing.assert_close(l1_l2(logits, labels, activation="none"), expected)


def test_l1_l2_leaves_unknown_pixels_and_images_out(logits: torch.Tensor, labels: torch.Tensor) -> None:
    labels[1] = IGNORE
    torch.testing.assert_close(l1_l2(logits, labels), l1_l2(logits[:1], labels[:1]))
    labels[0, 3:] = IGNORE
    torch.testing.assert_close(l1_l2(logits, labels), l1_l2(logits[:1, :, :3], labels[:1, :3]))
    weight = torch.ones(2, 6, 5)
    weight[0, :2] = 0
    torch.testing.assert_close(l1_l2(logits, labels, weight=weight), l1_l2(logits[:1, :, 2:3], labels[:1, 2:3]))


def test_l1_l2_of_nothing_or_of_the_truth_has_a_finite_gradient(logits: torch.Tensor, labels: torch.Tensor) -> None:
    nothing = l1_l2(logits, torch.full_like(labels, IGNORE))
    nothing.backward()
    assert nothing.item() == 0.0
    assert logits.grad is not None and (logits.grad == 0).all()
    exact = F.one_hot(labels, 3).movedim(-1, 1).float().requires_grad_()
    l1_l2(exact, labels, activation="none").backward()
    assert exact.grad is not None and torch.isfinite(exact.grad).all()


def _pairs(height: int, width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    down = [((y, x), (y + 1, x)) for y in range(height - 1) for x in range(width)]
    return down + [((y, x), (y, x + 1)) for y in range(height) for x in range(width - 1)]


def test_smoothness_is_the_mean_over_neighbours(logits: torch.Tensor, labels: torch.Tensor) -> None:
    p = logits.detach().softmax(1)
    image = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(2))
    labels[0, :2] = IGNORE

    def by_hand(edge_aware: bool, only_valid: bool) -> float:
        values = []
        for n in range(2):
            for a, b in _pairs(6, 5):
                if only_valid and IGNORE in (labels[n][a], labels[n][b]):
                    continue
                value = sum(abs(float(p[n, c][a] - p[n, c][b])) for c in range(3))
                squares = sum(float(image[n, c][a] - image[n, c][b]) ** 2 for c in range(3))
                values.append(value * (math.exp(-squares / (2 * 0.1**2)) if edge_aware else 1))
        return sum(values) / len(values)

    assert smoothness(logits).item() == pytest.approx(by_hand(False, False), rel=1e-5)
    assert smoothness(logits, image=image).item() == pytest.approx(by_hand(True, False), rel=1e-5)
    assert smoothness(logits, image=image, labels=labels).item() == pytest.approx(by_hand(True, True), rel=1e-5)


def test_smoothness_forgives_outlines_on_edges_of_the_image() -> None:
    logits, image = torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    logits[:, 1, :, 2:] = 20.0
    image[..., 2:] = 1.0
    assert smoothness(logits, image=image).item() < 1e-6 < smoothness(logits).item()


def test_smoothness_without_pairs_is_zero_with_a_graph(logits: torch.Tensor, labels: torch.Tensor) -> None:
    value = smoothness(logits, labels=torch.full_like(labels, IGNORE))
    value.backward()
    assert value.item() == 0.0 and smoothness(logits[..., :1, :1]).item() == 0.0


@pytest.mark.parametrize(
    ("loss", "reference"),
    [(l1, F.l1_loss), (mse, F.mse_loss), (smooth_l1, lambda a, b: F.smooth_l1_loss(a, b, beta=0.1))],
)
def test_score_losses_are_torchs_on_known_scores(loss, reference) -> None:
    score, truth = torch.rand(5, requires_grad=True), torch.rand(5)
    torch.testing.assert_close(loss(score, truth), reference(score, truth))
    truth[1:3] = torch.nan
    known = ~truth.isnan()
    torch.testing.assert_close(loss(score, truth), reference(score[known], truth[known]))
    nothing = loss(score, torch.full((5,), torch.nan))
    nothing.backward()
    assert nothing.item() == 0.0
    assert score.grad is not None and (score.grad == 0).all()
