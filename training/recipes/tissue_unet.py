"""The tissue starter: cancer, stroma, other epithelium and background in H&E, from the epithelium starter on.

The network is that of `epithelium_unet` and begins with its weights, except the last layer; EBHI-Seg's categories tell
which of the outlined glands are cancer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from napari_histoseg.core.schemas import COLON_TISSUE
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.losses import ce_dice
from napari_histoseg.learning.metrics import confusion_matrix, dice, mean_iou
from napari_histoseg.learning.optim import Schedule
from napari_histoseg.models.weights import Weights, WeightsCard, load_state, resolve
from napari_histoseg.models.zoo.unet import build as build_unet
from training import prepared
from training.datasets import ebhi
from training.evaluation import evaluate_plan
from training.plan import Plan as TestPlan
from training.plan import TestSet
from training.recipes import epithelium_unet

SETS = ("ebhi_tissue",)
START = "unet-epithelium"
CLASSES = COLON_TISSUE.classes
_HEAD = "head."
TESTS = TestPlan(
    title="Tissue starter",
    model="unet",
    data=SETS[0],
    schema_id=COLON_TISSUE.id,
    tests=(TestSet(data=SETS[0]),),
)


class Plan(epithelium_unet.Plan):
    """As for the epithelium starter, but shorter and with a lower learning rate, since features are there already."""

    steps: PositiveInt = 2000
    warmup: NonNegativeInt = 100
    decay: PositiveInt = 1000
    learning_rate: PositiveFloat = 1e-3
    settle: NonNegativeInt = 600


def build(plan: Plan) -> nn.Module:
    """The network with the epithelium starter's weights, and a random last layer."""
    torch.manual_seed(plan.seed)
    network = build_unet(len(CLASSES), width=plan.width, batch_norm=True)
    start = {k: v for k, v in load_state(resolve("unet", START)).items() if not k.startswith(_HEAD)}
    network.load_state_dict(network.state_dict() | start)
    return network


def card(plan: Plan) -> WeightsCard:
    """What is known of the weights before they are tested."""
    return WeightsCard(
        name="unet-tissue",
        model="unet",
        variant={"width": plan.width, "batch_norm": True},
        classes=CLASSES,
        mpp=ebhi.MPP,
        licence="CC BY 4.0",
        attribution=(
            "Trained on EBHI-Seg by Shi et al. (2023), 'EBHI-Seg: A novel enteroscope biopsy histopathological "
            "hematoxylin and eosin image dataset for image segmentation tasks', Frontiers in Medicine 10:1114673, "
            "CC BY 4.0. Changes: classes were derived from category, outline and empty glass."
        ),
        data="EBHI-Seg, 7 of 10 cases for training, 1 for validation, 2 for test; high-grade neoplasia left out",
        recipe=f"training/recipes/tissue_unet.py with {plan.model_dump_json()}",
        seed=plan.seed,
        parent=START,
    )


def batches(plan: Plan, data: Path, first_step: int) -> Iterator[Batch]:
    """Augmented batches from ``first_step`` on, as for the epithelium starter."""
    return epithelium_unet.batches_of(plan, prepared.load(data, SETS[0]).where(split="train"), first_step)


def schedule(plan: Plan) -> Schedule:
    """That of the epithelium starter."""
    return epithelium_unet.schedule(plan)


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy and soft Dice; high-grade neoplasia counts in neither."""
    return ce_dice(logits, batch.labels)


def validate(model: nn.Module, data: Path) -> dict[str, float]:
    """Dice of each class over all pixels of the validation images, their mean, and the mean IoU."""
    items = prepared.load(data, SETS[0]).where(split="validation")
    total = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    with torch.inference_mode():
        for start in range(0, len(items), 16):
            images = torch.from_numpy(items.images[start : start + 16]).permute(0, 3, 1, 2).float().div_(255)
            predicted = model(images.contiguous(memory_format=torch.channels_last)).argmax(dim=1).numpy()
            total += confusion_matrix(items.labels[start : start + 16], predicted, num_classes=len(CLASSES))
    of_class = dice(total)
    numbers = {f"dice_{c.name.replace(' ', '_')}": float(value) for c, value in zip(CLASSES, of_class, strict=True)}
    return numbers | {"dice_mean": float(of_class.mean()), "mean_iou": mean_iou(total)}


def test(weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
    """Dice and IoU of each class on a split of EBHI-Seg."""
    return evaluate_plan(TESTS, weights, data, split=split, out=out)
