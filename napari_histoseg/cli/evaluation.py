"""``napari-histoseg evaluate``"""

from __future__ import annotations

import argparse
import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schemas import SCHEMAS, get_schema
from napari_histoseg.io.labels import read_labels
from napari_histoseg.learning import metrics

_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=evaluate)
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR|FILE", help="predicted labels")
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR|FILE", help="true labels of the same names")
    parser.add_argument("--task", choices=("semantic",), required=True)
    parser.add_argument("--schema", metavar="NAME", help=f"class names: {', '.join(SCHEMAS)} (default: the numbers)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for tables per class and per image")
    add_json(parser)


@dataclass(frozen=True, eq=False)
class Compared:
    """One image: its name and its confusion matrix."""

    name: str
    matrix: metrics.Matrix


def evaluate(args: argparse.Namespace) -> int:
    """Compare predicted with true labels; pixels without a class in either (255) do not count."""
    pairs = _pairs(args.pred, args.truth)
    schema = None if args.schema is None else get_schema(args.schema)
    labels = [(name, read_labels(truth, schema), read_labels(pred, schema)) for name, pred, truth in pairs]
    ids = sorted(set().union(*(np.unique(a).tolist() + np.unique(b).tolist() for _, a, b in labels)) - {IGNORE})
    if schema is not None:
        for name, truth, pred in labels:
            schema.check(truth, f"The truth of '{name}'")
            schema.check(pred, f"The prediction of '{name}'")
        ids = list(schema.ids)
    index = np.full(256, IGNORE, np.uint8)
    index[ids] = np.arange(len(ids))
    compared = [
        Compared(name, metrics.confusion_matrix(index[truth], index[pred], num_classes=len(ids)))
        for name, truth, pred in labels
    ]
    result = _result(args.task, compared, [_class_name(schema, k) for k in ids])
    if args.out is not None:
        _write_tables(args.out, result, compared)
    if args.json:
        print_json(result)
    else:
        rows = [(name, *(_number(row[k]) for k in _COLUMNS)) for name, row in result["per_class"].items()]
        print_table(("CLASS", *(k.upper() for k in _COLUMNS)), rows)
        print(
            f"Overall ({result['n']} images): " + ", ".join(f"{k} {_number(v)}" for k, v in result["overall"].items())
        )
    return 0


_COLUMNS = ("dice_mean", "dice_sd", "n", "dice", "iou", "accuracy")


def _result(task: str, compared: list[Compared], names: list[str]) -> dict[str, Any]:
    """``dice``, ``iou`` and ``accuracy`` are over all pixels together, ``dice_mean`` and ``dice_sd`` over images."""
    total = sum((item.matrix for item in compared), np.zeros((len(names), len(names)), np.int64))
    dice, iou, accuracy = metrics.dice(total), metrics.iou(total), metrics.pixel_accuracy(total)
    per_class = {}
    for k, name in enumerate(names):
        spread = metrics.dice_per_image((item.matrix for item in compared), k)
        per_class[name] = {
            "dice_mean": spread.mean,
            "dice_sd": spread.sd,
            "n": spread.n,
            "dice": float(dice[k]),
            "iou": float(iou[k]),
            "accuracy": float(accuracy[k]),
        }
    means = [row["dice_mean"] for row in per_class.values() if row["n"]]
    overall = {
        "dice_mean": float(np.mean(means)) if means else float("nan"),
        "miou": metrics.mean_iou(total),
        "accuracy": metrics.overall_accuracy(total),
    }
    return {"task": task, "n": len(compared), "per_class": per_class, "overall": overall}


def _pairs(pred: Path, truth: Path) -> list[tuple[str, Path, Path]]:
    """(name, predicted file, true file) of everything that has both."""
    if pred.is_file() and truth.is_file():
        return [(truth.stem, pred, truth)]
    if not (pred.is_dir() and truth.is_dir()):
        raise InputError(f"'{pred}' and '{truth}' must be two label files or two folders of label files.")
    predicted, true = _label_files(pred), _label_files(truth)
    missing = sorted(set(true) - set(predicted))
    if missing:
        raise InputError(f"'{pred}' has no prediction for '{missing[0]}' ({len(missing)} of {len(true)} are missing).")
    if not true:
        raise InputError(f"'{truth}' holds no label files ({', '.join(_SUFFIXES)}).")
    return [(name, predicted[name], path) for name, path in true.items()]


def _label_files(folder: Path) -> dict[str, Path]:
    paths = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES)
    return {path.stem: path for path in paths if not path.stem.endswith("_probabilities")}


def _class_name(schema: LabelSchema | None, class_id: int) -> str:
    return str(class_id) if schema is None else schema.by_id(class_id).name


def _write_tables(out: Path, result: dict[str, Any], compared: list[Compared]) -> None:
    names = list(result["per_class"])
    per_class = [(name, *(row[k] for k in _COLUMNS)) for name, row in result["per_class"].items()]
    per_image = [(item.name, *metrics.dice(item.matrix), metrics.overall_accuracy(item.matrix)) for item in compared]
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "per_class.csv", _csv(("class", *_COLUMNS), per_class))
    write_bytes(out / "per_image.csv", _csv(("image", *(f"dice {name}" for name in names), "accuracy"), per_image))


def _csv(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"
