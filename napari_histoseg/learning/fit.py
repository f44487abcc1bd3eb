"""The one training loop: fine-tuning in the window and training from scratch both run it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_histoseg.learning.adam import Optimizer
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.optim import Schedule, WeightAverage


@dataclass(frozen=True)
class FitStep:
    """One optimiser step that was taken; ``step`` counts from 1 to ``total``."""

    step: int
    total: int
    loss: float
    lr: float


def train_mode(model: nn.Module) -> None:
    """Every layer learns, batch-norm statistics follow the batches."""
    model.train()


def train_mode_frozen_statistics(model: nn.Module) -> None:
    """Weights learn, batch-norm layers normalise with the statistics they came with and never change them."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def fit(
    model: nn.Module,
    batches: Iterator[Batch],
    *,
    loss: Callable[[Tensor, Batch], Tensor],
    optimizer: Optimizer,
    schedule: Schedule,
    steps: int,
    device: torch.device | str,
    first_step: int = 0,
    mode: Callable[[nn.Module], None] = train_mode,
    average: WeightAverage | None = None,
    clip_norm: float | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> Generator[FitStep, None, None]:
    """Take one optimiser step per ``next()``; closing the generator stops between two steps.

    Parameters
    ----------
    model : nn.Module
        Trained in place, already on ``device``; in evaluation mode again when the loop ends or is closed.
    batches : iterator of Batch
        Must not end before ``steps - first_step`` batches.
    loss : callable
        ``loss(logits, batch)``, a scalar with a graph.
    optimizer : Optimizer
        Its learning rates at the first call of all are the base that ``schedule`` scales.
    schedule : callable
        Factor on the base learning rate by step, counted from 0.
    steps, first_step : int
        Steps of the whole run, and those already taken when it is resumed.
    device : torch.device or str
    mode : callable
        Puts the model in training mode before each step: `train_mode` or `train_mode_frozen_statistics`.
    average : WeightAverage, optional
        Updated after each step.
    clip_norm : float, optional
        Longest gradient allowed.
    autocast_dtype : torch.dtype, optional
        Lower precision for the forward pass; losses are computed in float32 all the same.

    Yields
    ------
    FitStep
    """
    kind = torch.device(device).type
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    try:
        for step in range(first_step, steps):
            batch = next(batches).to(device)
            mode(model)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * schedule(step)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(kind, dtype=autocast_dtype, enabled=autocast_dtype is not None):
                logits = model(batch.image)
            value = loss(logits, batch)
            value.backward()  # type: ignore[no-untyped-call]
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            if average is not None:
                average.update(model)
            yield FitStep(step + 1, steps, value.item(), optimizer.param_groups[0]["lr"])
    finally:
        model.eval()
