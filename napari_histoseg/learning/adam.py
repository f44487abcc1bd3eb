"""The optimiser of fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """What the fit loop needs of an optimiser; those of torch have it."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), with the numbers of ``torch.optim.Adam``.

    The optimisers of torch import its compiler when the first one is made. That takes seconds in which a window
    stands still, and loads a native library that crashes the process beside Mesa's software OpenGL. Training from
    scratch has no window and uses torch's own.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
        Step size; ``param_groups[0]["lr"]`` changes it later.
    betas : (float, float)
    eps : float
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._mean = [torch.zeros_like(p) for p in self._parameters]
        self._square = [torch.zeros_like(p) for p in self._parameters]
        self._betas = betas
        self._eps = eps
        self._steps = 0
        self.param_groups: list[dict[str, Any]] = [{"params": self._parameters, "lr": lr}]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        for p in self._parameters:
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self._steps += 1
        beta1, beta2 = self._betas
        shrink1, shrink2 = 1 - beta1**self._steps, 1 - beta2**self._steps
        lr = self.param_groups[0]["lr"]
        for p, mean, square in zip(self._parameters, self._mean, self._square, strict=True):
            if p.grad is None:
                continue
            mean.lerp_(p.grad, 1 - beta1)
            square.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            p.addcdiv_(mean, (square / shrink2).sqrt_().add_(self._eps), value=-lr / shrink1)
