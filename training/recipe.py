"""What a recipe must provide; each recipe of the package is one module in ``training/recipes``."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from torch import Tensor, nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.optim import Schedule
from napari_histoseg.models.weights import Weights, WeightsCard
from training import recipes

Share = Annotated[float, Field(ge=0, lt=1)]


class BasePlan(BaseModel):
    """What every run needs to know; recipes add their own fields and give defaults.

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
    """The functions and names of a recipe module."""

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

    def test(self, weights: Weights, data: Path) -> dict[str, float]:
        """Numbers of finished weights on images that steered nothing."""
        ...


def get_recipe(name: str) -> Recipe:
    """The recipe module of that name; ``InputError`` names the nearest when there is none."""
    names = [info.name for info in pkgutil.iter_modules(recipes.__path__)]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names)}."
        raise InputError(f"There is no recipe '{name}'; {hint}")
    return cast(Recipe, importlib.import_module(f"{recipes.__name__}.{name}"))


def make_plan(recipe: Recipe, settings: Mapping[str, Any]) -> BasePlan:
    """The recipe's plan with some settings changed; ``InputError`` when one is unknown or out of bounds."""
    try:
        return recipe.Plan(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(recipe.Plan.model_fields)
        raise InputError(f"Setting '{first['loc'][0]}': {first['msg']}; the settings are {known}.") from None
