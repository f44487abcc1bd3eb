"""Stochastic gradient descent, with the numbers of torch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from napari_histoseg.learning.optimizer import BaseOptimizer, Parameters


class SGD(BaseOptimizer):
    """Steps down the gradient, with momentum and an L2 penalty if wanted.

    Parameters
    ----------
    parameters : iterable of Tensor or of groups
    lr : float
    momentum : float
        Share of the last step's direction that is kept.
    weight_decay : float
        Pull of each weight to 0, added to its gradient.
    """

    def __init__(self, parameters: Parameters, *, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"direction": torch.zeros_like(p)} if group["momentum"] else {}

    def move(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        if group["momentum"]:
            gradient = state["direction"].mul_(group["momentum"]).add_(gradient)
        p.add_(gradient, alpha=-group["lr"])
