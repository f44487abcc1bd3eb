"""What ``evaluate`` says: one JSON document, tables as CSV and Markdown, charts as SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_histoseg.cli.console import print_table
from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.errors import ResourceError


@dataclass(frozen=True)
class Table:
    """Names of columns, and rows of text and numbers."""

    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    @classmethod
    def of(cls, first: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
        """Rows by name; all have the columns of the first one."""
        columns = tuple(next(iter(rows.values()), {}))
        return cls((first, *columns), [(name, *(row[k] for k in columns)) for name, row in rows.items()])


@dataclass(frozen=True, eq=False)
class Evaluated:
    """An evaluation.

    Parameters
    ----------
    task : str
    per_image : Table
    per_class : dict of str to dict
        Numbers by class and metric; empty where classes are not known.
    overall : dict of str to float
    notes : tuple of str
        What the numbers mean where it is not obvious.
    tables, charts : dict
        Further ones by name of the file, without suffix.
    """

    task: str
    per_image: Table
    per_class: dict[str, dict[str, Any]]
    overall: dict[str, Any]
    notes: tuple[str, ...]
    tables: dict[str, Table] = field(default_factory=dict)
    charts: dict[str, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.per_image.rows)

    @property
    def result(self) -> dict[str, Any]:
        """The shape that scripts rely on."""
        return {"task": self.task, "n": self.n, "per_class": self.per_class, "overall": self.overall}


def print_report(evaluated: Evaluated) -> None:
    """Tables and notes on standard output."""
    if evaluated.per_class:
        table = Table.of("class", evaluated.per_class)
        print_table(tuple(name.upper() for name in table.header), [_texts(row) for row in table.rows])
    numbers = ", ".join(f"{name} {_number(value)}" for name, value in evaluated.overall.items())
    print(f"Overall ({evaluated.n} images): {numbers}")


def write_report(out: Path, evaluated: Evaluated) -> None:
    """Write ``report.md``, ``per_image.csv``, ``overall.csv`` and what else there is into a folder.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    overall = Table.of("images", {f"{evaluated.n}": evaluated.overall})
    tables = {"per_image": evaluated.per_image, "overall": overall} | evaluated.tables
    if evaluated.per_class:
        tables["per_class"] = Table.of("class", evaluated.per_class)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            write_bytes(out / f"{name}.csv", _csv(table))
        for name, chart in evaluated.charts.items():
            write_bytes(out / f"{name}.svg", chart.encode())
        write_bytes(out / "report.md", _markdown(evaluated, tables).encode())
    except OSError as error:
        raise ResourceError(f"'{out}' cannot be written ({error.strerror}); free space or permit it.") from error


def _csv(table: Table) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return text.getvalue().encode()


def _markdown(evaluated: Evaluated, tables: Mapping[str, Table]) -> str:
    lines = [f"# Evaluation: {evaluated.task}, {evaluated.n} images", ""]
    for name, table in tables.items():
        if name == "per_image":
            continue
        lines += [
            f"## {name.replace('_', ' ').capitalize()}",
            "",
            _row(table.header),
            _row(["---"] * len(table.header)),
        ]
        lines += [_row(_texts(row)) for row in table.rows] + [""]
    lines += ["## What the numbers mean", "", *(f"- {note}" for note in evaluated.notes)]
    lines += ["- Numbers of each image are in `per_image.csv`.", ""]
    lines += [f"![{name}]({name}.svg)" for name in evaluated.charts]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _texts(row: Sequence[Any]) -> tuple[str, ...]:
    return tuple(_number(value) for value in row)


def _number(value: Any) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    return "-" if np.isnan(value) else f"{value:.4f}"
