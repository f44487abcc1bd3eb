"""Running the active model over images: what is on screen first, then the rest, never a stale reply."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.cell_finding import ModelCells, find_cells
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.jobs.lane import Priority
from napari_histoseg.session.status import ActiveModel, Clock, JobState, JobStatus

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.project import Project
    from napari_histoseg.inference.predict import Predictors
    from napari_histoseg.jobs.job import Progress
    from napari_histoseg.jobs.lane import Lane, Ticket


@dataclass(frozen=True, eq=False)
class SegmentTask:
    """One image to segment.

    Parameters
    ----------
    project : Project
        Receives the proposals and the cells.
    image_id : str
    image : ImageRef
        With known µm per pixel.
    model : ActiveModel
    table : ndarray of uint8, shape (256,), or None
        From the model's label values to the project's; None when the project has none of the model's classes, and
        only single cells are looked for.
    visible : Box or None
        What is on screen; done first.
    device : str
    """

    project: Project
    image_id: str
    image: ImageRef
    model: ActiveModel
    table: NDArray[np.uint8] | None
    visible: Box | None
    device: str

    @property
    def finds_cells(self) -> bool:
        """Whether the model tells single cells, not only classes."""
        return self.model.spec.task == "instance"


class Segmenter:
    """Segments a queue of images, one after the other; starting anew drops whatever the old run still sends."""

    def __init__(
        self,
        lane: Lane,
        predictors: Predictors,
        *,
        on_status: Callable[[JobStatus], None],
        on_labels: Callable[[str, Box], None],
        on_cells: Callable[[Edit], object],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._lane = lane
        self._predictors = predictors
        self._on_status = on_status
        self._on_labels = on_labels
        self._on_cells = on_cells
        self._on_error = on_error
        self._generation = 0
        self._queue: deque[SegmentTask] = deque()
        self._run: _Run | None = None
        self._foregrounds: dict[str, NDArray[np.uint8]] = {}

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def start(self, tasks: Iterable[SegmentTask]) -> None:
        """Segment these images in order, instead of whatever runs now."""
        self.cancel()
        self._queue.extend(tasks)
        self._next()

    def cancel(self) -> None:
        """Stop; tiles that are done stay."""
        self._queue.clear()
        if self._run is not None:
            self._finish("cancelled", "Stopped; what was done stays.")

    def foreground(self, image_id: str, box: Box) -> NDArray[np.float32] | None:
        """See `Review.foreground`."""
        found = self._foregrounds.get(image_id)
        return None if found is None else np.asarray(found[box.slices] / 255, np.float32)

    def clear(self) -> None:
        """Stop, and forget what was seen in the images."""
        self.cancel()
        self._foregrounds.clear()

    def _next(self) -> None:
        if not self._queue:
            return
        task = self._queue.popleft()
        self._generation += 1
        run_id = task.project.begin_run(
            task.image_id,
            model=task.model.spec.id,
            revision=task.model.label,
            box=task.visible or Box.of_shape(task.image.shape),
        )
        self._run = _Run(task, run_id, self._generation, deque(_phases(task)))
        self._report("queued", "Waiting for the model.")
        self._submit()

    def _submit(self) -> None:
        run = self._run
        if run is None:
            return
        boxes, priority = run.phases.popleft()

        def guarded(act: Callable[[Any], None]) -> Callable[[Any], None]:
            def deliver(value: Any) -> None:
                if self._run is not run:
                    return
                try:
                    act(value)
                except HistosegError as error:  # the project cannot be written any more
                    self._on_failure(error)

            return deliver

        task = run.task
        request = PredictRequest(
            image=task.image,
            model_id=task.model.spec.id,
            weights=task.model.weights,
            boxes=boxes,
            visible=task.visible,
            device=task.device,
            generation=run.generation,
        )
        run.ticket = self._lane.submit(
            partial(predict if run.phases or not task.finds_cells else find_cells, request, self._predictors),
            priority=priority,
            on_progress=guarded(self._on_progress),
            on_done=guarded(self._on_done),
            on_error=guarded(self._on_failure),
        )

    def _on_progress(self, progress: Progress) -> None:
        run = self._run
        if run is None:
            return
        tile = progress.payload
        task = run.task
        if tile is not None and task.table is not None:
            box = tile.box
            task.project.propose(task.image_id, box, task.table[tile.labels], run_id=run.run_id)
            self._on_labels(task.image_id, box)
        run.done, run.total = progress.done, progress.total
        self._report("running", progress.message)

    def _on_done(self, result: Any) -> None:
        run = self._run
        if run is None:
            return
        if isinstance(result, ModelCells):
            self._foregrounds[run.task.image_id] = result.foreground
            edit = _kept(run.task, result)
            if edit is not None:
                self._on_cells(edit)
        if run.phases:
            run.clock = Clock()
            self._submit()
            return
        run.done = run.total
        self._finish("done", "Segmented.")
        self._next()

    def _on_failure(self, error: Exception) -> None:
        self._queue.clear()
        self._finish("failed", str(error))
        self._on_error(error)

    def _finish(self, state: JobState, message: str) -> None:
        run = self._run
        if run is None:
            return
        if run.ticket is not None:
            run.ticket.cancel()
        self._report(state, message)
        self._run = None
        try:
            run.task.project.end_run(run.run_id, state)
        except HistosegError as error:
            self._on_error(error)

    def _report(self, state: JobState, message: str) -> None:
        run = self._run
        if run is None:
            return
        eta_s = run.clock.eta_s(run.done, run.total) if state == "running" else None
        self._on_status(JobStatus("predict", state, run.task.image_id, run.done, run.total, message, eta_s))


class _Run:
    """What the segmenter knows of the image that is being segmented."""

    def __init__(
        self, task: SegmentTask, run_id: Any, generation: int, phases: deque[tuple[tuple[Box, ...], Priority]]
    ) -> None:
        self.task = task
        self.run_id = run_id
        self.generation = generation
        self.phases = phases
        self.clock = Clock()
        self.ticket: Ticket | None = None
        self.done = 0
        self.total = 0


def _kept(task: SegmentTask, found: ModelCells) -> Edit | None:
    """Put what a model found into the project, beside the cells that a person vouched for."""
    table = np.full(256, IGNORE, np.uint8) if task.table is None else task.table
    numbers = range(1, len(found.values) + 1)
    return task.project.replace_cells(
        task.image_id,
        found.instances,
        dict(zip(numbers, table[found.values].tolist(), strict=True)),
        tool=task.model.spec.title,
        origin=Origin.MODEL,
        scores=dict(zip(numbers, found.scores.tolist(), strict=True)),
    )


def _phases(task: SegmentTask) -> list[tuple[tuple[Box, ...], Priority]]:
    """Boxes and urgency: the view before everything else, then the whole image.

    The view is done again with the whole, in the same tiles as on the command line, so that both give the same bits.
    A view of at least half of the image is no detour: its tiles are the first of the whole.
    """
    whole = Box.of_shape(task.image.shape)
    visible = whole if task.visible is None else task.visible.intersect(whole)
    if visible.is_empty:
        return [((whole,), Priority.USER)]
    if 2 * visible.area >= whole.area:
        return [((whole,), Priority.INTERACTIVE)]
    return [((visible,), Priority.INTERACTIVE), ((whole,), Priority.USER)]
