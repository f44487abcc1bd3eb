"""Losses of networks that answer with one number per image; images without a score (NaN) do not count."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def l1(score: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of scores (N,) from the true ones."""
    return _mean(F.l1_loss, score, truth)


def smooth_l1(score: Tensor, truth: Tensor, *, beta: float = 0.1) -> Tensor:
    """Like `l1`, but quadratic for differences below ``beta`` (Girshick 2015)."""
    return _mean(lambda a, b, reduction: F.smooth_l1_loss(a, b, reduction=reduction, beta=beta), score, truth)


def mse(score: Tensor, truth: Tensor) -> Tensor:
    """Mean squared difference of scores (N,) from the true ones."""
    return _mean(F.mse_loss, score, truth)


def _mean(loss: Callable[..., Tensor], score: Tensor, truth: Tensor) -> Tensor:
    known = ~torch.isnan(truth)
    values = loss(score.float(), torch.where(known, truth, torch.zeros_like(truth)), reduction="none")
    return (values * known).sum() / known.sum().clamp_min(1)
