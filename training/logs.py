"""What a run says while it works: a JSON line per report, scalars for TensorBoard, a bar or lines on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

LOG = "log.jsonl"
BOARD = "tensorboard"

_BAR = 30


class Voice(Protocol):
    """Who tells a person how a run goes."""

    def tell(self, line: str) -> None:
        """A sentence, or a row of numbers."""
        ...

    def step(self, done: int, total: int, loss: float) -> None:
        """One more step was taken."""
        ...


class Console:
    """A bar on standard error where that is a terminal; lines of text on standard output in any case."""

    def __init__(self) -> None:
        self._has_bar = sys.stderr.isatty()
        self._started: tuple[float, int] | None = None
        self._drawn = 0.0

    def tell(self, line: str) -> None:
        if self._has_bar:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(line, flush=True)

    def step(self, done: int, total: int, loss: float) -> None:
        now = time.monotonic()
        self._started = self._started or (now, done - 1)
        if not self._has_bar or (now - self._drawn < 0.2 and done < total):
            return
        self._drawn = now
        began, first = self._started
        left_s = (now - began) / (done - first) * (total - done)
        left = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
        bar = "#" * round(done / total * _BAR)
        end = "\n" if done == total else ""
        line = f"\r\033[K[{bar:-<{_BAR}}] step {done}/{total}, loss {loss:.4g}, {left} left"
        print(line, end=end, file=sys.stderr, flush=True)


class Counter:
    """How many images are ready: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._has_line = sys.stderr.isatty()
        self._told = time.monotonic()

    def count(self, images: int) -> None:
        now = time.monotonic()
        if now - self._told < (0.2 if self._has_line else 30.0):
            return
        self._told = now
        start, end = ("\r\033[K", "\r") if self._has_line else ("", "\n")
        print(f"{start}{images} images ready", end=end, file=sys.stderr, flush=True)


class Silent:
    """Says nothing: the processes of a group besides the first."""

    def tell(self, line: str) -> None:
        """Nothing."""

    def step(self, done: int, total: int, loss: float) -> None:
        """Nothing."""


class RunLog:
    """The log files of a run's folder; rows after ``first_step`` of an interrupted run are dropped, to come anew.

    ``log.jsonl`` is what reports are made of. The folder ``tensorboard`` is for ``tensorboard --logdir`` and is left
    out where the package ``tensorboard`` is not installed.
    """

    def __init__(self, out: Path, first_step: int) -> None:
        path = out / LOG
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= first_step]
        path.write_text("".join(f"{line}\n" for line in kept))
        self._file = path.open("a")
        self._board = _board(out / BOARD, first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """One report; ``row["step"]`` says when, every other number is a curve."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(name, value, row["step"])
            self._board.flush()


def read_log(out: Path) -> list[dict[str, Any]]:
    """All reports of a run, oldest first."""
    return [json.loads(line) for line in _lines(out / LOG)]


def _lines(path: Path) -> list[str]:
    """Whole lines of a log; a last line that a power cut tore is left out."""
    if not path.is_file():
        return []
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()


def _board(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1)
