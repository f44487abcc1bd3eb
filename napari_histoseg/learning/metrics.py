"""Segmentation metrics, all from confusion matrices with rows of truth and columns of prediction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE

Matrix = NDArray[np.int64]


def confusion_matrix(truth: NDArray[np.integer], prediction: NDArray[np.integer], *, num_classes: int) -> Matrix:
    """Pixel counts by true class (rows) and predicted class (columns).

    Parameters
    ----------
    truth, prediction : ndarray of integers, same shape
        Pixels that are ``IGNORE`` in either are not counted.
    num_classes : int
        Classes are 0 to ``num_classes - 1``.

    Returns
    -------
    ndarray of int64, shape (num_classes, num_classes)

    Raises
    ------
    InputError
        When the shapes differ or a value is neither a class nor ``IGNORE``.
    """
    if truth.shape != prediction.shape:
        raise InputError(f"Truth {truth.shape} and prediction {prediction.shape} differ in shape; compare equal sizes.")
    counted = (truth != IGNORE) & (prediction != IGNORE)
    rows, columns = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    if rows.size and (min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= num_classes):
        raise InputError(f"A label value is outside 0 to {num_classes - 1}; check that both use the same classes.")
    return np.bincount(rows * num_classes + columns, minlength=num_classes**2).reshape(num_classes, num_classes)


def pixel_accuracy(matrix: Matrix) -> NDArray[np.float64]:
    """Per class: share of its true pixels that were found (recall); NaN for a class without true pixels."""
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def overall_accuracy(matrix: Matrix) -> float:
    """Share of all pixels that are right; NaN without pixels."""
    return float(_ratio(np.trace(matrix), matrix.sum()))


def iou(matrix: Matrix) -> NDArray[np.float64]:
    """Per class: intersection over union; NaN for a class absent from truth and prediction."""
    hits = np.diag(matrix)
    return _ratio(hits, matrix.sum(axis=0) + matrix.sum(axis=1) - hits)


def mean_iou(matrix: Matrix) -> float:
    """Mean of `iou` over the classes that occur; NaN when none does."""
    values = iou(matrix)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def dice(matrix: Matrix) -> NDArray[np.float64]:
    """Per class: ``2 |A and B| / (|A| + |B|)``; NaN for a class absent from truth and prediction."""
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation over ``n`` images."""

    mean: float
    sd: float
    n: int


def dice_per_image(matrices: Iterable[Matrix], class_index: int) -> Spread:
    """Dice of one class, averaged over the images whose truth holds it; an empty prediction counts as 0."""
    values = [dice(m)[class_index] for m in matrices if m[class_index].sum() > 0]
    if not values:
        return Spread(float("nan"), float("nan"), 0)
    return Spread(float(np.mean(values)), float(np.std(values)), len(values))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(part, whole)
