"""What follows a validation number during training: a learning rate that falls when it stalls, and an early end.

The number is a loss: smaller is better, and NaN is never better. Where an edit set is too small to split, give the
training loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor, nn

_LEAST_GAIN = 1e-4


@dataclass
class Plateau:
    """A schedule for the fit loop that shrinks when the number has not improved for more than ``patience`` updates.

    The same as ``torch.optim.lr_scheduler.ReduceLROnPlateau``: an improvement is at least 0.01 %.

    Parameters
    ----------
    patience : int
    factor : float
        What the learning rate is multiplied by each time.
    best, waited, scale : float
        Where it stands; ``vars()`` of one continues another.
    """

    patience: int = 10
    factor: float = 0.1
    best: float = math.inf
    waited: int = 0
    scale: float = 1.0

    def update(self, value: float) -> None:
        """Take notice of the number of one epoch."""
        if value < self.best * (1 - _LEAST_GAIN):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.scale, self.waited = self.scale * self.factor, 0

    def __call__(self, step: int) -> float:
        return self.scale

    def state(self) -> dict[str, float]:
        """JSON for a checkpoint; ``Plateau(**state)`` goes on from it."""
        return asdict(self)


class EarlyStop:
    """Ends a run when its number has not improved for ``patience`` updates, and remembers the best weights.

    Parameters
    ----------
    patience : int
    min_delta : float
        Least gain that counts.
    """

    def __init__(self, *, patience: int = 20, min_delta: float = 0.0) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.best = math.inf
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def update(self, value: float, model: nn.Module) -> bool:
        """Take notice of the number of one epoch; true when training should end."""
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            self.weights = {key: tensor.detach().cpu().clone() for key, tensor in model.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore_best(self, model: nn.Module) -> None:
        """Give a model the weights of the best number; without any it stays as it is."""
        if self.weights:
            model.load_state_dict(self.weights)

    def resume(self, *, best: float, waited: int, weights: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint kept of these three."""
        self.best, self.waited, self.weights = best, waited, dict(weights)
