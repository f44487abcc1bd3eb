"""How well predicted numbers follow the true ones: prediction probability, errors, correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError

Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class PredictionProbability:
    """PK with its jackknife standard error, over ``n`` cases; NaN where no two cases differ in truth."""

    value: float
    se: float
    n: int


def prediction_probability(prediction: Numbers, truth: Numbers) -> PredictionProbability:
    """PK: the chance that of two cases with different truth the higher one is predicted higher, ties counting half.

    Over all pairs of cases that differ in truth, ``PK = (concordant + tied in prediction / 2) / pairs`` (Smith, Dutton
    & Smith 1996). It equals ``(1 + d) / 2`` with Somers' D whose independent variable is the truth, and the area under
    the ROC curve for a truth of two values. Pairs that are tied in truth do not count.

    Parameters
    ----------
    prediction, truth : ndarray of float, shape (n,)

    Raises
    ------
    InputError
        When the lengths differ or a number is not finite.
    """
    prediction, truth = _checked(prediction, truth)
    concordant = _lower_in_both(prediction, truth) + _lower_in_both(-prediction, -truth)
    discordant = _lower_in_both(-prediction, truth) + _lower_in_both(prediction, -truth)
    _, place, count = np.unique(truth, return_inverse=True, return_counts=True)
    pairs = len(truth) - count[place]
    won = concordant + (pairs - concordant - discordant) / 2
    total_won, total = won.sum() / 2, pairs.sum() / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        without = (total_won - won) / (total - pairs)
        value = np.float64(total_won) / total
    n = len(truth)
    se = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) if n else np.nan
    return PredictionProbability(float(value), float(se), n)


def _lower_in_both(x: Numbers, y: Numbers) -> NDArray[np.int64]:
    """For each case: how many others are lower in x and in y, counted by merging sorted blocks in n log² n."""
    order = np.lexsort((-x, y))  # among equal y the higher x comes first, so that it is never counted as lower
    rank = np.unique(x, return_inverse=True)[1][order].astype(np.int64)
    n, lower, width = len(x), np.zeros(len(x), np.int64), 1
    place = np.arange(n)
    while width < n:
        block = place // width
        is_left = block % 2 == 0
        left = np.sort((block[is_left] // 2) * n + rank[is_left])
        pair = block[~is_left] // 2
        found = np.searchsorted(left, pair * n + rank[~is_left]) - pair * width  # left blocks before are full
        lower[~is_left] += found
        width *= 2
    counts = np.empty(n, np.int64)
    counts[order] = lower
    return counts


def mean_absolute_error(prediction: Numbers, truth: Numbers) -> float:
    """Mean of ``|prediction - truth|``; arguments and errors as for `prediction_probability`."""
    prediction, truth = _checked(prediction, truth)
    return float(np.abs(prediction - truth).mean()) if len(truth) else float("nan")


def pearson(prediction: Numbers, truth: Numbers) -> float:
    """Linear correlation; NaN where either is constant."""
    prediction, truth = _checked(prediction, truth)
    if len(truth) < 2 or np.ptp(prediction) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return float(np.corrcoef(prediction, truth)[0, 1])


def icc(ratings: NDArray[np.floating]) -> float:
    """Intraclass correlation for absolute agreement of single raters, ICC(2,1) of Shrout & Fleiss (1979).

    Parameters
    ----------
    ratings : ndarray of float, shape (n, k)
        Cases by raters; prediction and truth are two.

    Returns
    -------
    float
        NaN with fewer than two cases or without any difference.
    """
    n, k = ratings.shape
    if n < 2 or k < 2 or np.ptp(ratings) == 0:
        return float("nan")
    mean = ratings.mean()
    cases = k * ((ratings.mean(axis=1) - mean) ** 2).sum() / (n - 1)
    raters = n * ((ratings.mean(axis=0) - mean) ** 2).sum() / (k - 1)
    rest = ((ratings - mean) ** 2).sum() - (n - 1) * cases - (k - 1) * raters
    error = rest / ((n - 1) * (k - 1))
    return float((cases - error) / (cases + (k - 1) * error + k * (raters - error) / n))


def _checked(prediction: Numbers, truth: Numbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if x.shape != y.shape or y.ndim != 1:
        raise InputError(f"There are {x.size} predicted and {y.size} true numbers; give one of each per case.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("A predicted or true number is missing or infinite; leave such cases out.")
    return x, y
