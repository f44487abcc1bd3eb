"""A job is a generator: it yields progress, returns its result, and is cancelled by closing it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One step of a job.

    Parameters
    ----------
    done, total : int
        Work units; ``total`` 0 means unknown.
    message : str
        What is being done now, for the person.
    payload : object, optional
        Part of the result that is ready: a finished tile, a loss value.
    """

    done: int
    total: int
    message: str = ""
    payload: Any = None


Job = Generator[Progress, None, T]


def run_job(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Run a job to its end on this thread and return its result."""
    try:
        while True:
            try:
                step = next(job)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if on_progress is not None:
                on_progress(step)
    finally:
        job.close()
