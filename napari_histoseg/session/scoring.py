"""Cellularity of the fields of an image: predicted by a regression model, beside what the labels say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference.scoring import ScoreRequest, derived_cellularity, score_fields, tissue_mask
from napari_histoseg.jobs.job import Progress
from napari_histoseg.jobs.lane import Priority
from napari_histoseg.session.status import ActiveModel, Clock, JobState, JobStatus

if TYPE_CHECKING:
    from napari_histoseg.inference.predict import Predictors
    from napari_histoseg.jobs.job import Job
    from napari_histoseg.jobs.lane import Lane, Ticket


@dataclass(frozen=True)
class ScoredField:
    """One field of an image.

    Parameters
    ----------
    box : Box
        What the score stands for, in pixels of the image; the fields of a run do not overlap.
    tissue : float
        Share of the field that is tissue, from 0 to 1.
    predicted : float
        The model's score, from 0 to 1.
    derived : float or None
        Malignant area over tissue area by the labels; None where nothing is labelled or no class is malignant.
    """

    box: Box
    tissue: float
    predicted: float
    derived: float | None


@dataclass(frozen=True)
class ImageScores:
    """The scored fields of an image, in the order they were scored.

    Parameters
    ----------
    fields : tuple of ScoredField
    model : ActiveModel
        What predicted them.
    """

    fields: tuple[ScoredField, ...]
    model: ActiveModel

    def predicted(self, box: Box | None = None) -> float | None:
        """Mean prediction of the fields, each weighted by its tissue inside ``box``; None where there is none."""
        return _weighted([(field.predicted, _tissue_px(field, box)) for field in self.fields])

    def derived(self, box: Box | None = None) -> float | None:
        """The same of what the labels say, over the fields that are labelled."""
        known = [(field.derived, _tissue_px(field, box)) for field in self.fields if field.derived is not None]
        return _weighted(known)


@dataclass(frozen=True, eq=False)
class ScoreTask:
    """An image to score.

    Parameters
    ----------
    image_id : str
    image : ImageRef
        With known µm per pixel.
    model : ActiveModel
        Whose task is regression.
    boxes : tuple of Box
        In pixels of the image; empty means all of it.
    labels : ndarray of uint8, shape (H, W)
        A copy of what is displayed.
    malignant : tuple of int
        Class ids whose area counts; empty when the project has none.
    device : str
    """

    image_id: str
    image: ImageRef
    model: ActiveModel
    boxes: tuple[Box, ...]
    labels: NDArray[np.uint8]
    malignant: tuple[int, ...]
    device: str


def score_job(task: ScoreTask, predictors: Predictors) -> Job[None]:
    """Score the fields of an image; the payload of a step is a ``ScoredField``, or None for one without tissue."""
    request = ScoreRequest(task.image, task.model.spec.id, task.model.weights, task.boxes, task.device)
    fields = score_fields(request, predictors)
    for step in fields:
        found = step.payload
        if found is not None:
            scored = ScoredField(found.tile, found.tissue, found.score, _derived(task, found.tile))
            step = replace(step, payload=scored)
        yield step


def derive_job(task: ScoreTask, fields: tuple[ScoredField, ...]) -> Job[tuple[ScoredField, ...]]:
    """The same fields with what the labels say now."""
    found = []
    for field in fields:
        found.append(replace(field, derived=_derived(task, field.box)))
        yield Progress(len(found), len(fields), "Reading the labels.")
    return tuple(found)


def _derived(task: ScoreTask, box: Box) -> float | None:
    if not task.malignant:
        return None
    tissue = tissue_mask(task.image.read(0, box))
    return derived_cellularity(task.labels[box.slices], tissue, malignant=task.malignant)


def _tissue_px(field: ScoredField, box: Box | None) -> float:
    return field.tissue * (field.box if box is None else field.box.intersect(box)).area


def _weighted(values: Iterable[tuple[float, float]]) -> float | None:
    told = list(values)
    weight = math.fsum(w for _, w in told)
    return math.fsum(value * w for value, w in told) / weight if weight > 0 else None


class Scorer:
    """Scores one image at a time in the background and keeps what was found until the project is closed."""

    changed = Signal(str)
    """Id of an image whose scores changed."""

    def __init__(
        self,
        lane: Lane,
        predictors: Predictors,
        *,
        on_status: Callable[[JobStatus], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._lane = lane
        self._predictors = predictors
        self._on_status = on_status
        self._on_error = on_error
        self._scores: dict[str, ImageScores] = {}
        self._task: ScoreTask | None = None
        self._ticket: Ticket | None = None
        self._deriving: Ticket | None = None
        self._clock = Clock()
        self._done = self._total = 0

    @property
    def is_running(self) -> bool:
        return self._task is not None

    def of(self, image_id: str) -> ImageScores | None:
        """What was found in an image; None before the first run."""
        return self._scores.get(image_id)

    def start(self, task: ScoreTask) -> None:
        """Score an image, instead of whatever is scored now."""
        self.cancel()
        self._task, self._clock, self._done, self._total = task, Clock(), 0, 0
        self._keep(task.image_id, ImageScores((), task.model))
        self._ticket = self._lane.submit(
            partial(score_job, task, self._predictors),
            priority=Priority.INTERACTIVE if task.boxes else Priority.USER,
            on_progress=partial(self._on_progress, task),
            on_done=lambda _: self._finish(task, "done", "Scored."),
            on_error=partial(self._on_failure, task),
        )
        self._report("queued", "Waiting for the model.")

    def cancel(self) -> None:
        """Stop; fields that are scored stay."""
        if self._task is not None:
            self._finish(self._task, "cancelled", "Stopped; what was scored stays.")

    def derive(self, task: ScoreTask) -> None:
        """Find out anew what the labels say about the fields that were scored."""
        scores = self._scores.get(task.image_id)
        if scores is None or self.is_running:
            return
        if self._deriving is not None:
            self._deriving.cancel()

        def keep(fields: tuple[ScoredField, ...]) -> None:
            if self._scores.get(task.image_id) is scores:
                self._keep(task.image_id, replace(scores, fields=fields))

        self._deriving = self._lane.submit(
            partial(derive_job, task, scores.fields), priority=Priority.USER, on_done=keep, on_error=self._on_error
        )

    def clear(self) -> None:
        """Stop and forget everything."""
        self.cancel()
        self._scores.clear()

    def _keep(self, image_id: str, scores: ImageScores) -> None:
        self._scores[image_id] = scores
        self.changed.emit(image_id)

    def _on_progress(self, task: ScoreTask, progress: Progress) -> None:
        if task is not self._task:
            return
        self._done, self._total = progress.done, progress.total
        if progress.payload is not None:
            scores = self._scores[task.image_id]
            self._keep(task.image_id, replace(scores, fields=(*scores.fields, progress.payload)))
        self._report("running", progress.message)

    def _on_failure(self, task: ScoreTask, error: Exception) -> None:
        if task is self._task:
            self._finish(task, "failed", str(error))
            self._on_error(error)

    def _finish(self, task: ScoreTask, state: JobState, message: str) -> None:
        if task is not self._task:
            return
        if self._ticket is not None:
            self._ticket.cancel()
        self._report(state, message)
        self._task = self._ticket = None

    def _report(self, state: JobState, message: str) -> None:
        if self._task is None:
            return
        eta_s: Any = self._clock.eta_s(self._done, self._total) if state == "running" else None
        self._on_status(JobStatus("score", state, self._task.image_id, self._done, self._total, message, eta_s))
