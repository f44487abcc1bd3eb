"""Numbers of a network in training, on tiles of images that steer choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fit import Loss
from napari_histoseg.learning.metrics import confusion_matrix, dice, mean_iou, overall_accuracy
from napari_histoseg.models.outputs import main_output
from training.batches import join, one
from training.material import Tiles
from training.plan import Plan

Validate = Callable[[nn.Module], dict[str, float]]


def validate_classes(plan: Plan, tiles: Tiles, loss: Loss, names: tuple[str, ...]) -> Validate:
    """A function that gives ``val_loss``, ``accuracy``, ``mean_iou``, ``mean_dice`` and ``dice_<class>`` of all pixels.

    Parameters
    ----------
    plan : Plan
    tiles : Tiles
        Of the validation images.
    loss : callable
    names : tuple of str
        Of the classes, in the order of the channels.
    """

    def validate(model: nn.Module) -> dict[str, float]:
        matrix = np.zeros((len(names), len(names)), np.int64)
        losses = []
        for batch in _in_order(tiles, plan, next(model.parameters()).device):
            output = model(batch.image)
            losses += [float(loss(output, batch))] * len(batch.image)
            found = main_output(output).argmax(dim=1).cpu().numpy()
            margin = (batch.labels.shape[-1] - found.shape[-1]) // 2
            truth = batch.labels[:, margin : margin + found.shape[-2], margin : margin + found.shape[-1]]
            matrix += confusion_matrix(truth.cpu().numpy(), found, num_classes=len(names))
        of_class = dice(matrix)
        numbers = {"val_loss": float(np.mean(losses)), "accuracy": overall_accuracy(matrix)}
        numbers |= {"mean_iou": mean_iou(matrix), "mean_dice": float(np.nanmean(of_class))}
        return numbers | {f"dice_{n.replace(' ', '_')}": float(v) for n, v in zip(names, of_class, strict=True)}

    return validate


def _in_order(tiles: Tiles, plan: Plan, device: torch.device) -> Iterator[Batch]:
    for start in range(0, len(tiles), plan.batch_size):
        samples = [one(tiles[i]) for i in range(start, min(start + plan.batch_size, len(tiles)))]
        yield join(samples, plan.normalisation).to(device)
