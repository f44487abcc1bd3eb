"""Numbers of a test: one row for each image, and what they amount to; kept in the folder of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_histoseg.core.atomic import write_bytes, write_json
from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.metrics import (
    Matrix,
    dice,
    foreground_averages,
    foreground_matrix,
    iou,
    mean_iou,
    overall_accuracy,
    pixel_accuracy,
    spread,
)
from napari_histoseg.learning.metrics_regression import mean_absolute_error, pearson, prediction_probability

EVALUATION = "evaluation"
SUMMARY = "summary.json"

_MOST_GROUPS = 20  # kinds of tissue and diagnoses, but not cases
_PLAIN_FACTS = ("key", "group", "split")


@dataclass(frozen=True, eq=False)
class Result:
    """What finished weights did on one set.

    Parameters
    ----------
    data, split : str
        The set and its split.
    classes : tuple of str
        Names of rows and columns of ``matrix``; empty for scores.
    facts : tuple of mapping
        What is known of each image.
    rows : tuple of mapping
        Numbers of each image by name; NaN where one has no meaning.
    matrix : ndarray of int64, shape (C, C), or None
        Pixels of all images by true and predicted class.
    folder : Path or None
        Where predictions lie, ``<key>.png`` with slashes as underscores.
    """

    data: str
    split: str
    classes: tuple[str, ...]
    facts: tuple[Mapping[str, Any], ...]
    rows: tuple[Mapping[str, float], ...]
    matrix: Matrix | None = None
    folder: Path | None = field(default=None)

    @property
    def name(self) -> str:
        """Set and split in one word."""
        return set_name(self.data, self.split)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the numbers that every image has."""
        return tuple(self.rows[0])

    def values(self, metric: str) -> NDArray[np.float64]:
        """That number of each image, shape (n,)."""
        return np.array([row[metric] for row in self.rows], np.float64)

    def numbers(self) -> dict[str, float]:
        """Everything as one flat mapping: ``<metric>_mean``, ``_sd`` (population) and ``_n``, and pooled pixels.

        Where the tissue of each image is known also the mean of the tissues' means of PQ, as published for PanNuke.
        """
        found: dict[str, float] = {}
        for metric in self.metrics if self.classes else ():
            value = spread(self.values(metric))
            name = metric.replace(" ", "_")
            found |= {f"{name}_mean": value.mean, f"{name}_sd": value.sd, f"{name}_n": value.n}
        if self.matrix is not None:
            found |= pooled_numbers(self.matrix, self.classes)
        if all("tissue" in f for f in self.facts):
            tissues = self.by("tissue").values()
            for metric in [name for name in ("pq", "mpq") if name in self.metrics]:
                found[f"{metric}_mean_of_tissues"] = spread(row[metric] for row in tissues).mean
        return found if self.classes else self._score_numbers()

    def by(self, fact: str) -> dict[str, dict[str, float]]:
        """Means of the numbers by the values of a fact, such as the diagnosis, with ``n``."""
        values = sorted({str(f.get(fact)) for f in self.facts})
        table: dict[str, dict[str, float]] = {}
        for value in values:
            chosen = [row for f, row in zip(self.facts, self.rows, strict=True) if str(f.get(fact)) == value]
            table[value] = {m: spread(row[m] for row in chosen).mean for m in self.metrics} | {"n": len(chosen)}
        return table

    def groupings(self) -> tuple[str, ...]:
        """Facts in words that part the images into some, not many, groups."""
        names = {n for f in self.facts for n, v in f.items() if isinstance(v, str) and v and n not in _PLAIN_FACTS}
        counts = {name: len({f.get(name) for f in self.facts}) for name in names}
        most = min(_MOST_GROUPS, max(2, len(self.facts) // 2))
        return tuple(sorted(n for n, count in counts.items() if 1 < count <= most))

    def _score_numbers(self) -> dict[str, float]:
        found, truth = self.values("score"), self.values("truth")
        known = np.isfinite(found) & np.isfinite(truth)
        pk = prediction_probability(found[known], truth[known])
        numbers = {"pk": pk.value, "pk_se": pk.se, "n": float(known.sum())}
        numbers["l1"] = mean_absolute_error(found[known], truth[known])
        return numbers | {"pearson": pearson(found[known], truth[known])}


def set_name(data: str, split: str) -> str:
    """Set and split in one word, such as ``ebhi_test``."""
    return data if split == "all" else f"{data}_{split}"


def pooled_numbers(matrix: Matrix, classes: Sequence[str]) -> dict[str, float]:
    """Numbers of all pixels together: accuracy, IoU and Dice by class, and averages without the background."""
    numbers = {"pooled_accuracy": overall_accuracy(matrix), "pooled_mean_iou": mean_iou(matrix)}
    tables = {"accuracy": pixel_accuracy(matrix), "iou": iou(matrix), "dice": dice(matrix)}
    for metric, values in tables.items():
        numbers |= {f"pooled_{metric}_{_word(c)}": float(v) for c, v in zip(classes, values, strict=True)}
    if classes[0] == "background" and len(classes) > 2:
        average = foreground_averages(matrix)
        numbers |= {"micro_iou": average.micro_iou, "micro_dice": average.micro_dice}
        numbers |= {"macro_iou": average.macro_iou, "macro_dice": average.macro_dice}
        binary = foreground_matrix(matrix)
        numbers |= {"foreground_iou": float(iou(binary)[1]), "foreground_dice": float(dice(binary)[1])}
    return numbers


def _word(name: str) -> str:
    return name.replace(" ", "_")


def write_result(result: Result, folder: Path) -> None:
    """Keep a result: ``images.csv`` for people, ``summary.json`` for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [n for n in dict.fromkeys(n for f in result.facts for n in f) if _is_plain(result.facts[0].get(n))]
    lines = [[*names, *result.metrics]]
    for facts, row in zip(result.facts, result.rows, strict=True):
        lines.append([*(str(facts.get(n, "")) for n in names), *(f"{row[m]:.6g}" for m in result.metrics)])
    write_bytes(folder / "images.csv", "".join(",".join(map(_cell, line)) + "\n" for line in lines).encode())
    write_json(
        folder / SUMMARY,
        {
            "set": result.data,
            "split": result.split,
            "classes": list(result.classes),
            "numbers": {k: _finite(v) for k, v in result.numbers().items()},
            "matrix": None if result.matrix is None else result.matrix.tolist(),
            "facts": [dict(f) for f in result.facts],
            "rows": [{k: _finite(v) for k, v in row.items()} for row in result.rows],
        },
    )


def read_results(run: Path) -> list[Result]:
    """All results in the folder of a run, by set and split.

    Raises
    ------
    InputError
        When one is damaged.
    """
    return list(_read(run))


def _read(run: Path) -> Iterator[Result]:
    for path in sorted((run / EVALUATION).glob(f"*/{SUMMARY}")):
        try:
            data = json.loads(path.read_text())
            rows = tuple({k: float("nan") if v is None else v for k, v in row.items()} for row in data["rows"])
            matrix = None if data["matrix"] is None else np.array(data["matrix"], np.int64)
            facts = tuple(data["facts"])
            yield Result(data["set"], data["split"], tuple(data["classes"]), facts, rows, matrix, path.parent)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error!r}); run `python -m training evaluate` again.") from None


def write_prediction(folder: Path, key: str, found: NDArray[Any]) -> None:
    """Keep what was predicted for an image: class indices, or instance numbers in 16 bits."""
    path = prediction_path(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if found.dtype == np.uint8 else np.uint16
    Image.fromarray(found.astype(kind)).save(path)


def prediction_path(folder: Path, key: str) -> Path:
    """File of a prediction."""
    return folder / "predictions" / f"{key.replace('/', '_')}.png"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def _finite(value: float) -> float | None:
    return None if value != value else float(value)
