"""Which cells of an image look like a few that somebody chose."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.inference.cell_features import FEATURES

_SKEWED = ("area", "perimeter", "major_axis", "minor_axis", "haematoxylin_sd", "eosin_sd", "grain")
_MAD_OF_NORMAL = 0.6745
_LEAST = 1e-6
_FARTHEST = 3.0
_PRIOR_VARIANCE = 0.5
_AGAINST = 0.4


def standardised(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Features that can be compared with each other: 0 for the typical cell of the image, 1 for usual differences.

    Sizes and spreads are taken as logarithms. Median and median absolute deviation stand for mean and standard
    deviation, so that a few odd cells change nothing.

    Parameters
    ----------
    values : ndarray of float, shape (n, len(FEATURES))
        As `measure_cells` gives them; NaN counts as typical.

    Returns
    -------
    ndarray of float64, shape (n, len(FEATURES))
        -3 to 3.
    """
    table = np.asarray(values, np.float64)
    if not len(table):
        return table
    skewed = [list(FEATURES).index(name) for name in _SKEWED]
    table = table.copy()
    table[:, skewed] = np.log(np.maximum(table[:, skewed], _LEAST))
    table[:, np.isnan(table).all(axis=0)] = 0.0
    middle = np.nanmedian(table, axis=0)
    spread = np.nanmedian(np.abs(table - middle), axis=0) / _MAD_OF_NORMAL
    scaled = np.nan_to_num((table - middle) / np.where(spread > _LEAST, spread, 1.0))
    return np.asarray(np.clip(scaled, -_FARTHEST, _FARTHEST))


def similarity(standard: NDArray[np.float64], chosen: ArrayLike) -> NDArray[np.float64]:
    """How much each cell looks like the chosen ones, above 0 and below 1.

    The mean evidence per feature that a cell is one of their kind rather than any cell of the image: the kind is taken
    as normal around the mean of the chosen, with their variance added to one half, which a few examples cannot make
    small; all cells are standard normal. Since features depend on each other, looking unlike the average counts for
    0.4 only. Both numbers were chosen on cells of colorectal tissue (``benchmarks/similar.py``).

    Parameters
    ----------
    standard : ndarray of float64, shape (n, F)
        As `standardised` gives them.
    chosen : array_like of int, shape (k,)
        Rows of the chosen cells; at least one.
    """
    examples = standard[np.asarray(chosen, np.intp)]
    variance = _PRIOR_VARIANCE + examples.var(axis=0)
    evidence = _AGAINST * standard**2 - (standard - examples.mean(axis=0)) ** 2 / variance
    return np.asarray(1 / (1 + np.exp(-evidence.mean(axis=1))))
