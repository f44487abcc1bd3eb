"""Weights of classes and borders against published and hand-made numbers."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.class_weights import batch_class_weights, border_weights, class_weights

BREAST_CELLS = np.array([71338338, 819834, 1848719, 11644755])
"""Published pixels of background, lymphocyte, normal and malignant nuclei."""


def test_logarithmic_weights_as_published() -> None:
    assert class_weights(BREAST_CELLS, "log_freq") == pytest.approx([1.5174, 9.6178, 8.7152, 4.7205], abs=5.1e-5)


def test_one_minus_frequency_as_published() -> None:
    shares = [0.4001835483, 0.342964635, 0.1314107135, 0.0717482658, 0.0536928254]
    weights = class_weights((np.array(shares) * 1e10).astype(np.int64), "one_minus_freq")
    assert weights == pytest.approx([0.5998164517, 0.6570353650, 0.8685892941, 0.9282517141, 0.9463071751], abs=2e-8)


def test_inverse_and_median_frequency() -> None:
    counts = np.array([60, 30, 10, 0])
    assert class_weights(counts, "inverse") == pytest.approx([0.5, 1.0, 3.0, 0.0] / np.mean([0.5, 1.0, 3.0]))
    assert class_weights(counts, "median_freq") == pytest.approx([0.5, 1.0, 3.0, 0.0])
    assert class_weights(counts, "none").tolist() == [1, 1, 1, 1]
    assert class_weights(counts, "log_freq")[3] == pytest.approx(10.492, abs=1e-3)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(InputError, match="choose from none, one_minus_freq"):
        class_weights(BREAST_CELLS, "often")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="without a label"):
        class_weights(np.zeros(3, int), "inverse")


def test_weights_within_a_batch() -> None:
    labels = torch.tensor([[[0, 0, 0, 1], [IGNORE, IGNORE, IGNORE, IGNORE]]])
    weights = batch_class_weights(labels, 3, "log_freq")
    assert weights.tolist() == pytest.approx((1 / np.log(1.1 + np.array([0.75, 0.25, 0]))).tolist())
    assert batch_class_weights(torch.full((1, 2, 2), IGNORE), 2, "log_freq").tolist() == [1, 1]


def test_border_weights_of_a_line() -> None:
    line = np.array([[1, 1, 1, 0, 0, 0, 2, 2, 2]])
    assert border_weights(line)[0] == pytest.approx([0, 0, 0, 7.26149, 7.26149, 7.26149, 0, 0, 0], abs=1e-5)
    assert not border_weights(np.where(line == 2, 0, line)).any()


def test_border_weights_equal_distances_over_the_whole_image() -> None:
    rng = np.random.default_rng(0)
    seeds = np.zeros((90, 110), int)
    seeds[tuple(rng.integers(5, 85, (2, 12)))] = 1
    instances, _ = ndimage.label(ndimage.binary_dilation(seeds, iterations=4))
    instances[instances == 3] = 40  # ids with gaps
    ids = [k for k in np.unique(instances) if k]
    distances = np.sort([ndimage.distance_transform_edt(instances != k) for k in ids], axis=0)
    expected = np.where(instances == 0, 10 * np.exp(-((distances[0] + distances[1]) ** 2) / 50), 0)
    assert border_weights(instances) == pytest.approx(expected, abs=2e-6)


def test_border_weights_of_many_nuclei_are_quick() -> None:
    instances = np.zeros((512, 512), np.int32)
    for k, (y, x) in enumerate(np.ndindex(20, 20)):
        instances[y * 25 + 3 : y * 25 + 18, x * 25 + 3 : x * 25 + 18] = k + 1
    started = time.perf_counter()
    border_weights(instances)
    assert time.perf_counter() - started < 4
