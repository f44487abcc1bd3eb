"""What steers a run by its validations: learning rate, best weights, early stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.optim import Schedule, constant
from napari_histoseg.learning.watch import Plateau
from training.checkpoint import Progress, read_progress


@dataclass
class Control:
    """State that follows the validations of a run.

    Parameters
    ----------
    monitor : str
        Number of the validation that counts, ``-`` before it where larger is better; ``train_loss`` is known too.
    schedule : callable
        Factor on the learning rate by step.
    plateau : Plateau, optional
        The schedule, where it follows the validations.
    patience : int
        Validations without improvement after which the run is over; 0 never.
    keeps_best : bool
        The run ends with the weights of its best validation.
    """

    monitor: str
    schedule: Schedule = constant
    plateau: Plateau | None = None
    patience: int = 0
    keeps_best: bool = True
    best: float = math.inf
    waited: int = 0

    @property
    def is_over(self) -> bool:
        """True when the patience is at its end."""
        return 0 < self.patience <= self.waited

    def value(self, numbers: Mapping[str, float]) -> float:
        """The number that counts, the smaller the better."""
        name = self.monitor.removeprefix("-")
        if name not in numbers:
            raise InputError(f"The validation has no '{name}' to monitor; it has {', '.join(numbers)}.")
        return -numbers[name] if self.monitor.startswith("-") else numbers[name]

    def observe(self, value: float) -> bool:
        """Take note of a validation; True when it is the best so far, or the first."""
        is_first = math.isinf(self.best) and self.waited == 0
        is_best = value < self.best or is_first
        self.waited = 0 if value < self.best else self.waited + 1
        if value < self.best:
            self.best = value
        if self.plateau is not None:
            self.plateau.update(value)
        return is_best

    def progress(self, step: int) -> Progress:
        """For a checkpoint."""
        state = {"best": self.best, "waited": self.waited}
        return Progress(step, state if self.plateau is None else state | {"plateau": self.plateau.state()})

    def restore(self, path: Path) -> int:
        """Go on from a checkpoint; returns its step."""
        progress = read_progress(path)
        self.best, self.waited = progress.control["best"], progress.control["waited"]
        if self.plateau is not None:
            vars(self.plateau).update(progress.control["plateau"])
        return progress.step
