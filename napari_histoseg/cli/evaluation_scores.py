"""Scores of images, such as cellularity, against true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_histoseg.cli.evaluation_report import Evaluated, Table
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import LabelSchema

_NOTES = (
    "pk is the chance that of two images with different truth the higher one is predicted higher, ties counting half; "
    "pk_se its jackknife standard error. With several raters it is the mean over raters, and the other numbers are "
    "against the mean of the raters.",
    "l1 is the mean absolute error; icc is the agreement ICC(2,1) of prediction and truth.",
    "Images without a predicted score (no tissue) or without a truth are left out; left_out says how many.",
)


def evaluate(pred: Path, truth: Path, schema: LabelSchema | None) -> Evaluated:
    """Prediction probability, error and agreement; a schema has no meaning here."""
    from napari_histoseg.io.charts import scatter_chart
    from napari_histoseg.io.maps import read_scores
    from napari_histoseg.learning.metrics_regression import icc, mean_absolute_error, pearson, prediction_probability

    predicted, true = read_scores(pred), read_scores(truth)
    missing = sorted(set(true) - set(predicted))
    if missing:
        raise InputError(f"'{pred}' has no score of '{missing[0]}' ({len(missing)} of {len(true)} are missing).")
    names = [name for name in true if np.isfinite([*predicted[name], *true[name]]).all()]
    if not names:
        raise InputError(f"No image of '{truth}' has both a predicted and a true score; nothing can be compared.")
    x = np.array([np.mean(predicted[name]) for name in names])
    raters = np.array([true[name] for name in names])
    y = raters.mean(axis=1)
    pk = [prediction_probability(x, rater) for rater in raters.T]
    overall: dict[str, Any] = {
        "pk": float(np.mean([p.value for p in pk])),
        "pk_se": float(np.mean([p.se for p in pk])),
        "l1": mean_absolute_error(x, y),
        "pearson": pearson(x, y),
        "icc": icc(np.stack([x, y], axis=1)),
        "raters": raters.shape[1],
        "left_out": len(true) - len(names),
    }
    rows = [(name, *values) for name, *values in zip(names, x.tolist(), y.tolist(), abs(x - y).tolist(), strict=True)]
    table = Table(("image", "prediction", "truth", "error"), rows)
    charts = {"scores": scatter_chart(y.tolist(), x.tolist(), title=f"Scores of {len(names)} images")}
    return Evaluated("cellularity", table, {}, overall, _NOTES, charts=charts)
