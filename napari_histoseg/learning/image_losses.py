"""Losses that take a prediction as an image: distances to the label image, and smoothness of neighbours."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.losses import trust_and_truth

Activation = Literal["softmax", "none"]

_ROOT_EPS = 1e-12
_EDGE_SIGMA = 0.1


def l1_l2(
    logits: Tensor,
    labels: Tensor,
    *,
    l1: float = 1.0,
    l2: float = 1.0,
    normalise: bool = True,
    activation: Activation = "softmax",
    weight: Tensor | None = None,
) -> Tensor:
    """Mean over images of ``l1 ||y - p||_1 + l2 ||y - p||_2`` with one-hot labels ``y``; the L2 norm is not squared.

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    labels : Tensor of int64, shape (N, H, W)
        ``IGNORE`` where unknown; images without any known pixel are left out of the mean.
    l1, l2 : float
        Weights of the norms.
    normalise : bool
        Divide the L1 norm by the number of known values and the L2 norm by its square root, so that neither grows with
        the image. False is the formula as published.
    activation : {"softmax", "none"}
        ``none`` compares the network's output itself with the labels.
    weight : Tensor, shape (N, H, W), optional
        Weight of each pixel in the sums.

    Returns
    -------
    Tensor, scalar, float32
    """
    values = logits.float()
    if activation == "softmax":
        values = values.softmax(dim=1)
    trust, truth = trust_and_truth(labels, values.shape[1], weight)
    difference = values - truth
    first = (difference.abs() * trust).sum(dim=(1, 2, 3))
    second = ((difference.square() * trust).sum(dim=(1, 2, 3)) + _ROOT_EPS).sqrt()
    count = trust.sum(dim=(1, 2, 3)) * values.shape[1]
    is_known = count > 0
    if normalise:
        safe = torch.where(is_known, count, torch.ones_like(count))
        first, second = first / safe, second / safe.sqrt()
    return ((l1 * first + l2 * second) * is_known).sum() / is_known.sum().clamp_min(1)


def smoothness(
    logits: Tensor, *, image: Tensor | None = None, labels: Tensor | None = None, sigma: float = _EDGE_SIGMA
) -> Tensor:
    """Mean over neighbouring pixels of ``k ||p_i - p_j||_1`` with softmax probabilities: few specks, calm outlines.

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    image : Tensor, shape (N, 3, H, W), optional
        As the network is fed. With it ``k = exp(-||I_i - I_j||^2 / (2 sigma^2))``: outlines may follow edges of the
        image, as in the pairwise term of a conditional random field. Without it ``k = 1``.
    labels : Tensor of int64, shape (N, H, W), optional
        With them only pairs of known pixels count; without, all do, since the term needs no label.
    sigma : float
        Colour difference of an edge in units of ``image``: 0..1, or standard deviations where it is normalised.

    Returns
    -------
    Tensor, scalar, float32
    """
    probabilities = logits.float().softmax(dim=1)
    total, pairs = probabilities.new_zeros(()), probabilities.new_zeros(())
    for axis in (2, 3):
        value = _step(probabilities, axis).abs().sum(dim=1)
        if image is not None:
            value = value * torch.exp(-_step(image.float(), axis).square().sum(dim=1) / (2 * sigma**2))
        counted = torch.ones_like(value)
        if labels is not None:
            known = (labels != IGNORE).to(value.dtype)[:, None]
            counted = _before(known, axis)[:, 0] * _after(known, axis)[:, 0]
        total = total + (value * counted).sum()
        pairs = pairs + counted.sum()
    return total / pairs.clamp_min(1)


def _step(planes: Tensor, axis: int) -> Tensor:
    return _after(planes, axis) - _before(planes, axis)


def _before(planes: Tensor, axis: int) -> Tensor:
    return planes.narrow(axis, 0, planes.shape[axis] - 1)


def _after(planes: Tensor, axis: int) -> Tensor:
    return planes.narrow(axis, 1, planes.shape[axis] - 1)
