"""Tables as CSV for programs and as Markdown for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_histoseg.core.atomic import write_bytes

Cell = str | float | int


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header, with a name for its file and a sentence above it."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def markdown(self) -> str:
        """The table as Markdown, with its title in bold."""
        lines = [f"**{self.title}**", "", _line(self.header), _line(["---"] * len(self.header))]
        lines += [_line([_text(cell) for cell in row]) for row in self.rows]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.md``."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / f"{self.name}.csv", text.getvalue().encode())
        write_bytes(folder / f"{self.name}.md", self.markdown().encode())


def mean_sd(mean: float, sd: float, *, mark: str = "") -> str:
    """``0.77 (0.23)`` as the papers print it, a dash where there is nothing."""
    return "–" if math.isnan(mean) else f"{mean:.3f} ({sd:.3f}){mark}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:.4g}" if abs(cell) < 0.001 or abs(cell) >= 1000 else f"{cell:.3f}"
    return str(cell)
