"""Adam and AdamW, with the numbers of torch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from napari_histoseg.learning.optimizer import BaseOptimizer, Parameters


class Adam(BaseOptimizer):
    """Adam (Kingma & Ba 2015, algorithm 1).

    Parameters
    ----------
    parameters : iterable of Tensor or of groups
    lr : float
        Step size; ``param_groups[0]["lr"]`` changes it later.
    betas : (float, float)
    eps : float
    """

    def __init__(
        self, parameters: Parameters, *, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps)

    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"mean": torch.zeros_like(p), "square": torch.zeros_like(p)}

    def move(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        steps, (beta1, beta2) = int(state["step"]), group["betas"]
        mean, square = state["mean"], state["square"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (square / (1 - beta2**steps)).sqrt_().add_(group["eps"])
        p.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**steps))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): each step first shrinks by ``lr * weight_decay``."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        BaseOptimizer.__init__(self, parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def move(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        super().move(p, gradient, state, group)
