"""Area under the ROC curve of class probabilities; NaN for a class that is absent from the truth or fills it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE


def auc_per_class(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """One class against the rest, over the pixels of one image.

    The area is the chance that a pixel of the class has a higher probability than one of the rest, ties counting half
    (Mann-Whitney ``U / (n1 n0)``). For predictions without probabilities see `metrics.hard_auc`.

    Parameters
    ----------
    truth : ndarray of integers, shape (H, W)
        Class index, or ``IGNORE`` for pixels that do not count.
    probabilities : ndarray of float, shape (C, H, W)

    Returns
    -------
    ndarray of float64, shape (C,)

    Raises
    ------
    InputError
        When the shapes do not fit.
    """
    from scipy.stats import rankdata

    if probabilities.shape[1:] != truth.shape:
        raise InputError(f"Truth {truth.shape} and probabilities {probabilities.shape} differ in size; compare equals.")
    known = truth != IGNORE
    right = truth[known]
    values = np.full(len(probabilities), np.nan)
    for k, scores in enumerate(probabilities):
        is_class = right == k
        n1 = int(is_class.sum())
        n0 = len(right) - n1
        if n1 and n0:
            ranks = rankdata(scores[known])[is_class].sum()
            values[k] = (ranks - n1 * (n1 + 1) / 2) / (n1 * n0)
    return values
