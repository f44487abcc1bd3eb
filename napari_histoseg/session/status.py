"""What the session tells about itself: frozen facts for panels and commands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from napari_histoseg.models.spec import ModelSpec
    from napari_histoseg.models.weights import Weights

JobKind = Literal["predict", "finetune", "score", "points", "features", "repaint"]
JobState = Literal["queued", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class JobStatus:
    """Where a run stands.

    Parameters
    ----------
    kind : {"predict", "finetune", "score", "points", "features", "repaint"}
    state : {"queued", "running", "done", "cancelled", "failed"}
    image_id : str or None
        The image that is worked on; None for fine-tuning.
    done, total : int
        Tiles, steps, fields or cells; ``total`` 0 means not known yet.
    message : str
        What is being done, or why it ended, for the person.
    eta_s : float or None
        Seconds left, once they can be told.
    """

    kind: JobKind
    state: JobState
    image_id: str | None = None
    done: int = 0
    total: int = 0
    message: str = ""
    eta_s: float | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")


class Runner(Protocol):
    """Runs one kind of job, at most one at a time."""

    @property
    def is_running(self) -> bool: ...

    def cancel(self) -> None:
        """Stop what runs, if anything does."""


@dataclass(frozen=True)
class ActiveModel:
    """The model that Segment runs and Retrain starts from.

    Parameters
    ----------
    spec : ModelSpec
    weights : Weights
        Those of the revision when there is one.
    revision_id : str or None
        The active revision; None while shipped or given weights are used.
    """

    spec: ModelSpec
    weights: Weights
    revision_id: str | None = None

    @property
    def label(self) -> str:
        """Revision or weights name, as runs and layers record it."""
        return self.revision_id or self.weights.name

    @property
    def is_untrained(self) -> bool:
        """Whether its weights are random, so that what it draws means nothing."""
        return self.spec.needs_weights and self.weights.path is None

    @property
    def can_learn(self) -> bool:
        """Whether painted labels can teach it."""
        return self.spec.needs_weights and self.spec.task != "regression"


class Clock:
    """Time left of a run, from the pace so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def eta_s(self, done: int, total: int) -> float | None:
        """Seconds left after ``done`` of ``total`` units; None while nothing can be said."""
        if done <= 0 or total <= 0:
            return None
        return (time.monotonic() - self._started) / done * max(0, total - done)
