"""Running jobs of one kind, at most one at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.jobs.lane import Priority
from napari_histoseg.session.status import Clock, JobState, JobStatus

if TYPE_CHECKING:
    from napari_histoseg.jobs.job import Progress
    from napari_histoseg.jobs.lane import JobFactory, Lane, Ticket
    from napari_histoseg.session.status import JobKind


class OneJob:
    """The latest job of a kind; what an older one still sends is dropped.

    Parameters
    ----------
    lane : Lane
        Runs the jobs.
    kind : JobKind
        What the reports call them.
    on_status, on_error : callable
        Told of the progress, and of what stopped a job.
    """

    def __init__(
        self,
        lane: Lane,
        kind: JobKind,
        *,
        on_status: Callable[[JobStatus], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._lane = lane
        self._kind = kind
        self._on_status = on_status
        self._on_error = on_error
        self._run: _Run | None = None

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def start(
        self,
        factory: JobFactory,
        image_id: str,
        on_done: Callable[[Any], str],
        *,
        priority: Priority = Priority.USER,
    ) -> None:
        """Run a job on an image instead of the one that runs now.

        Parameters
        ----------
        factory : callable
            Makes the job.
        image_id : str
        on_done : callable
            Takes the result and returns a sentence about it.
        priority : Priority
        """
        self.cancel()
        run = self._run = _Run(image_id)
        run.ticket = self._lane.submit(
            factory,
            priority=priority,
            on_progress=partial(self._on_progress, run),
            on_done=partial(self._take, run, on_done),
            on_error=partial(self._on_failure, run),
        )
        self._report(run, "queued", "Waiting for what runs before.")

    def cancel(self) -> None:
        """Stop; nothing of the job stays."""
        if self._run is not None:
            self._finish(self._run, "cancelled", "Stopped; everything stays as it was.")

    def _on_progress(self, run: _Run, progress: Progress) -> None:
        if run is self._run:
            run.done, run.total = progress.done, progress.total
            self._report(run, "running", progress.message)

    def _take(self, run: _Run, on_done: Callable[[Any], str], result: Any) -> None:
        if run is not self._run:
            return
        try:
            told = on_done(result)
        except HistosegError as error:  # the project cannot be written any more
            self._on_failure(run, error)
        else:
            self._finish(run, "done", told)

    def _on_failure(self, run: _Run, error: Exception) -> None:
        if run is self._run:
            self._finish(run, "failed", str(error))
            self._on_error(error)

    def _finish(self, run: _Run, state: JobState, message: str) -> None:
        if run.ticket is not None:
            run.ticket.cancel()
        self._run = None
        self._report(run, state, message)

    def _report(self, run: _Run, state: JobState, message: str) -> None:
        eta_s = run.clock.eta_s(run.done, run.total) if state == "running" else None
        self._on_status(JobStatus(self._kind, state, run.image_id, run.done, run.total, message, eta_s))


class _Run:
    """How far a job is."""

    def __init__(self, image_id: str) -> None:
        self.image_id = image_id
        self.ticket: Ticket | None = None
        self.clock = Clock()
        self.done = self.total = 0
