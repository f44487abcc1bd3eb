"""The starter model: a narrow U-Net that finds glands and epithelium, trained from scratch on EBHI-Seg."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.learning.augment import Appearance, Placement, random_crop, random_scale, vary_appearance
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.losses import ce_dice
from napari_histoseg.learning.metrics import Spread, confusion_matrix, dice_per_image, mean_iou
from napari_histoseg.learning.optim import Schedule, warmup_stable_decay
from napari_histoseg.models.weights import Weights, WeightsCard
from napari_histoseg.models.zoo.unet import build as build_unet
from training import prepared
from training.datasets import ebhi
from training.evaluation import EPITHELIUM_TESTS, evaluate_epithelium
from training.prepared import Prepared
from training.recipe import BasePlan, Share

SETS = ("ebhi", "glas")
TESTS = EPITHELIUM_TESTS
CLASSES = len(EPITHELIUM.classes)
_SETTLE_WARMUP = 50


class Plan(BasePlan):
    """Everything that decides the result, besides the data.

    Parameters
    ----------
    settle : int
        Last steps, a second and lower cycle of the learning rate with milder changes of the images. Without it the
        network fits its own training images no better than new ones: it is short of practice, not of variety.
    width : int
        Channels of the first level.
    scale_low, scale_high : float
        Range of magnifications.
    """

    steps: PositiveInt = 6100
    warmup: NonNegativeInt = 200
    decay: PositiveInt = 3000
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 0.02
    average: Share = 0.998
    settle: NonNegativeInt = 1500
    width: PositiveInt = 16
    scale_low: PositiveFloat = 0.55
    scale_high: PositiveFloat = 1.6


def build(plan: Plan) -> nn.Module:
    """The network with the plan's random weights."""
    torch.manual_seed(plan.seed)
    return build_unet(CLASSES, width=plan.width, batch_norm=True)


def card(plan: Plan) -> WeightsCard:
    """What is known of the weights before they are tested."""
    return WeightsCard(
        name="unet-epithelium",
        model="unet",
        variant={"width": plan.width, "batch_norm": True},
        classes=EPITHELIUM.classes,
        mpp=ebhi.MPP,
        licence="CC BY 4.0",
        attribution=(
            "Trained on EBHI-Seg by Shi et al. (2023), 'EBHI-Seg: A novel enteroscope biopsy histopathological "
            "hematoxylin and eosin image dataset for image segmentation tasks', Frontiers in Medicine 10:1114673, "
            "CC BY 4.0. Changes: empty glass outside the outlines was told from other tissue by brightness."
        ),
        data="EBHI-Seg, 7 of 10 cases for training, 1 for validation, 2 for test; µm per pixel assumed, not stated",
        recipe=f"training/recipes/epithelium_unet.py with {plan.model_dump_json()}",
        seed=plan.seed,
    )


def batches(plan: Plan, data: Path, first_step: int) -> Iterator[Batch]:
    """Augmented batches from ``first_step`` on; each depends on seed and step alone."""
    return batches_of(plan, prepared.load(data, "ebhi").where(split="train"), first_step)


def batches_of(plan: Plan, train: Prepared, first_step: int) -> Iterator[Batch]:
    """Augmented batches of these images, whose labels are class ids.

    A batch has one magnification for all its images, and crops as large as the magnified image up to its native
    side, so that small magnifications cost little.
    """
    images = torch.from_numpy(train.images).permute(0, 3, 1, 2)
    labels = torch.from_numpy(train.labels)
    side_px = labels.shape[-1]
    step = first_step
    while True:
        phase = _phase(plan, step)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        chosen = _epoch_slice(len(train), plan, step)
        placement = Placement(scale=(plan.scale_low, plan.scale_high), jitter=0.12, rotation=phase.rotation)
        native = torch.rand((), generator=generator) < phase.native
        scale = 1.0 if native else random_scale(placement, generator)
        size_px = min(side_px, round(side_px * scale / 16) * 16)
        here = replace(placement, jitter=0.0) if native else placement
        batch = Batch(images[chosen].float().div_(255), labels[chosen].long())
        batch = random_crop(batch, here, generator, size_px=size_px, scale=scale)
        image = vary_appearance(batch.image, phase.appearance, generator)
        yield replace(batch, image=image.contiguous(memory_format=torch.channels_last))
        step += 1


@dataclass(frozen=True)
class _Phase:
    """How much images vary: ``native`` is the share of batches at the set's own magnification."""

    native: float
    rotation: float
    appearance: Appearance


_EXPLORE = _Phase(0.3, 0.35, Appearance())
_DECAY = _Phase(0.5, 0.35, Appearance())
_SETTLE = _Phase(0.7, 0.15, Appearance(chance=0.6))


def _phase(plan: Plan, step: int) -> _Phase:
    first_cycle = plan.steps - plan.settle
    if step >= first_cycle:
        return _SETTLE
    return _EXPLORE if step < first_cycle - plan.decay else _DECAY


def schedule(plan: Plan) -> Schedule:
    """Warm-up, plateau and decay; then, for the settling, half the learning rate and a second decay."""
    first_cycle = plan.steps - plan.settle
    first = warmup_stable_decay(steps=first_cycle, warmup=plan.warmup, decay=plan.decay)
    second = warmup_stable_decay(steps=plan.settle, warmup=_SETTLE_WARMUP, decay=max(1, plan.settle))
    return lambda step: first(step) if step < first_cycle else 0.5 * second(step - first_cycle)


def _epoch_slice(count: int, plan: Plan, step: int) -> Tensor:
    """Indices of the step's images: shuffled anew in each pass through the data."""
    per_epoch = count // plan.batch_size
    epoch, position = divmod(step, per_epoch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(plan.seed * 7919 + epoch))
    return order[position * plan.batch_size : (position + 1) * plan.batch_size]


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy and soft Dice."""
    return ce_dice(logits, batch.labels)


def validate(model: nn.Module, data: Path) -> dict[str, float]:
    """Dice of epithelium per validation image (mean, population standard deviation, n), and the mean IoU."""
    items = prepared.load(data, "ebhi").where(split="validation")
    matrices = []
    with torch.inference_mode():
        for start in range(0, len(items), 16):
            images = torch.from_numpy(items.images[start : start + 16]).permute(0, 3, 1, 2).float().div_(255)
            predicted = model(images.contiguous(memory_format=torch.channels_last)).argmax(dim=1).numpy()
            truths = items.labels[start : start + 16]
            matrices += [confusion_matrix(t, p, num_classes=CLASSES) for t, p in zip(truths, predicted, strict=True)]
    spread: Spread = dice_per_image(matrices, ebhi.EPITHELIUM)
    total = np.sum(matrices, axis=0)
    return {"dice_mean": spread.mean, "dice_sd": spread.sd, "n": spread.n, "mean_iou": mean_iou(total)}


def test(weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
    """Numbers of finished weights on a split of EBHI-Seg and on GlaS."""
    return evaluate_epithelium(weights, data, split=split, out=out)
