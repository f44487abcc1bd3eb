"""A loss as a list of names with weights and settings, as a recipe's file says it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning import image_losses, losses, score_losses, tversky
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.class_weights import SCHEMES, batch_border_weights, batch_class_weights
from napari_histoseg.models.outputs import NetworkOutput, auxiliary_outputs, main_output

Term = Callable[[Tensor, Batch], Tensor]
ClassWeight = str | Sequence[float]
"""Numbers by class, or a scheme of `class_weights` that is computed anew within each batch."""

Auxiliary = float | Sequence[float] | Literal["per_epoch"]
"""Weight of auxiliary outputs: one for all, one for each, or one over the number of the epoch, from 1 (Micro-Net)."""


@dataclass
class Objective:
    """A weighted sum of losses on the main output and, in the same way, on auxiliary ones.

    Parameters
    ----------
    terms : tuple of (float, callable)
        Weights and ``term(logits, batch)``.
    auxiliary : float, sequence of float or "per_epoch"
    steps_per_epoch : int
    epoch : int
        Counted from 1.
    """

    terms: tuple[tuple[float, Term], ...]
    auxiliary: Auxiliary
    steps_per_epoch: int
    epoch: int = 1

    def before_step(self, step: int) -> None:
        """For ``fit(before_step=...)``: know the epoch, in a resumed run too."""
        self.epoch = step // self.steps_per_epoch + 1

    def __call__(self, output: NetworkOutput, batch: Batch) -> Tensor:
        total = self._sum(main_output(output), batch)
        extra = auxiliary_outputs(output)
        for weight, logits in zip(self._auxiliary_weights(len(extra)), extra, strict=True):
            total = total + weight * self._sum(logits, batch)
        return total

    def _sum(self, logits: Tensor, batch: Batch) -> Tensor:
        return torch.stack([weight * term(logits, batch) for weight, term in self.terms]).sum()

    def _auxiliary_weights(self, count: int) -> Sequence[float]:
        if self.auxiliary == "per_epoch":
            return [1 / self.epoch] * count
        if isinstance(self.auxiliary, int | float):
            return [float(self.auxiliary)] * count
        if count and len(self.auxiliary) != count:
            raise InputError(
                f"There are {len(self.auxiliary)} weights for the auxiliary outputs, the network has {count} of them."
            )
        return [float(weight) for weight in self.auxiliary[:count]]


def build_loss(
    items: Iterable[Mapping[str, Any]], *, auxiliary: Auxiliary = 1.0, steps_per_epoch: int | None = None
) -> Objective:
    """The loss that a list of names describes.

    Parameters
    ----------
    items : iterable of mapping
        ``{"name": "focal", "weight": 1.0, "gamma": 2}``: a name of `LOSSES`, the weight in the sum (1 where absent),
        and the loss's own settings.
    auxiliary : float, sequence of float or "per_epoch"
        Weight of auxiliary outputs, if the network has any.
    steps_per_epoch : int, optional
        Needed for ``per_epoch``; give ``before_step`` of the result to the fit loop then.

    Returns
    -------
    Objective
        Called as ``loss(output, batch)``.

    Raises
    ------
    InputError
        For an unknown name or setting; the nearest is given.
    """
    if auxiliary == "per_epoch" and steps_per_epoch is None:
        raise InputError("Auxiliary losses that fade per epoch need steps_per_epoch.")
    terms = tuple((float(item.get("weight", 1.0)), _term(item)) for item in items)
    if not terms:
        raise InputError(f"The loss is empty; name at least one of {', '.join(LOSSES)}.")
    return Objective(terms, auxiliary, steps_per_epoch or 1)


def _term(item: Mapping[str, Any]) -> Term:
    if "name" not in item:
        raise InputError(f"The loss {dict(item)!r} has no name; choose from {', '.join(LOSSES)}.")
    _check(str(item["name"]), LOSSES, "loss")
    loss = LOSSES[item["name"]]
    settings = {key: value for key, value in item.items() if key not in ("name", "weight")}
    known = inspect.signature(loss).parameters
    allowed = [name for name, p in known.items() if p.kind is p.KEYWORD_ONLY and name != "weight"]
    for key, value in settings.items():
        _check(key, allowed, f"setting of the loss '{item['name']}'")
        if key in _CHOICES and isinstance(value, str):
            _check(value, *_CHOICES[key])
    return partial(loss, **settings)


def _check(name: str, known: Iterable[str], kind: str) -> None:
    names = list(known)
    if name not in names:
        raise InputError(f"There is no {kind} '{name}'; {suggestion(name, names)}")


_CHOICES: dict[str, tuple[Iterable[str], str]] = {
    "class_weight": (SCHEMES, "class weighting"),
    "preset": (tversky.PRESETS, "Tversky preset"),
    "activation": (get_args(image_losses.Activation), "activation"),
}
"""Settings that are names: those there are, and what they are."""


def _of_pixels(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss, with its settings, on the labels and pixel weights of a batch."""

    @wraps(loss)
    def term(logits: Tensor, batch: Batch, **settings: Any) -> Tensor:
        return loss(logits, batch.labels, weight=batch.weight, **settings)

    return term


def _of_scores(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss, with its settings, on the scores of a batch."""

    @wraps(loss)
    def term(score: Tensor, batch: Batch, **settings: Any) -> Tensor:
        if batch.score is None:
            raise InputError("A loss on scores needs batches with a score for each image.")
        return loss(score, batch.score, **settings)

    return term


def _weights_of(class_weight: ClassWeight, logits: Tensor, batch: Batch) -> Tensor | None:
    classes = logits.shape[1]
    if isinstance(class_weight, str):
        scheme = next(known for known in SCHEMES if known == class_weight)
        return None if scheme == "none" else batch_class_weights(batch.labels, classes, scheme)
    if len(class_weight) != classes:
        raise InputError(f"class_weight has {len(class_weight)} numbers, the network has {classes} classes.")
    return torch.tensor(class_weight, dtype=torch.float32, device=logits.device)


def _cross_entropy(logits: Tensor, batch: Batch, *, class_weight: ClassWeight = "none") -> Tensor:
    weights = _weights_of(class_weight, logits, batch)
    return losses.cross_entropy(logits, batch.labels, weight=batch.weight, class_weight=weights)


def _border_cross_entropy(
    logits: Tensor, batch: Batch, *, class_weight: ClassWeight = "none", w0: float = 10.0, sigma_px: float = 5.0
) -> Tensor:
    weights = _weights_of(class_weight, logits, batch)
    labels = batch.labels
    of_class = torch.ones(labels.shape, device=labels.device)
    if weights is not None:
        of_class = weights[labels.masked_fill(labels == IGNORE, 0)]
    weight = of_class + batch_border_weights(labels, w0=w0, sigma_px=sigma_px)
    return losses.cross_entropy(logits, labels, weight=weight if batch.weight is None else weight * batch.weight)


def _focal(logits: Tensor, batch: Batch, *, gamma: float = 2.0, class_weight: ClassWeight = "none") -> Tensor:
    weights = _weights_of(class_weight, logits, batch)
    return losses.focal(logits, batch.labels, gamma=gamma, weight=batch.weight, class_weight=weights)


def _focal_tversky(
    logits: Tensor,
    batch: Batch,
    *,
    preset: str = "unetsharp",
    fp_weight: float | None = None,
    fn_weight: float | None = None,
    exponent: float | None = None,
    per_class: bool | None = None,
) -> Tensor:
    own = {"fp_weight": fp_weight, "fn_weight": fn_weight, "exponent": exponent, "per_class": per_class}
    settings: dict[str, Any] = vars(tversky.PRESETS[preset]) | {k: v for k, v in own.items() if v is not None}
    return tversky.focal_tversky(logits, batch.labels, weight=batch.weight, **settings)


def _smoothness(
    logits: Tensor, batch: Batch, *, edge_aware: bool = False, only_valid: bool = False, sigma: float = 0.1
) -> Tensor:
    image, labels = batch.image if edge_aware else None, batch.labels if only_valid else None
    return image_losses.smoothness(logits, image=image, labels=labels, sigma=sigma)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": _cross_entropy,
    "border_cross_entropy": _border_cross_entropy,
    "focal": _focal,
    "dice": _of_pixels(losses.soft_dice),
    "tversky": _of_pixels(tversky.tversky),
    "focal_tversky": _focal_tversky,
    "l1_l2": _of_pixels(image_losses.l1_l2),
    "smoothness": _smoothness,
    "l1": _of_scores(score_losses.l1),
    "smooth_l1": _of_scores(score_losses.smooth_l1),
    "mse": _of_scores(score_losses.mse),
}
"""Losses on pixels, on the whole map, and (the last three) on the score of an image.

``border_cross_entropy`` adds `class_weights.border_weights` to the weights of the classes.
"""
