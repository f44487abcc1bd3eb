"""What can be trained: each module in ``training/recipes`` holds the experiments of one paper or question.

Most hold them as data: ``EXPERIMENTS``, plans by name. A module may instead bring its own batches and validation.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from torch import Tensor, nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.optim import Schedule
from napari_histoseg.models.weights import Weights, WeightsCard
from training import recipes
from training.plan import Plan as TestPlan
from training.plan import Share, change_plan

if TYPE_CHECKING:
    from training.distributed import World
    from training.engine import Setup

__all__ = ["BasePlan", "Recipe", "RecipeModule", "Share", "open_recipe", "recipe_names"]


class BasePlan(BaseModel):
    """What a module that brings its own batches needs to know; it adds its own fields and gives defaults.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    warmup, decay : int
        First steps, in which the learning rate rises, and last steps, in which it falls to 0.
    batch_size : int
        Images in a step.
    learning_rate, weight_decay : float
        Of AdamW.
    average : float
        Decay of the running average of the weights, which is what is kept in the end.
    validate_every : int
        Steps between two validations.
    seed : int
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: PositiveInt
    warmup: NonNegativeInt
    decay: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    average: Share
    validate_every: PositiveInt = 500
    seed: NonNegativeInt = 1


class Recipe(Protocol):
    """Something that can be trained and tested."""

    @property
    def name(self) -> str:
        """What `open_recipe` takes."""
        ...

    @property
    def plan(self) -> BaseModel:
        """Everything that decides the result, besides the data."""
        ...

    @property
    def test_plan(self) -> TestPlan:
        """Classes and sets of the test."""
        ...

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the prepared sets that it learns from and is tested on, the first being the one to learn from."""
        ...

    def set_up(self, data: Path, world: World) -> Setup:
        """A run of it."""
        ...

    def card(self) -> WeightsCard:
        """What is known of the weights before they are tested."""
        ...

    def test(self, weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
        """Numbers of finished weights on a split; ``out`` receives those of each image."""
        ...


class RecipeModule(Protocol):
    """The functions and names of a module that brings its own batches and validation."""

    SETS: tuple[str, ...]
    TESTS: TestPlan
    Plan: type[BasePlan]

    def build(self, plan: Any) -> nn.Module:
        """The network with the plan's random weights."""
        ...

    def batches(self, plan: Any, data: Path, first_step: int) -> Iterator[Batch]:
        """Endless batches from a step on; each depends on seed and step alone."""
        ...

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Loss of a batch."""
        ...

    def schedule(self, plan: Any) -> Schedule:
        """Factor on the learning rate by step."""
        ...

    def validate(self, model: nn.Module, data: Path) -> dict[str, float]:
        """Numbers of a model in evaluation mode on images that steer choices."""
        ...

    def card(self, plan: Any) -> WeightsCard:
        """What is known of the weights before they are tested."""
        ...

    def test(self, weights: Weights, data: Path, *, split: str, out: Path | None) -> dict[str, Any]:
        """Numbers of finished weights on a split; ``out`` receives those of each image."""
        ...


def recipe_names() -> list[str]:
    """What `open_recipe` takes: modules that stand alone, and ``module/experiment`` for each experiment."""
    names: list[str] = []
    for info in pkgutil.iter_modules(recipes.__path__):
        experiments = getattr(_import(info.name), "EXPERIMENTS", None)
        names += [info.name] if experiments is None else [f"{info.name}/{experiment}" for experiment in experiments]
    return names


def open_recipe(name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name with some settings changed.

    Parameters
    ----------
    name : str
        A module of ``training/recipes``, or ``module/experiment``; the module alone means its first experiment.
    settings : mapping, optional

    Raises
    ------
    InputError
        When there is no such recipe or setting (the nearest is named), or a value is not possible.
    """
    module_name, _, experiment = name.partition("/")
    modules = [info.name for info in pkgutil.iter_modules(recipes.__path__)]
    if module_name not in modules:
        raise _unknown("recipe", module_name, modules)
    module = _import(module_name)
    experiments = getattr(module, "EXPERIMENTS", None)
    if experiments is None:
        if experiment:
            raise InputError(f"Recipe '{module_name}' has no experiments to choose from; leave out '/{experiment}'.")
        return _own_way(module_name, module, settings or {})
    experiment = experiment or next(iter(experiments))
    if experiment not in experiments:
        raise _unknown(f"experiment of '{module_name}'", experiment, list(experiments))
    from training.experiment import Experiment

    return Experiment(f"{module_name}/{experiment}", change_plan(experiments[experiment], settings or {}))


def _own_way(name: str, module: ModuleType, settings: Mapping[str, Any]) -> Recipe:
    from training.module_recipe import ModuleRecipe

    recipe = cast(RecipeModule, module)
    try:
        return ModuleRecipe(name, recipe, recipe.Plan(**settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise _unknown("setting", key, list(recipe.Plan.model_fields)) from None
        raise InputError(f"Setting '{key}': {first['msg']}.") from None


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"{recipes.__name__}.{name}")


def _unknown(what: str, name: str, known: list[str]) -> InputError:
    return InputError(f"There is no {what} '{name}'; {suggestion(name, known)}")
