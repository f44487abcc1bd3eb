"""Instance maps, class probabilities and scores, read back from the files of ``predict`` or of other programs."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.io.arrays import read_array
from napari_histoseg.io.cells import UNKNOWN
from napari_histoseg.io.images import IMAGE_SUFFIXES


def read_instances(path: Path) -> NDArray[np.int64]:
    """Numbers of objects of a TIFF, PNG or BMP; 0 is background.

    Returns
    -------
    ndarray of int64, shape (H, W)

    Raises
    ------
    InputError
        For colour images, fractions, negative numbers and files that cannot be read.
    """
    values = read_array(path)
    if values.ndim != 2:
        raise InputError(f"'{path}' has shape {values.shape}; an instance map holds one number per pixel.")
    with np.errstate(invalid="ignore"):  # NaN is told below
        whole = values.astype(np.int64)
    if not np.array_equal(whole, values) or whole.min(initial=0) < 0:
        raise InputError(f"'{path}' holds values that are no numbers of objects; whole numbers from 0 on are needed.")
    return whole


def read_probabilities(path: Path) -> tuple[tuple[int, ...], NDArray[np.float32]]:
    """Class ids and probabilities (C, H, W) of a file of ``io.labels.write_probabilities``.

    Raises
    ------
    InputError
        When the file is another one.
    """
    import tifffile

    values = read_array(path)
    try:
        with tifffile.TiffFile(path) as file:
            schema = LabelSchema.from_json(json.loads(file.pages.first.description))
    except (ValueError, TypeError, KeyError, HistosegError) as error:
        raise InputError(f"'{path}' does not say which classes its channels are; write it with predict.") from error
    if values.ndim != 3 or len(values) != len(schema.classes):
        raise InputError(
            f"'{path}' has shape {values.shape}, not one channel for each of {len(schema.classes)} classes."
        )
    return schema.ids, values.astype(np.float32)


def read_cell_classes(path: Path) -> dict[int, str]:
    """Class of each cell in a table with the columns ``id`` and ``class``; those of unknown class are left out.

    Raises
    ------
    InputError
        When the file is no such table.
    """
    rows = _read_csv(path)
    try:
        names = {int(row["id"]): row["class"].strip() for row in rows}
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a line that ends early has no text
        raise InputError(f"'{path}' is no table of cells; it needs the columns id and class.") from error
    return {number: name for number, name in names.items() if name != UNKNOWN}


def read_scores(path: Path) -> dict[str, list[float]]:
    """Scores by image: of a folder of ``*_score.json`` as ``predict`` writes them, or of a CSV.

    The first column of a CSV names the image, with or without the suffix of its file; each other column is one rater.
    A score that is not there is NaN.

    Raises
    ------
    InputError
        When nothing is there, a score is no number, or an image has two.
    """
    found = _scores_of_folder(path) if path.is_dir() else _scores_of_table(path)
    if not found:
        raise InputError(f"'{path}' holds no scores; give a folder of *_score.json or a CSV with image,score.")
    return found


def _scores_of_folder(folder: Path) -> dict[str, list[float]]:
    scores = {}
    for path in sorted(folder.glob("*_score.json")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))["score"]
            scores[path.name.removesuffix("_score.json")] = [math.nan if value is None else float(value)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"'{path}' is no score of an image ({error}); write it with predict.") from error
    return scores


def _scores_of_table(path: Path) -> dict[str, list[float]]:
    scores = {}
    for line, row in enumerate(_read_csv(path), start=2):
        image, *values = row.values()
        name = _without_suffix(image)
        if name in scores:
            raise InputError(f"Line {line} of '{path}' gives '{name}' a second score; keep one line for each image.")
        try:
            scores[name] = [float(value) if value else math.nan for value in values]
        except (TypeError, ValueError):
            raise InputError(f"Line {line} of '{path}' has a score that is no number; give image,score.") from None
        if not values:
            raise InputError(f"'{path}' has one column; give image,score.")
    return scores


def _without_suffix(image: str) -> str:
    """The name without the ending of an image file; other dots, as in names of slides, belong to it."""
    name = Path(image).name
    return Path(name).stem if name.lower().endswith(IMAGE_SUFFIXES) else name


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read as a table ({error}); give a CSV.") from error
