"""One background thread that advances the most urgent job, one step at a time."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from psygnal import EmitLoopError, Signal, emit_queued

from napari_histoseg.jobs.job import Job, Progress

JobFactory = Callable[[], Job[Any]]
Recover = Callable[[Exception, JobFactory, int], JobFactory]
"""``recover(error, factory, attempt)`` returns what to run instead of a job that failed, or raises the final error."""

TicketState = Literal["queued", "running", "done", "cancelled", "failed"]

_POLL_S = 0.01
_EXIT_S = 10.0
"""A step that still runs when the interpreter ends, and comes back to it from compiled code, aborts the process."""


class Priority(IntEnum):
    """Lower runs first; equal ones run in the order they came."""

    INTERACTIVE = 0
    USER = 1
    BACKGROUND = 2


class Cancelled(BaseException):
    """Raised inside a job that was cancelled in the middle of a step; not for catching."""


_local = threading.local()


def check_cancelled() -> None:
    """Raise :class:`Cancelled` when the job that runs on this thread has been cancelled.

    For work that cannot yield for more than a second, such as the layers of a large network. Does nothing outside
    a lane.
    """
    ticket = getattr(_local, "ticket", None)
    if ticket is not None and ticket.is_cancel_requested:
        raise Cancelled


@dataclass(eq=False)
class Ticket:
    """A submitted job: ask for its state, or cancel it."""

    priority: Priority
    state: TicketState = "queued"
    is_cancel_requested: bool = False

    @property
    def is_finished(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    def cancel(self) -> None:
        """Close the job before its next step; ``on_cancelled`` follows unless it finished first."""
        self.is_cancel_requested = True


@dataclass(eq=False)
class _Entry:
    """What the lane holds of an unfinished job."""

    ticket: Ticket
    factory: JobFactory
    number: int
    on_progress: Callable[[Progress], None] | None
    on_done: Callable[[Any], None] | None
    on_error: Callable[[Exception], None] | None
    on_cancelled: Callable[[], None] | None
    job: Job[Any] | None = None
    attempts: int = 0

    def urgency(self) -> tuple[bool, int, int]:
        return not self.ticket.is_cancel_requested, self.ticket.priority, self.number


class Lane:
    """Runs jobs on one long-lived daemon thread and reports to the main thread.

    Every step goes to the most urgent job: prediction of what is on screen slips between two steps of a training.
    A job is made, advanced and closed on the lane's thread, so what it holds in ``with`` or ``finally`` is released
    there. Callbacks wait in psygnal's queue for the main thread: a Qt application starts
    ``psygnal.qt.start_emitting_from_queue``, anything else calls :meth:`wait`.

    Parameters
    ----------
    recover : callable, optional
        See ``Recover``; called on the lane's thread when a job raises. By default the error is final.
    """

    _called = Signal(object, tuple)

    def __init__(self, recover: Recover | None = None) -> None:
        self._recover = recover
        self._entries: list[_Entry] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._count = 0
        self._is_closed = False
        self._called.connect(self._deliver, thread="main")

    def submit(
        self,
        factory: JobFactory,
        *,
        priority: Priority,
        on_progress: Callable[[Progress], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_cancelled: Callable[[], None] | None = None,
    ) -> Ticket:
        """Queue a job and return at once.

        Parameters
        ----------
        factory : callable
            Makes the generator; called on the lane's thread, and again if ``recover`` says to retry.
        priority : Priority
        on_progress, on_done, on_error, on_cancelled : callable, optional
            Called on the main thread with the ``Progress``, the job's result, the exception, or nothing. Exactly one
            of the last three is called, after all progress.
        """
        if self._is_closed:
            raise RuntimeError("The lane is closed and takes no more jobs.")
        with self._wake:
            ticket = Ticket(priority)
            self._entries.append(
                _Entry(ticket, factory, self._count, on_progress, on_done, on_error, on_cancelled),
            )
            self._count += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="histoseg-lane", daemon=True)
                self._thread.start()
                atexit.register(self.close, _EXIT_S)
            self._wake.notify_all()
        return ticket

    @property
    def is_idle(self) -> bool:
        """True when no job is queued or running; callbacks may still wait for the main thread."""
        return not self._entries

    def wait(self, timeout: float | None = None) -> bool:
        """Deliver callbacks on the calling thread until the lane is idle.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to give up; by default never.

        Returns
        -------
        bool
            False when the timeout ran out first. An exception raised by a callback comes through.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            was_idle = self.is_idle
            self._emit_queued()
            if was_idle and self.is_idle:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            with self._wake:
                if self._entries:
                    self._wake.wait(_POLL_S)

    def close(self, timeout: float = 2.0) -> bool:
        """Cancel everything and join the thread; no callback is called any more.

        Returns
        -------
        bool
            False when a step was still running after ``timeout`` seconds; the thread ends after that step, for which
            the end of the program waits a little.
        """
        with self._wake:
            self._is_closed = True
            for entry in self._entries:
                entry.ticket.cancel()
            self._wake.notify_all()
        self._called.disconnect()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        atexit.unregister(self.close)
        return True

    # The rest runs on the lane's thread, except _deliver and _emit_queued.

    def _work(self) -> None:
        while (entry := self._next()) is not None:
            _local.ticket = entry.ticket
            try:
                self._advance(entry)
            except Exception as error:  # noqa: BLE001 - whatever a job raises is handed to its submitter
                self._fail(entry, error)
            del entry  # or the finished job would stay in memory until the next one

    def _next(self) -> _Entry | None:
        """The most urgent job, after waiting for one; None when the lane is closed and empty."""
        with self._wake:
            while not self._entries and not self._is_closed:
                self._wake.wait()
            return min(self._entries, key=_Entry.urgency, default=None)

    def _advance(self, entry: _Entry) -> None:
        if entry.ticket.is_cancel_requested:
            self._end_cancelled(entry)
            return
        if entry.job is None:
            entry.ticket.state = "running"
            entry.job = entry.factory()
        try:
            step = next(entry.job)
        except StopIteration as stop:
            self._end(entry, "done", entry.on_done, stop.value)
        except Cancelled:
            self._end_cancelled(entry)
        else:
            self._call(entry.on_progress, step)

    def _end_cancelled(self, entry: _Entry) -> None:
        if entry.job is not None:
            entry.job.close()
        self._end(entry, "cancelled", entry.on_cancelled)

    def _fail(self, entry: _Entry, error: Exception) -> None:
        """Run what ``recover`` offers instead, or report the error."""
        entry.job = None
        entry.attempts += 1
        if self._recover is not None and not entry.ticket.is_cancel_requested:
            try:
                entry.factory = self._recover(error, entry.factory, entry.attempts)
            except Exception as final:  # noqa: BLE001 - recover raises the error to report
                error = final
            else:
                return
        self._end(entry, "failed", entry.on_error, error)

    def _end(self, entry: _Entry, state: TicketState, callback: Callable[..., None] | None, *args: Any) -> None:
        entry.ticket.state = state
        self._call(callback, *args)
        with self._wake:
            self._entries.remove(entry)
            self._wake.notify_all()

    def _call(self, callback: Callable[..., None] | None, *args: Any) -> None:
        if callback is not None:
            self._called.emit(callback, args)

    def _deliver(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self._is_closed:
            callback(*args)

    def _emit_queued(self) -> None:
        try:
            emit_queued(threading.main_thread())
        except EmitLoopError as error:
            if isinstance(error.__cause__, Exception):
                raise error.__cause__ from None
            raise
