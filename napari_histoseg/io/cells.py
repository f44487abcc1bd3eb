"""Tables of cells out, lists of points in."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.schema import IGNORE, LabelSchema

COLUMNS = ("id", "class", "x", "y", "area_um2", "score", "haematoxylin")
"""Columns of the table of cells."""

UNKNOWN = "unknown"
"""What stands for the class of a cell of which nobody knows it."""


@dataclass(frozen=True, eq=False)
class PointList:
    """Points that a person set, in the order of the file.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        Pixels of the image.
    names : tuple of str
        Class of each.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    names: tuple[str, ...]


def write_cells(path: Path, cells: CellTable, schema: LabelSchema) -> None:
    """Write a table of cells as CSV, whole or not at all.

    Coordinates are pixels of the image and have two decimals; ``area_um2`` and ``haematoxylin`` are empty where they
    are not known.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    names = {IGNORE: UNKNOWN} | {c.id: c.name for c in schema.classes}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    columns = (cells.ids, cells.class_ids, cells.x, cells.y, cells.area_um2, cells.score, cells.haematoxylin)
    for number, class_id, x, y, area, score, amount in zip(*(column.tolist() for column in columns), strict=True):
        stain = "" if math.isnan(amount) else f"{amount:.4f}"
        size = "" if math.isnan(area) else f"{area:.3f}"
        name = names.get(class_id, f"class {class_id}")
        writer.writerow((number, name, f"{x:.2f}", f"{y:.2f}", size, f"{score:.4f}", stain))
    _write(path, text)


def write_points(path: Path, x: NDArray[np.float64], y: NDArray[np.float64], names: Sequence[str]) -> None:
    """Write points as CSV with the columns ``x``, ``y`` and ``class``, whole or not at all.

    Parameters
    ----------
    path : Path
    x, y : ndarray of float64, shape (n,)
        Pixels of the image, written so that float32 comes back as it was.
    names : sequence of str
        Class of each.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("x", "y", "class"))
    writer.writerows(
        (f"{px:.9g}", f"{py:.9g}", name) for px, py, name in zip(x.tolist(), y.tolist(), names, strict=True)
    )
    _write(path, text)


def read_points(path: str | Path) -> PointList:
    """The points of a CSV file with the columns ``x``, ``y`` and ``class``; further columns are left alone.

    Raises
    ------
    InputError
        When the file cannot be read, a column is missing, or a line holds no numbers or no class.
    """
    path = Path(path)
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"'{path}' cannot be read as a list of points ({error}); give a CSV with x,y,class."
        ) from error
    if not rows:
        raise InputError(f"'{path}' holds no points; give a CSV with the columns x,y,class and one line for each cell.")
    missing = [name for name in ("x", "y", "class") if name not in rows[0]]
    if missing:
        raise InputError(f"'{path}' has no column '{missing[0]}'; its first line must name x, y and class.")
    places, names = [], []
    for line, row in enumerate(rows, start=2):
        name = (row["class"] or "").strip()
        try:
            place = float(row["x"]), float(row["y"])
        except (TypeError, ValueError):
            place = math.nan, math.nan
        if not (math.isfinite(place[0]) and math.isfinite(place[1]) and name):
            raise InputError(f"Line {line} of '{path}' is no point; it needs two numbers and a class: x,y,class.")
        places.append(place)
        names.append(name)
    x, y = np.array(places, np.float64).T
    return PointList(x, y, tuple(names))


def _write(path: Path, text: io.StringIO) -> None:
    try:
        write_bytes(path, text.getvalue().encode())
    except OSError as error:
        raise ResourceError(f"'{path}' cannot be written ({error.strerror}); free space or permit it.") from error
