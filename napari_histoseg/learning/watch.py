"""A learning rate that follows the validations of a run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

_LEAST_GAIN = 1e-4


@dataclass
class Plateau:
    """A schedule for the fit loop that shrinks when the number has not improved for more than ``patience`` updates.

    The same as ``torch.optim.lr_scheduler.ReduceLROnPlateau``: smaller is better, NaN is never better, and an
    improvement is at least 0.01 %.

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
        gain = self.best - value
        if gain > _LEAST_GAIN * abs(self.best) or gain == math.inf:
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
