"""AJI and panoptic quality against plain loops over objects, and MONAI."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from monai.metrics.panoptic_quality import compute_panoptic_quality
from scipy import ndimage

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.metrics_instance import (
    aji,
    majority_classes,
    overlaps,
    panoptic_quality,
    panoptic_quality_per_class,
)


def nuclei(seed: int, *, shift: int = 0, size: int = 96, count: int = 25) -> np.ndarray:
    """Discs at random places, some lost, all moved by up to ``shift``."""
    places, noise = np.random.default_rng(0), np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    instances = np.zeros((size, size), np.int32)
    for k in range(count):
        centre = places.integers(0, size, 2) + noise.integers(-shift, shift + 1, 2)
        radius = places.integers(3, 8)
        if shift and noise.random() < 0.15:
            continue
        instances[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2] = 7 * (k + 1)
    return instances


PAIRS = [(nuclei(1), nuclei(seed, shift=shift)) for seed, shift in ((2, 1), (3, 2), (4, 4))]


def ids(instances: np.ndarray) -> list[int]:
    return [k for k in np.unique(instances) if k]


def aji_by_loops(truth: np.ndarray, prediction: np.ndarray) -> float:
    shared = union = 0
    used = set()
    for t in ids(truth):
        mask = truth == t
        rivals = [(((prediction == p) & mask).sum() / ((prediction == p) | mask).sum(), p) for p in ids(prediction)]
        best, p = max(rivals, default=(0, 0))
        if best == 0:
            union += mask.sum()
            continue
        used.add(p)
        shared += ((prediction == p) & mask).sum()
        union += ((prediction == p) | mask).sum()
    union += sum((prediction == p).sum() for p in ids(prediction) if p not in used)
    return shared / union


@pytest.mark.parametrize(("truth", "prediction"), PAIRS)
def test_aji_by_loops(truth: np.ndarray, prediction: np.ndarray) -> None:
    value = aji(truth, prediction)
    assert 0.1 < value < 1
    assert value == pytest.approx(aji_by_loops(truth, prediction))


@pytest.mark.parametrize(("truth", "prediction"), PAIRS)
def test_panoptic_quality_by_loops_and_monai(truth: np.ndarray, prediction: np.ndarray) -> None:
    found = [
        overlap
        for t in ids(truth)
        for p in ids(prediction)
        if (overlap := ((truth == t) & (prediction == p)).sum() / ((truth == t) | (prediction == p)).sum()) > 0.5
    ]
    quality = panoptic_quality(truth, prediction)
    tp = len(found)
    assert (quality.tp, quality.fp, quality.fn) == (tp, len(ids(prediction)) - tp, len(ids(truth)) - tp)
    assert quality.dq == pytest.approx(2 * tp / (len(ids(truth)) + len(ids(prediction))))
    assert quality.sq == pytest.approx(np.mean(found), abs=1e-5)
    dense_truth, dense_prediction = (np.unique(m, return_inverse=True)[1].reshape(m.shape) for m in (truth, prediction))
    theirs = compute_panoptic_quality(torch.from_numpy(dense_prediction), torch.from_numpy(dense_truth))
    assert quality.pq == pytest.approx(theirs.item(), abs=1e-5)


def test_one_prediction_over_two_nuclei_is_shared_by_both() -> None:
    truth, prediction = np.array([[1, 1, 2, 2, 0, 0]]), np.array([[5, 5, 5, 5, 0, 9]])
    assert aji(truth, prediction) == pytest.approx((2 + 2) / (4 + 4 + 1))
    quality = panoptic_quality(truth, prediction)
    assert (quality.tp, quality.fp, quality.fn) == (0, 2, 2)  # an IoU of exactly one half is no match


def test_perfect_and_empty() -> None:
    truth = nuclei(1)
    nothing = np.zeros_like(truth)
    relabelled = np.where(truth > 0, 1000 - truth, 0)
    assert aji(truth, relabelled) == 1.0
    assert panoptic_quality(truth, relabelled).pq == pytest.approx(1.0, abs=1e-6)
    assert aji(truth, nothing) == panoptic_quality(truth, nothing).pq == 0.0
    assert math.isnan(aji(nothing, truth)) and math.isnan(panoptic_quality(nothing, truth).pq)
    assert panoptic_quality(nothing, truth).fp == len(ids(truth))
    assert math.isnan(aji(nothing, nothing)) and math.isnan(aji(nothing[:0], nothing[:0]))


def test_qualities_add_up() -> None:
    (a, b), (c, d) = PAIRS[0], PAIRS[1]
    together = panoptic_quality(
        np.hstack([a, np.where(c > 0, c + 1000, 0)]), np.hstack([b, np.where(d > 0, d + 1000, 0)])
    )
    total = panoptic_quality(a, b) + panoptic_quality(c, d)
    assert (total.tp, total.fp, total.fn) == (together.tp, together.fp, together.fn)
    assert total.pq == pytest.approx(together.pq)


def test_quality_of_each_class_is_that_of_its_objects_alone() -> None:
    truth, prediction = PAIRS[1]
    truth_classes = {k: 1 + k % 2 for k in ids(truth)}
    prediction_classes = {k: 1 + k % 2 for k in ids(prediction)}
    found = panoptic_quality_per_class(
        truth, prediction, truth_classes=truth_classes, prediction_classes=prediction_classes, classes=(1, 2, 3)
    )
    for k in (1, 2):
        own = truth * np.isin(truth, [i for i, c in truth_classes.items() if c == k])
        theirs = prediction * np.isin(prediction, [i for i, c in prediction_classes.items() if c == k])
        assert found[k - 1] == panoptic_quality(own, theirs)
    assert math.isnan(found[2].pq)


def test_class_of_an_object_is_that_of_most_of_its_pixels() -> None:
    instances = np.array([[4, 4, 4, 9, 9, 0, 2]])
    labels = np.array([[0, 3, 3, 1, 1, 1, 255]])
    assert majority_classes(instances, labels) == {2: 255, 4: 3, 9: 1}


def test_table_of_overlaps() -> None:
    table = overlaps(np.array([[0, 5, 5, 8]]), np.array([[3, 3, 3, 0]]))
    assert table.truth_ids.tolist() == [5, 8] and table.prediction_ids.tolist() == [3]
    assert table.truth_areas.tolist() == [2, 1] and table.prediction_areas.tolist() == [3]
    assert (table.truth.tolist(), table.prediction.tolist(), table.shared.tolist()) == ([0], [0], [2])
    full = overlaps(np.array([[1, 1]]), np.array([[1, 2]]))  # no background at all
    assert full.iou.tolist() == [0.5, 0.5]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="differ in shape"):
        aji(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(InputError, match="negative"):
        panoptic_quality(np.full((2, 2), -1), np.zeros((2, 2), int))


def test_a_thousand_nuclei_take_less_than_a_second() -> None:
    grid = np.zeros((1024, 1024), np.int32)
    grid[16::32, 16::32] = 1
    truth, _ = ndimage.label(ndimage.binary_dilation(grid, iterations=9))
    prediction = np.roll(truth, 3, axis=1)
    started = time.perf_counter()
    assert aji(truth, prediction) > 0.5 and panoptic_quality(truth, prediction).tp > 900
    assert time.perf_counter() - started < 1
