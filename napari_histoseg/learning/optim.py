"""Learning-rate schedules as pure functions of the step, and a running average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Schedule = Callable[[int], float]
"""Factor on the base learning rate of the step that is about to be taken, counted from 0."""


def constant(step: int) -> float:
    """No schedule: every step takes the base learning rate."""
    return 1.0


def warmup_stable_decay(*, steps: int, warmup: int, decay: int) -> Schedule:
    """Linear rise over ``warmup`` steps, a plateau at 1, a half cosine to 0 over the last ``decay`` steps.

    Before the decay the factor does not depend on ``steps``, so a run may be lengthened or shortened until then and
    still equals one planned that way from the start.
    """

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup))
        left = steps - step
        fall = 1.0 if left >= decay else 0.5 * (1 - math.cos(math.pi * max(0, left) / decay))
        return rise * fall

    return factor


def cosine(*, steps: int, warmup: int = 0) -> Schedule:
    """Linear rise over ``warmup`` steps, then a half cosine to 0 at ``steps``."""
    return warmup_stable_decay(steps=steps, warmup=warmup, decay=max(1, steps - warmup))


def exponential(*, steps_per_epoch: int, rate: float = 0.96) -> Schedule:
    """``rate`` to the power of the epoch, counted from 0."""
    return lambda step: rate ** (step // steps_per_epoch)


def decade(*, steps_per_epoch: int, epochs: int = 5, staircase: bool = False) -> Schedule:
    """``10^(-epoch / epochs)``: a tenth every ``epochs`` epochs, counted from 0 (Micro-Net).

    Parameters
    ----------
    steps_per_epoch : int
    epochs : int
    staircase : bool
        Fall once in ``epochs`` epochs instead of a little in each.
    """

    def factor(step: int) -> float:
        epoch = step // steps_per_epoch
        return float(10.0 ** -(epoch // epochs if staircase else epoch / epochs))

    return factor


def step_decay(*, every: int, factor: float = 0.1) -> Schedule:
    """Multiplied by ``factor`` after every ``every`` steps."""
    return lambda step: factor ** (step // every)


class WeightAverage:
    """Exponential moving average of everything in a model's state: weights and batch-norm statistics.

    The decay grows from 0 as ``(1 + n) / (10 + n)`` with the number of updates ``n`` until it reaches ``decay``, so
    that the random start is forgotten soon.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self._state[key].lerp_(value, 1 - decay)
            else:
                self._state[key].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """A copy of the averaged state, in the keys of the model's ``state_dict``."""
        return {k: v.clone() for k, v in self._state.items()}

    def restore(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Continue an average that was saved with its number of updates."""
        for key, value in self._state.items():
            value.copy_(state[key])
        self.updates = updates
