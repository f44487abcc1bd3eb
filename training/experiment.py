"""From a plan to everything a run needs: network, batches, loss, optimiser, schedule, validation, card."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning.class_weights import class_weights
from napari_histoseg.learning.freeze import freeze, frozen_statistics, train_mode, trainable, unfreeze_at
from napari_histoseg.learning.loss_registry import Objective, build_loss
from napari_histoseg.learning.optim import (
    Schedule,
    constant,
    cosine,
    decade,
    exponential,
    step_decay,
    warmup_stable_decay,
)
from napari_histoseg.learning.optimizer import BaseOptimizer
from napari_histoseg.learning.optimizers import make_optimizer
from napari_histoseg.learning.watch import Plateau
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import Weights, WeightsCard
from training.augmentation import augmentation
from training.batches import Batches
from training.control import Control
from training.datasets import get_dataset
from training.distributed import World
from training.engine import BeforeStep, Setup
from training.evaluation import evaluate_plan
from training.material import Picture, Tiles, classes_of, normalisation_of, training_and_validation
from training.plan import Plan
from training.starting import take_over
from training.validation import for_centre, validator

_WEIGHTED = ("cross_entropy", "border_cross_entropy", "focal")


@dataclass(frozen=True, eq=False)
class Experiment:
    """A plan as a `Recipe`."""

    name: str
    plan: Plan

    @property
    def test_plan(self) -> Plan:
        return self.plan

    @property
    def sets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.plan.data, *(test.data for test in self.plan.tests))))

    def set_up(self, data: Path, world: World) -> Setup:
        return set_up(self.plan, data, world)

    def card(self) -> WeightsCard:
        return make_card(self.name, self.plan)

    def test(self, weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
        return evaluate_plan(self.plan, weights, data, split=split, out=out)


def set_up(plan: Plan, data: Path, world: World) -> Setup:
    """Everything for a run of this plan.

    Parameters
    ----------
    plan : Plan
    data : Path
        Folder of prepared data sets.
    world : World

    Raises
    ------
    InputError, ModelError
        When the plan asks for what is not there or does not fit together.
    """
    if plan.batch_size % world.size:
        raise InputError(f"A batch of {plan.batch_size} cannot be shared by {world.size} processes; change batch_size.")
    teach, steer = training_and_validation(plan, data)
    most_ignored = 1.0 if plan.target == "score" else plan.max_ignore
    tiles = Tiles(teach, plan.tile_px, plan.stride_px, most_ignored, least_px=plan.crop_px)
    if not plan.crop_px and len(tiles.sizes) > 1:
        raise InputError(f"The images of '{plan.data}' differ in size; set crop_px or tile_px.")
    batches = Batches(tiles, plan, augmentation(plan), world)
    per_epoch = batches.steps_per_epoch
    steps = plan.steps or plan.epochs * per_epoch
    model = build(plan)
    freeze(model, plan.freeze)
    loss = make_loss(plan, teach, per_epoch)
    return Setup(
        model=model,
        steps=steps,
        validate_every=min(steps, plan.validate_every or per_epoch),
        batches=batches.from_step,
        parts=plan.accumulate,
        most_parts=plan.accumulate * plan.batch_size,
        loss=for_centre(loss, plan),
        make_optimizer=lambda network: build_optimizer(plan, network),
        control=make_control(plan, steps, per_epoch),
        validate=validator(plan, Tiles(steer, plan.crop_px or plan.tile_px), loss),
        before_step=_before_step(plan, loss, per_epoch),
        stages=(plan.freeze_epochs * per_epoch,) if plan.freeze and plan.freeze_epochs else (),
        average=plan.average,
        clip_norm=plan.clip_norm or None,
        mode=frozen_statistics(plan.frozen_statistics) if plan.frozen_statistics else train_mode,
        autocast_on_cpu=plan.bfloat16_on_cpu,
    )


def build(plan: Plan) -> nn.Module:
    """The plan's network with random weights from its seed, or those to start with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = get_model(plan.model).build(len(classes_of(plan)), **plan.variant)
    if plan.start:
        take_over(network, plan.start)
    return network


def make_loss(plan: Plan, teach: list[Picture], steps_per_epoch: int) -> Objective:
    """The plan's sum of losses; a scheme of class weights takes the shares of all training pictures."""
    terms = [dict(term) for term in plan.losses]
    if plan.class_weights != "none":
        names = len(classes_of(plan))
        counts = sum(np.bincount(p.truth.ravel(), minlength=256)[:names] for p in teach)
        weights = class_weights(np.asarray(counts), plan.class_weights).tolist()
        for term in terms:
            if term["name"] in _WEIGHTED:
                term.setdefault("class_weight", weights)
    return build_loss(terms, auxiliary=plan.auxiliary, steps_per_epoch=steps_per_epoch)


def build_optimizer(plan: Plan, network: nn.Module) -> BaseOptimizer:
    """The plan's optimiser of what learns in a network."""
    settings = {k: v for k, v in plan.optimizer.items() if k != "name"}
    if plan.weight_decay:
        settings["weight_decay"] = plan.weight_decay
    return make_optimizer(plan.optimizer["name"], trainable(network), lr=plan.learning_rate, **settings)


def make_control(plan: Plan, steps: int, per_epoch: int) -> Control:
    """What steers the run by its validations."""
    settings = dict(plan.schedule)
    name = settings.pop("name")
    plateau = _called(Plateau, name, settings) if name == "plateau" else None
    schedule = plateau or make_schedule(name, settings, steps=steps, per_epoch=per_epoch)
    return Control(plan.monitor, schedule, plateau, plan.patience, plan.keep == "best")


def make_schedule(name: str, settings: dict[str, Any], *, steps: int, per_epoch: int) -> Schedule:
    """A factor on the learning rate by step.

    Raises
    ------
    InputError
        When there is no such schedule or setting.
    """
    if name not in SCHEDULES:
        raise InputError(f"There is no schedule '{name}'; {suggestion(name, SCHEDULES)}")
    known = {"steps": steps, "steps_per_epoch": per_epoch}
    settings = {k: round(v * steps) if k in _SHARES and 0 < v < 1 else v for k, v in settings.items()}
    wanted = inspect.signature(SCHEDULES[name]).parameters
    schedule: Schedule = _called(SCHEDULES[name], name, {k: v for k, v in known.items() if k in wanted} | settings)
    return schedule


def _constant() -> Schedule:
    return constant


def _step(*, steps_per_epoch: int, epochs: int, factor: float = 0.1) -> Schedule:
    """`step_decay` by epochs."""
    return step_decay(every=epochs * steps_per_epoch, factor=factor)


_SHARES = ("warmup", "decay")
"""Settings that may be a share of all steps instead of a number of them."""

SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "plateau": Plateau,
    "warmup_stable_decay": warmup_stable_decay,
    "cosine": cosine,
    "exponential": exponential,
    "decade": decade,
    "step": _step,
}


def _called(make: Callable[..., Any], name: str, settings: dict[str, Any]) -> Any:
    try:
        inspect.signature(make).bind(**settings)
    except TypeError as error:
        raise InputError(f"The schedule '{name}' cannot be set so: {error}.") from None
    return make(**settings)


def _before_step(plan: Plan, loss: Objective, per_epoch: int) -> BeforeStep:
    """What changes between steps: the epoch that an auxiliary loss fades by, and parts that begin to learn."""

    def prepare(model: nn.Module, optimizer: Any) -> Callable[[int], None]:
        calls: list[Callable[[int], None]] = [loss.before_step]
        if plan.freeze and plan.freeze_epochs:
            calls.append(unfreeze_at(plan.freeze_epochs * per_epoch, model, plan.freeze, optimizer))

        def before_step(step: int) -> None:
            for call in calls:
                call(step)

        return before_step

    return prepare


def make_card(name: str, plan: Plan) -> WeightsCard:
    """What is known of the weights before they are tested."""
    dataset = get_dataset(plan.data)
    return WeightsCard(
        name=plan.name or name.replace("/", "-"),
        model=plan.model,
        variant=plan.variant,
        classes=classes_of(plan),
        mpp=plan.mpp or get_model(plan.model).spec.mpp,
        normalisation=normalisation_of(plan),
        licence=dataset.licence.partition(" (")[0],
        attribution=f"Trained on {dataset.title}; {dataset.licence}; {dataset.source}.",
        data=f"{dataset.name}, split '{plan.train_split}' for training",
        recipe=f"training plan {plan.model_dump_json()}",
        seed=plan.seed,
    )
