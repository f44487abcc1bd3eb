"""The one training loop: fine-tuning in the window and training from scratch both run it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.freeze import Mode, train_mode
from napari_histoseg.learning.optim import Schedule, WeightAverage
from napari_histoseg.learning.optimizer import Optimizer

Loss = Callable[[Any, Batch], Tensor]
"""``loss(output, batch)``: a scalar with a graph, from what the network returns in training mode."""


@dataclass(frozen=True)
class FitStep:
    """One optimiser step that was taken; ``step`` counts from 1 to ``total``."""

    step: int
    total: int
    loss: float
    lr: float


def fit(
    model: nn.Module,
    batches: Iterator[Batch],
    *,
    loss: Loss,
    optimizer: Optimizer,
    schedule: Schedule,
    steps: int,
    device: torch.device | str,
    first_step: int = 0,
    accumulate: int = 1,
    mode: Mode = train_mode,
    before_step: Callable[[int], None] | None = None,
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
        Must not end before ``(steps - first_step) * accumulate`` batches.
    loss : callable
        ``loss(output, batch)``, a scalar with a graph; ``output`` is what the network returns, see `models.outputs`.
    optimizer : Optimizer
        Its learning rates at the first call of all are the base that ``schedule`` scales.
    schedule : callable
        Factor on the base learning rate by step, counted from 0.
    steps, first_step : int
        Steps of the whole run, and those already taken when it is resumed.
    device : torch.device or str
    accumulate : int
        Batches of one step: their losses are averaged, so that small memory takes the step of a large batch.
    mode : callable
        Puts the model in training mode before each step: one of `learning.freeze`.
    before_step : callable, optional
        Called with the number of the step, from 0: may unfreeze parts and add groups to the optimiser.
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
    try:
        for step in range(first_step, steps):
            if before_step is not None:
                before_step(step)
            mode(model)
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * schedule(step)
            optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for _ in range(accumulate):
                batch = next(batches).to(device)
                with torch.autocast(kind, dtype=autocast_dtype, enabled=autocast_dtype is not None):
                    output = model(batch.image)
                value = loss(output, batch) / accumulate
                value.backward()  # type: ignore[no-untyped-call]
                total += value.item()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            if average is not None:
                average.update(model)
            yield FitStep(step + 1, steps, total, optimizer.param_groups[0]["lr"])
    finally:
        model.eval()
