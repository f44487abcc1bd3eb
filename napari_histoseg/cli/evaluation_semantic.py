"""Class maps against true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.cli.evaluation_files import Pair, beside, label_pairs
from napari_histoseg.cli.evaluation_report import Evaluated, Table
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema

Row = dict[str, NDArray[np.float64]]

_NOTES = (
    "Pixels that are 255 in truth or prediction do not count.",
    "dice_mean and dice_sd (population) are over the n images whose truth holds the class; not found there counts as "
    "0. dice_ci is a bootstrap interval of that mean (95 %).",
    "dice, iou and accuracy (share of the class's true pixels that were found) are over all pixels together; a class "
    "absent from truth and prediction has none (-).",
    "hard_auc is (sensitivity + specificity) / 2 per image, auc the area under the ROC curve of the probabilities; "
    "images that lack the class or consist of it are left out. release_auc is hard_auc, but 0 where the class was not "
    "predicted at all, as the program of the SPADESegResNet paper counts it.",
    "micro averages are ratios of sums over the classes without background, macro averages are means of the classes; "
    "foreground is all classes but background against background.",
)


def evaluate(pred: Path, truth: Path, schema: LabelSchema | None) -> Evaluated:
    """Every metric of class maps; errors as for `label_pairs` and `read_labels`."""
    from napari_histoseg.io.charts import box_chart, confusion_chart
    from napari_histoseg.learning import metrics

    pairs = label_pairs(pred, truth)
    ids = _ids_in(pairs) if schema is None else schema.ids
    names = [str(k) if schema is None else schema.by_id(k).name for k in ids]
    has_scores = all(beside(pair.pred, "_probabilities.tif").is_file() for pair in pairs)
    rows: list[Row] = []
    total = np.zeros((len(ids), len(ids)), np.int64)
    for pair in pairs:
        true, predicted = _indices(pair.truth, ids, schema, "truth"), _indices(pair.pred, ids, schema, "prediction")
        matrix = metrics.confusion_matrix(true, predicted, num_classes=len(ids))
        total += matrix
        dice = np.where(matrix.sum(axis=1) > 0, metrics.dice(matrix), np.nan)
        row = {"dice": dice, "hard_auc": metrics.hard_auc(matrix), "release_auc": metrics.release_auc(matrix)}
        if has_scores:
            row["auc"] = _auc(pair, true, ids)
        rows.append(row | {"accuracy": np.array([metrics.overall_accuracy(matrix)])})
    return Evaluated(
        "semantic",
        _per_image(pairs, rows, names),
        _per_class(total, rows, names),
        _overall(total, rows, names),
        _NOTES,
        {
            "confusion": Table(
                ("truth / prediction", *names), [(n, *r) for n, r in zip(names, total.tolist(), strict=True)]
            )
        },
        {
            "dice": box_chart(
                {name: [row["dice"][k] for row in rows] for k, name in enumerate(names)}, title="Dice per image"
            ),
            "confusion": confusion_chart(total, names, title="Pixels by class"),
        },
    )


def _ids_in(pairs: Sequence[Pair]) -> tuple[int, ...]:
    from napari_histoseg.io.labels import read_labels

    found: set[int] = set()
    for pair in pairs:
        found |= set(np.unique(read_labels(pair.truth)).tolist()) | set(np.unique(read_labels(pair.pred)).tolist())
    return tuple(sorted(found - {IGNORE}))


def _indices(path: Path, ids: Sequence[int], schema: LabelSchema | None, kind: str) -> NDArray[np.uint8]:
    """Labels as positions in ``ids``."""
    from napari_histoseg.io.labels import read_labels

    labels = read_labels(path, schema)
    if schema is not None:
        schema.check(labels, f"The {kind} '{path.name}'")
    index = np.full(256, IGNORE, np.uint8)
    index[list(ids)] = np.arange(len(ids))
    return index[labels]


def _auc(pair: Pair, true: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.float64]:
    from napari_histoseg.io.maps import read_probabilities
    from napari_histoseg.learning.metrics_auc import auc_per_class

    path = beside(pair.pred, "_probabilities.tif")
    channels, probabilities = read_probabilities(path)
    unknown = [k for k in channels if k not in ids]
    if unknown:
        raise InputError(f"'{path}' has probabilities of class {unknown[0]}, which the labels do not have.")
    if probabilities.shape[1:] != true.shape:
        raise InputError(f"'{path}' has {probabilities.shape[1:]} px, the truth {true.shape}; compare equal sizes.")
    values = np.full(len(ids), np.nan)
    ordered = np.zeros((len(ids), *true.shape), np.float32)
    places = [list(ids).index(k) for k in channels]
    ordered[places] = probabilities
    values[places] = auc_per_class(true, ordered)[places]
    return values


def _per_image(pairs: Sequence[Pair], rows: Sequence[Row], names: Sequence[str]) -> Table:
    metrics = [key for key in rows[0] if key != "accuracy"]
    header = ("image", *(f"{metric} {name}" for metric in metrics for name in names), "accuracy")
    lines = [
        (pair.name, *(value for metric in metrics for value in row[metric].tolist()), float(row["accuracy"][0]))
        for pair, row in zip(pairs, rows, strict=True)
    ]
    return Table(header, lines)


def _per_class(total: NDArray[np.int64], rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    from napari_histoseg.learning import metrics
    from napari_histoseg.learning.statistics import confidence_interval

    dice, iou, accuracy = metrics.dice(total), metrics.iou(total), metrics.pixel_accuracy(total)
    table: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(names):
        values = [float(row["dice"][k]) for row in rows]
        spread, (low, high) = metrics.spread(values), confidence_interval(values)
        table[name] = {"dice_mean": spread.mean, "dice_sd": spread.sd, "n": spread.n}
        table[name] |= {"dice_ci_low": low, "dice_ci_high": high}
        table[name] |= {"dice": float(dice[k]), "iou": float(iou[k]), "accuracy": float(accuracy[k])}
        for metric in [key for key in rows[0] if key.endswith("auc")]:
            spread = metrics.spread(float(row[metric][k]) for row in rows)
            table[name] |= {f"{metric}_mean": spread.mean, f"{metric}_sd": spread.sd, f"{metric}_n": spread.n}
    return table


def _overall(total: NDArray[np.int64], rows: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    from napari_histoseg.learning import metrics

    background = next((k for k, name in enumerate(names) if name in ("background", "0")), -1)
    averages = metrics.foreground_averages(total, background=background)
    of_classes = [metrics.spread(row["dice"][k] for row in rows).mean for k in range(len(names))]
    overall = {
        "dice_mean": metrics.spread(of_classes).mean,
        "miou": metrics.mean_iou(total),
        "accuracy": metrics.overall_accuracy(total),
        **vars(averages),
    }
    if background >= 0:
        both = metrics.foreground_matrix(total, background=background)
        overall |= {"foreground_dice": float(metrics.dice(both)[1]), "foreground_iou": float(metrics.iou(both)[1])}
    return overall
