"""PK against its definition, scipy and published numbers; correlations against scipy and Shrout & Fleiss."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import tensor
from torchmetrics.functional.classification import binary_auroc

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.metrics_regression import icc, mean_absolute_error, pearson, prediction_probability


def pk(prediction: object, truth: object) -> float:
    return prediction_probability(np.array(prediction, float), np.array(truth, float)).value


def by_definition(prediction: np.ndarray, truth: np.ndarray) -> float:
    """All pairs, in n squared."""
    dx, dy = np.subtract.outer(prediction, prediction), np.subtract.outer(truth, truth)
    return ((dx * dy > 0).sum() + (dx == 0)[dy != 0].sum() / 2) / (dy != 0).sum()


def test_published_example() -> None:
    assert pk((1, 2, 2, 3), (0, 0, 1, 1)) == 0.875


@pytest.mark.parametrize("n", [2, 3, 7, 64, 65, 300])
def test_is_somers_d_with_the_truth_as_independent_variable(n: int) -> None:
    rng = np.random.default_rng(n)
    truth = np.round(rng.random(n), 1)
    truth[0], truth[1] = 0, 1
    prediction = np.round(truth + 0.4 * rng.standard_normal(n), 1)
    value = pk(prediction, truth)
    assert value == pytest.approx(by_definition(prediction, truth), abs=1e-12)
    assert value == pytest.approx((1 + stats.somersd(truth, prediction).statistic) / 2, abs=1e-12)
    if n >= 64:
        assert value != pytest.approx((1 + stats.somersd(prediction, truth).statistic) / 2, abs=1e-3)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=40))
def test_any_ties(cases: list[tuple[int, int]]) -> None:
    prediction, truth = np.array(cases, float).T
    if len(set(truth)) == 1:
        assert math.isnan(pk(prediction, truth))
    else:
        assert pk(prediction, truth) == pytest.approx(by_definition(prediction, truth), abs=1e-12)


def test_without_ties_it_is_kendall_and_for_two_values_the_auc() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((2, 50))
    assert pk(prediction, truth) == pytest.approx((1 + stats.kendalltau(prediction, truth).statistic) / 2)
    binary = (truth > 0.5).astype(int)
    assert pk(prediction, binary) == pytest.approx(binary_auroc(tensor(prediction), tensor(binary)).item(), abs=1e-6)


def test_jackknife_leaves_each_case_out() -> None:
    rng = np.random.default_rng(1)
    truth = np.round(rng.random(30), 1)
    prediction = np.round(truth + 0.3 * rng.standard_normal(30), 1)
    without = [by_definition(np.delete(prediction, k), np.delete(truth, k)) for k in range(30)]
    expected = math.sqrt(29 / 30 * ((np.array(without) - np.mean(without)) ** 2).sum())
    found = prediction_probability(prediction, truth)
    assert found.se == pytest.approx(expected, rel=1e-9) and found.n == 30


def test_a_hundred_thousand_cases_are_counted_quickly() -> None:
    rng = np.random.default_rng(2)
    truth = np.round(rng.random(100_000), 2)
    prediction = truth + 0.2 * rng.standard_normal(100_000)
    started = time.perf_counter()
    value = pk(prediction, truth)
    assert time.perf_counter() - started < 5
    assert value == pytest.approx(by_definition(prediction[:2000], truth[:2000]), abs=0.02)


def test_errors_and_correlations() -> None:
    rng = np.random.default_rng(3)
    truth, prediction = rng.random((2, 20))
    assert mean_absolute_error(prediction, truth) == pytest.approx(abs(prediction - truth).mean())
    assert pearson(prediction, truth) == pytest.approx(stats.pearsonr(prediction, truth).statistic)
    assert math.isnan(pearson(np.ones(5), np.arange(5.0)))


def test_agreement_of_four_judges_as_published() -> None:
    """Shrout & Fleiss (1979), table 2: ICC(2,1) is .29."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert icc(np.array(ratings, float)) == pytest.approx(0.2898, abs=5e-5)


def test_agreement_punishes_an_offset_that_correlation_forgives() -> None:
    truth = np.linspace(0, 1, 11)
    shifted = np.stack([truth, truth + 0.5], axis=1)
    assert icc(np.stack([truth, truth], axis=1)) == pytest.approx(1.0)
    assert icc(shifted) < 0.5 and pearson(shifted[:, 1], truth) == pytest.approx(1.0)
    assert math.isnan(icc(np.ones((5, 2)))) and math.isnan(icc(np.ones((1, 2))))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="3 predicted and 2 true"):
        pk([1, 2, 3], [1, 2])
    with pytest.raises(InputError, match="missing or infinite"):
        pk([1, math.nan], [1, 2])
