"""Is one model better than another on the same images: tests, corrections for many of them, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError

Test = Literal["mann_whitney", "wilcoxon"]
Correction = Literal["holm", "bonferroni", "benjamini_hochberg"]


@dataclass(frozen=True)
class Comparison:
    """One class of one baseline against the proposed model.

    Parameters
    ----------
    baseline, class_name : str
    p : float
        Two-sided; NaN where there is nothing to test.
    p_corrected : float
    """

    baseline: str
    class_name: str
    p: float
    p_corrected: float


Values = Mapping[str, Sequence[float]]
"""Per class the value of each image, in the same order for all models; NaN where an image has none."""


def compare(
    proposed: Values,
    baselines: Mapping[str, Values],
    *,
    test: Test = "mann_whitney",
    correction: Correction = "holm",
) -> list[Comparison]:
    """Test one metric of a model against that of each baseline, class by class.

    Parameters
    ----------
    proposed : mapping of str to sequence of float
    baselines : mapping of str to such mappings
        With the same classes.
    test : {"mann_whitney", "wilcoxon"}
        Mann-Whitney U takes the images as two samples, as publications do; Wilcoxon's signed-rank test takes them in
        pairs, which they are when all models saw the same images.
    correction : {"holm", "bonferroni", "benjamini_hochberg"}
        The family is all classes of all baselines.

    Raises
    ------
    InputError
        When a baseline lacks a class or, for pairs, has another number of images.
    """
    rows = []
    for name, values in baselines.items():
        for class_name, own in proposed.items():
            if class_name not in values:
                raise InputError(
                    f"'{name}' has no values of the class '{class_name}'; evaluate it on the same classes."
                )
            a, b = np.asarray(own, np.float64), np.asarray(values[class_name], np.float64)
            if test == "wilcoxon" and a.shape != b.shape:
                raise InputError(f"'{name}' has {b.size} images and the model {a.size}; a paired test needs the same.")
            rows.append((name, class_name, _TESTS[test](a, b)))
    corrected = correct([p for *_, p in rows], correction)
    return [Comparison(*row, float(q)) for row, q in zip(rows, corrected, strict=True)]


def correct(p_values: Sequence[float], correction: Correction = "holm") -> NDArray[np.float64]:
    """Correct p values for how many there are; NaN stays and does not count.

    ``holm`` (1979) and ``bonferroni`` bound the chance of any false finding, ``benjamini_hochberg`` (1995) the share of
    false ones among the findings.
    """
    if correction not in get_args(Correction):
        raise InputError(f"There is no correction '{correction}'; choose from {', '.join(get_args(Correction))}.")
    p = np.asarray(p_values, np.float64)
    result = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    m = len(order)
    if correction == "holm":
        result[order] = np.maximum.accumulate(p[order] * (m - np.arange(m)))
    elif correction == "bonferroni":
        result[order] = p[order] * m
    else:
        result[order] = np.minimum.accumulate((p[order] * m / (1 + np.arange(m)))[::-1])[::-1]
    capped: NDArray[np.float64] = np.minimum(result, 1.0)
    return capped


def confidence_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images; NaN values are left out, NaN without any."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(known), size=(resamples, len(known)))
    low, high = np.quantile(known[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mann_whitney(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import mannwhitneyu

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue) if len(a) and len(b) else float("nan")


def _wilcoxon(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import wilcoxon

    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return float("nan")
    if (a[both] == b[both]).all():
        return 1.0
    return float(wilcoxon(a[both], b[both]).pvalue)


_TESTS: dict[Test, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "mann_whitney": _mann_whitney,
    "wilcoxon": _wilcoxon,
}
