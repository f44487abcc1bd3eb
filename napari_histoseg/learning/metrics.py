"""Segmentation metrics, all from confusion matrices with rows of truth and columns of prediction.

A class absent from truth and prediction is NaN and left out of means; a class that is only predicted, or only true, has
IoU and Dice 0.
"""

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
    return _mean(iou(matrix))


def dice(matrix: Matrix) -> NDArray[np.float64]:
    """Per class: ``2 |A and B| / (|A| + |B|)``; NaN for a class absent from truth and prediction."""
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


@dataclass(frozen=True)
class Averages:
    """IoU and Dice of several classes together.

    Parameters
    ----------
    micro_iou, micro_dice : float
        Ratios of sums over the classes: frequent classes count more. Publications mean this when their average Dice is
        ``2 IoU / (1 + IoU)`` of their average IoU.
    macro_iou, macro_dice : float
        Means of the classes' values: rare classes count as much.
    """

    micro_iou: float
    micro_dice: float
    macro_iou: float
    macro_dice: float


def foreground_averages(matrix: Matrix, *, background: int = 0) -> Averages:
    """Averages over all classes but one; NaN where none of them occurs."""
    hits, both = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    is_counted = np.arange(len(matrix)) != background
    hit, total = hits[is_counted].sum(), both[is_counted].sum()
    return Averages(
        float(_ratio(hit, total - hit)),
        float(_ratio(2 * hit, total)),
        _mean(iou(matrix)[is_counted]),
        _mean(dice(matrix)[is_counted]),
    )


def foreground_matrix(matrix: Matrix, *, background: int = 0) -> Matrix:
    """The confusion matrix (2, 2) of background against all other classes together."""
    is_foreground = (np.arange(len(matrix)) != background).astype(np.int64)
    joined = np.stack([1 - is_foreground, is_foreground])
    merged: Matrix = joined @ matrix @ joined.T
    return merged


def hard_auc(matrix: Matrix) -> NDArray[np.float64]:
    """Per class: ``(sensitivity + specificity) / 2``, the area under the ROC curve of a prediction without scores.

    From the matrix of one image. NaN for a class that is absent from the truth or fills it.
    """
    true = matrix.sum(axis=1)
    hits, false_positive = np.diag(matrix), matrix.sum(axis=0) - np.diag(matrix)
    other = matrix.sum() - true
    return (_ratio(hits, true) + _ratio(other - false_positive, other)) / 2


def release_auc(matrix: Matrix) -> NDArray[np.float64]:
    """`hard_auc`, but 0 for a class that is never predicted, as the program of the SPADESegResNet paper counts it."""
    values = hard_auc(matrix)
    return np.where((matrix.sum(axis=0) == 0) & np.isfinite(values), 0.0, values)


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation over ``n`` images."""

    mean: float
    sd: float
    n: int


def dice_per_image(matrices: Iterable[Matrix], class_index: int) -> Spread:
    """Dice of one class, averaged over the images whose truth holds it; an empty prediction counts as 0."""
    return spread(dice(m)[class_index] for m in matrices if m[class_index].sum() > 0)


def spread(values: Iterable[float]) -> Spread:
    """Mean and population standard deviation of the values that are not NaN; NaN when there are none."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return Spread(float("nan"), float("nan"), 0)
    return Spread(float(np.mean(known)), float(np.std(known)), len(known))


def _mean(values: NDArray[np.float64]) -> float:
    return spread(values).mean


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(part, whole)
