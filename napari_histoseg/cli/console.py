"""What a command says: results on standard output, progress on standard error."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, TypeVar

from napari_histoseg.core.json_text import json_text
from napari_histoseg.jobs.job import Job, Progress, run_job

T = TypeVar("T")

_BAR = 30
_LINE_EVERY_S = 5.0


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json_text(value))


def print_table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Columns of text on standard output, as wide as their longest cell."""
    cells = [header, *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def follow(job: Job[T], title: str) -> T:
    """Run a job to its end with a progress bar on a terminal, and now and then a line elsewhere.

    A scheduler's request to end (SIGTERM) closes the job as Ctrl+C does.
    """
    meter = _Bar(title) if sys.stderr.isatty() else _Lines(title)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if is_main else None
    try:
        return run_job(job, meter.show)
    finally:
        meter.close()
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Bar:
    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()

    def show(self, progress: Progress) -> None:
        share = progress.done / progress.total if progress.total else 0.0
        bar = "#" * round(share * _BAR)
        left = f" {_time_left(self._started, progress)}" if progress.done else ""
        print(f"\r\033[K{self._title} [{bar:-<{_BAR}}] {share:4.0%}{left}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._told = self._started

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._told >= _LINE_EVERY_S and progress.total:
            self._told = now
            left = f", {_time_left(self._started, progress)}" if progress.done else ""
            print(f"{self._title}: {progress.done} of {progress.total}{left}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to clear."""


def _time_left(started: float, progress: Progress) -> str:
    seconds = (time.monotonic() - started) / progress.done * (progress.total - progress.done)
    return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
