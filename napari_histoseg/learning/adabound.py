"""AdaBound: Adam at first, gradually SGD."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from napari_histoseg.learning.optimizer import BaseOptimizer, Parameters

_ADAM_LIKE_STEPS = 100


class AdaBound(BaseOptimizer):
    """Adam whose step sizes are clamped between two bounds that close on ``final_lr`` (Luo et al. 2019, algorithm 2).

    Parameters
    ----------
    parameters : iterable of Tensor or of groups
    lr : float
        Step size of the Adam-like beginning.
    betas : (float, float)
    final_lr : float
        Step size of the SGD-like end. A schedule that scales ``lr`` scales it, too.
    gamma : float
        How fast the bounds close.
    eps : float
    weight_decay : float
        Pull of each weight to 0, added to its gradient.
    amsbound : bool
        Use the largest second moment so far.
    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        final_lr: float = 0.1,
        gamma: float = 1e-3,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsbound: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            betas=betas,
            final_lr=final_lr,
            gamma=gamma,
            eps=eps,
            weight_decay=weight_decay,
            amsbound=amsbound,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("base_lr", self.param_groups[-1]["lr"])

    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        names = ("mean", "square", "largest") if group["amsbound"] else ("mean", "square")
        return {name: torch.zeros_like(p) for name in names}

    def move(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        steps, (beta1, beta2) = int(state["step"]), group["betas"]
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        mean, square = state["mean"], state["square"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if group["amsbound"]:
            square = torch.maximum(state["largest"], square, out=state["largest"])
        size = group["lr"] * sqrt(1 - beta2**steps) / (1 - beta1**steps)
        low, high = bounds(steps, final_lr=group["final_lr"] * group["lr"] / group["base_lr"], gamma=group["gamma"])
        p.sub_((size / square.sqrt().add_(group["eps"])).clamp_(low, high).mul_(mean))


def bounds(step: int, *, final_lr: float, gamma: float) -> tuple[float, float]:
    """Least and largest step size at a step, counted from 1."""
    return final_lr * (1 - 1 / (gamma * step + 1)), final_lr * (1 + 1 / (gamma * step))


def short_run_warning(steps: int) -> str | None:
    """A sentence when a run ends while AdaBound is still like Adam, so that ``final_lr`` has no effect yet."""
    if steps >= _ADAM_LIKE_STEPS:
        return None
    return (
        f"AdaBound is still in its Adam-like beginning after {steps} steps; take at least {_ADAM_LIKE_STEPS} steps, "
        "or choose Adam."
    )
