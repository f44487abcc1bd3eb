"""Losses on the overlap of regions that weigh false positives and false negatives differently.

The two weights are named by what they weigh, since publications call either of them alpha or beta.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_histoseg.learning.losses import trust_and_truth

_EPS = 1e-7


@dataclass(frozen=True)
class TverskyPreset:
    """Settings of `focal_tversky` as published."""

    fp_weight: float
    fn_weight: float
    exponent: float
    per_class: bool = True


PRESETS = {
    "unetsharp": TverskyPreset(0.7, 0.3, 4 / 3),
    "abraham": TverskyPreset(0.3, 0.7, 0.75),
    "release": TverskyPreset(0.7, 0.3, 4 / 3, per_class=False),
}
"""``unetsharp`` as the text of the U-Net# paper means it, ``release`` as its program does it, with all classes pooled;
``abraham`` as published by Abraham & Khan (2019), who favour recall."""


def tversky_index(overlap: Tensor, predicted: Tensor, true: Tensor, *, fp_weight: float, fn_weight: float) -> Tensor:
    """``(TP + e) / (TP + fp_weight FP + fn_weight FN + e)`` (Salehi et al. 2017) with ``e`` = 1e-7.

    Parameters
    ----------
    overlap, predicted, true : Tensor, same shape
        Sums of ``p y``, ``p`` and ``y``: probabilities and truth.
    """
    false_positive, false_negative = predicted - overlap, true - overlap
    return (overlap + _EPS) / (overlap + fp_weight * false_positive + fn_weight * false_negative + _EPS)


def focal_tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    fp_weight: float = 0.7,
    fn_weight: float = 0.3,
    exponent: float = 4 / 3,
    per_class: bool = True,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean of ``(1 - TI)^exponent`` over the classes present in the batch's labels; see `PRESETS`.

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    labels : Tensor of int64, shape (N, H, W)
        ``IGNORE`` where unknown.
    fp_weight, fn_weight : float
        Weights of false positives and false negatives in the index.
    exponent : float
        1 is the plain Tversky loss.
    per_class : bool
        False pools all classes into one index, in which frequent classes decide.
    weight : Tensor, shape (N, H, W), optional
        Weight of each pixel in the sums.

    Returns
    -------
    Tensor, scalar, float32
    """
    probabilities = logits.float().softmax(dim=1)
    trust, truth = trust_and_truth(labels, logits.shape[1], weight)
    truth = truth * trust
    planes = (probabilities * truth, probabilities * trust, truth)
    overlap, predicted, true = (plane.sum(dim=(0, 2, 3)) for plane in planes)
    if not per_class:
        overlap, predicted, true = (sums.sum(dim=0, keepdim=True) for sums in (overlap, predicted, true))
    index = tversky_index(overlap, predicted, true, fp_weight=fp_weight, fn_weight=fn_weight)
    present = (true > 0).to(index.dtype)
    values = (1 - index).clamp_min(_EPS) ** exponent  # a root has no slope at 0
    return (values * present).sum() / present.sum().clamp_min(1.0)


def tversky(
    logits: Tensor, labels: Tensor, *, fp_weight: float = 0.7, fn_weight: float = 0.3, weight: Tensor | None = None
) -> Tensor:
    """`focal_tversky` with exponent 1."""
    return focal_tversky(logits, labels, fp_weight=fp_weight, fn_weight=fn_weight, exponent=1.0, weight=weight)
