"""Comparisons of models against scipy and textbook corrections."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.statistics import compare, confidence_interval, correct

RNG = np.random.default_rng(0)
OWN = {"tumor": list(RNG.normal(0.8, 0.1, 40)), "stroma": [*RNG.normal(0.7, 0.1, 30), math.nan]}
BASELINES = {
    "unet": {"tumor": list(RNG.normal(0.7, 0.1, 40)), "stroma": [*RNG.normal(0.69, 0.1, 30), 0.5]},
    "fcn": {"tumor": list(RNG.normal(0.79, 0.1, 40)), "stroma": [*RNG.normal(0.6, 0.1, 30), 0.5]},
}


def test_mann_whitney_of_every_class_and_baseline_with_holm_over_all_four() -> None:
    rows = compare(OWN, BASELINES)
    assert [(row.baseline, row.class_name) for row in rows] == [
        ("unet", "tumor"),
        ("unet", "stroma"),
        ("fcn", "tumor"),
        ("fcn", "stroma"),
    ]
    for row in rows:
        own, other = (np.array(v[row.class_name]) for v in (OWN, BASELINES[row.baseline]))
        own = own[~np.isnan(own)]
        assert row.p == pytest.approx(stats.mannwhitneyu(own, other, alternative="two-sided").pvalue)
    assert [row.p_corrected for row in rows] == pytest.approx(correct([row.p for row in rows], "holm"))


def test_paired_test_leaves_images_without_a_value_out() -> None:
    rows = compare(OWN, BASELINES, test="wilcoxon", correction="bonferroni")
    own, other = np.array(OWN["stroma"])[:30], np.array(BASELINES["fcn"]["stroma"])[:30]
    assert rows[3].p == pytest.approx(stats.wilcoxon(own, other).pvalue)
    assert rows[3].p_corrected == pytest.approx(min(1, 4 * rows[3].p))
    assert compare({"a": [0.5, 0.6]}, {"same": {"a": [0.5, 0.6]}}, test="wilcoxon")[0].p == 1.0


def test_corrections_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert correct(p, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct(p, "bonferroni") == pytest.approx([0.04, 0.16, 0.12, 0.02])
    assert correct(p, "benjamini_hochberg") == pytest.approx(stats.false_discovery_control(p))
    assert correct([0.9, 0.8], "bonferroni").tolist() == [1, 1]
    with_gap = correct([0.01, math.nan, 0.04], "holm")
    assert with_gap == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


def test_nothing_to_test_is_nan_and_no_error() -> None:
    row = compare({"a": [math.nan]}, {"b": {"a": [0.5]}})[0]
    assert math.isnan(row.p) and math.isnan(row.p_corrected)


def test_interval_of_the_mean_narrows_and_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 200)
    low, high = confidence_interval([*values, math.nan])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2))
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=2e-3)
    few = confidence_interval(values[:20].tolist())
    assert high - low < few[1] - few[0]
    assert math.isnan(confidence_interval([math.nan])[0])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(InputError, match="no values of the class 'tumor'"):
        compare(OWN, {"unet": {"stroma": [0.1]}})
    with pytest.raises(InputError, match="39 images and the model 40"):
        compare({"a": [0.5] * 40}, {"unet": {"a": [0.5] * 39}}, test="wilcoxon")
    with pytest.raises(InputError, match="choose from holm"):
        correct([0.1], "none")  # type: ignore[arg-type]
