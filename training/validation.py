"""Numbers of a network in training, on tiles of images that steer choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fit import Loss
from napari_histoseg.learning.metrics import confusion_matrix, dice, mean_iou, overall_accuracy
from napari_histoseg.models.outputs import main_output
from training.batches import join, one
from training.material import Tiles, classes_of, normalisation_of
from training.plan import Plan

Validate = Callable[[nn.Module], dict[str, float]]


def for_centre(loss: Loss, plan: Plan) -> Loss:
    """The loss where the network answers for the centre of its input only (``variant.context_margin``)."""
    margin = int(plan.variant.get("context_margin", 0))
    if not margin:
        return loss
    return lambda output, batch: loss(output, _centre(batch, margin))


def _centre(batch: Batch, margin_px: int) -> Batch:
    cut = (..., slice(margin_px, -margin_px), slice(margin_px, -margin_px))
    weight = None if batch.weight is None else batch.weight[cut]
    return replace(batch, image=batch.image[cut], labels=batch.labels[cut], weight=weight)


def validator(plan: Plan, tiles: Tiles, loss: Loss) -> Validate:
    """A function that gives the numbers of a network in evaluation mode.

    Parameters
    ----------
    plan : Plan
    tiles : Tiles
        Of the validation images.
    loss : callable
        ``val_loss`` is its mean over the images.

    Returns
    -------
    callable
        For classes it gives ``accuracy``, ``mean_iou``, ``mean_dice`` and ``dice_<class>`` of all pixels; for scores
        ``l1``.
    """
    names = [c.name.replace(" ", "_") for c in classes_of(plan)]
    margin = int(plan.variant.get("context_margin", 0))

    def validate(network: nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        total, differences = 0.0, []
        matrix = np.zeros((len(names), len(names)), np.int64)
        for whole in _in_order(tiles, plan, device):
            output = main_output(network(whole.image))
            batch = _centre(whole, margin) if margin else whole
            total += float(loss(output, batch)) * len(output)
            if batch.score is not None and plan.target == "score":
                differences += (output - batch.score).abs().tolist()
            else:
                matrix += confusion_matrix(_numbers(batch.labels), _numbers(output.argmax(1)), num_classes=len(names))
        numbers = {"val_loss": total / len(tiles)}
        if differences:
            return numbers | {"l1": float(np.nanmean(differences))}
        return numbers | _of_classes(matrix, names)

    return validate


def _of_classes(matrix: Any, names: list[str]) -> dict[str, float]:
    of_class = dice(matrix)
    numbers = {"accuracy": overall_accuracy(matrix), "mean_iou": mean_iou(matrix)}
    numbers["mean_dice"] = float(np.nanmean(of_class)) if np.isfinite(of_class).any() else float("nan")
    return numbers | {f"dice_{name}": float(value) for name, value in zip(names, of_class, strict=True)}


def _numbers(labels: Tensor) -> Any:
    return labels.cpu().numpy()


def _in_order(tiles: Tiles, plan: Plan, device: torch.device) -> Iterator[Batch]:
    for start in range(0, len(tiles), plan.batch_size):
        samples = [one(tiles[i]) for i in range(start, min(start + plan.batch_size, len(tiles)))]
        yield join(samples, normalisation_of(plan)).to(device)
