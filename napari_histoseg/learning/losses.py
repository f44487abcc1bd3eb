"""Losses on logits (N, C, H, W) and labels (N, H, W) with ``IGNORE``; zero, with a graph, where nothing is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_histoseg.core.schema import IGNORE

_DICE_EPS = 1.0


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, class_weight: Tensor | None = None
) -> Tensor:
    """Weighted mean of ``-log p`` of the right class over pixels that have one.

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    labels : Tensor of int64, shape (N, H, W)
        ``IGNORE`` where unknown.
    weight : Tensor, shape (N, H, W), optional
        Weight of each pixel.
    class_weight : Tensor, shape (C,), optional
        Weight of each class; both weights multiply, and the sum is divided by the sum of weights.

    Returns
    -------
    Tensor, scalar, float32
    """
    logits = logits.float()
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    trust = _trust(labels, weight)
    if class_weight is not None:
        trust = trust * class_weight.to(trust)[labels.masked_fill(labels == IGNORE, 0)]
    return _weighted_mean(loss, trust)


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Mean of ``-w (1 - p)^gamma log p`` of the right class over pixels that have one (Lin et al. 2017).

    Parameters
    ----------
    logits, labels, weight, class_weight
        As for `cross_entropy`. Class weights scale the loss and are not divided out again; pixel weights are.
    gamma : float
        0 is cross entropy; 1, 2 and 5 look ever more at hard pixels.

    Returns
    -------
    Tensor, scalar, float32
    """
    right = labels.masked_fill(labels == IGNORE, 0)
    log_p = logits.float().log_softmax(dim=1).gather(1, right[:, None])[:, 0]
    values = -((-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny) ** gamma) * log_p
    if class_weight is not None:
        values = values * class_weight.to(values)[right]
    return _weighted_mean(values, _trust(labels, weight))


def soft_dice(logits: Tensor, labels: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """One minus the soft Dice coefficient, averaged over the classes present in the batch's labels.

    Per class over all known pixels of the batch: ``1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)`` with softmax
    probabilities ``p`` and one-hot labels ``y`` (Milletari et al. 2016, without squares).

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    labels : Tensor of int64, shape (N, H, W)
        ``IGNORE`` where unknown.
    weight : Tensor, shape (N, H, W), optional
        Weight of each pixel in the sums.

    Returns
    -------
    Tensor, scalar, float32
    """
    probabilities = logits.float().softmax(dim=1)
    trust, truth = trust_and_truth(labels, logits.shape[1], weight)
    overlap = (probabilities * truth * trust).sum(dim=(0, 2, 3))
    mass = ((probabilities + truth) * trust).sum(dim=(0, 2, 3))
    present = ((truth * trust).sum(dim=(0, 2, 3)) > 0).to(probabilities.dtype)
    per_class = 1 - (2 * overlap + _DICE_EPS) / (mass + _DICE_EPS)
    return (per_class * present).sum() / present.sum().clamp_min(1.0)


def ce_dice(logits: Tensor, labels: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Sum of `cross_entropy` and `soft_dice` on the same pixels."""
    return cross_entropy(logits, labels, weight=weight) + soft_dice(logits, labels, weight=weight)


def distillation(logits: Tensor, soft: Tensor, *, weight: Tensor) -> Tensor:
    """Weighted mean Kullback-Leibler divergence ``KL(soft || softmax(logits))`` per pixel.

    Zero exactly where the model already says what ``soft`` says, so that it holds skill without teaching any.

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    soft : Tensor, shape (N, C, H, W)
        Probabilities of another model.
    weight : Tensor, shape (N, H, W)
        Where and how strongly the pixel counts.

    Returns
    -------
    Tensor, scalar, float32
    """
    divergence = F.kl_div(logits.float().log_softmax(dim=1), soft, reduction="none").sum(dim=1)
    return _weighted_mean(divergence, weight)


def trust_and_truth(labels: Tensor, num_classes: int, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights of pixels (N, 1, H, W), 0 where unknown, and one-hot labels (N, C, H, W), class 0 where unknown."""
    truth = F.one_hot(labels.masked_fill(labels == IGNORE, 0), num_classes).movedim(-1, 1).float()
    return _trust(labels, weight)[:, None], truth


def _trust(labels: Tensor, weight: Tensor | None) -> Tensor:
    known = labels != IGNORE
    return known.float() if weight is None else known * weight


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``values``, or 0 with a gradient of 0 where all weights are 0.

    Without weights it divides by 1: a divisor as small as floats allow would turn a gradient that is scaled up later
    into infinity times zero.
    """
    total = weight.sum()
    return (values * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))
