"""A recipe whose module brings its own batches, loss, validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.batch import Batch
from napari_histoseg.models.weights import Weights, WeightsCard
from training.control import Control
from training.distributed import World
from training.engine import Setup
from training.plan import Plan
from training.recipe import BasePlan, RecipeModule

_CLIP_NORM = 5.0


@dataclass(frozen=True, eq=False)
class ModuleRecipe:
    """A module and its plan, as a `Recipe`: AdamW, the running average of the weights, one process."""

    name: str
    module: RecipeModule
    plan: BasePlan

    @property
    def test_plan(self) -> Plan:
        return self.module.TESTS

    @property
    def sets(self) -> tuple[str, ...]:
        return self.module.SETS

    def set_up(self, data: Path, world: World) -> Setup:
        if world.size > 1:
            raise InputError(f"Recipe '{self.name}' runs in one process; start it without torchrun.")
        module, plan = self.module, self.plan

        def batches(first_step: int, parts: int) -> Iterator[Batch]:
            return module.batches(plan, data, first_step)

        return Setup(
            model=module.build(plan),
            steps=plan.steps,
            validate_every=plan.validate_every,
            batches=batches,
            parts=1,
            most_parts=1,
            loss=module.loss,
            make_optimizer=lambda network: torch.optim.AdamW(
                network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
            ),
            control=Control("-dice_mean", module.schedule(plan), keeps_best=False),
            validate=lambda network: module.validate(network, data),
            average=plan.average,
            clip_norm=_CLIP_NORM,
            autocast_on_cpu=True,
        )

    def card(self) -> WeightsCard:
        return self.module.card(self.plan)

    def test(self, weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
        return self.module.test(weights, data, split=split, out=out)
