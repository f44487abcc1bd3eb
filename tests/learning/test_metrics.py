"""Metrics against published matrices and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from torchmetrics.functional.segmentation import dice_score

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.metrics import (
    confusion_matrix,
    dice,
    dice_per_image,
    foreground_averages,
    foreground_matrix,
    hard_auc,
    iou,
    mean_iou,
    overall_accuracy,
    pixel_accuracy,
    release_auc,
    spread,
)
from napari_histoseg.learning.metrics_auc import auc_per_class

# Confusion matrices published for focal losses of three strengths, with the accuracies and mean IoU that follow.
PUBLISHED = {
    2: (
        [[1812079, 4916, 26636, 79882], [4828, 5723, 0, 252], [1890, 0, 50114, 1140], [31020, 356, 0, 235500]],
        [0.9421, 0.5298, 0.9430, 0.8824],
        0.6461,
    ),
    5: (
        [[1797263, 7707, 30056, 88487], [4278, 6492, 0, 33], [3304, 0, 48079, 1761], [28313, 1000, 0, 237563]],
        [0.9344, 0.6009, 0.9047, 0.8902],
        0.6233,
    ),
    1: (
        [[1840327, 7883, 17059, 58244], [226, 10575, 0, 2], [1632, 0, 51512, 0], [8483, 51, 0, 258342]],
        [0.9568, 0.9789, 0.9693, 0.9680],
        0.7611,
    ),
}


@pytest.mark.parametrize("gamma", PUBLISHED)
def test_published_matrices_give_their_accuracies_and_mean_iou(gamma: int) -> None:
    matrix, accuracies, mean = PUBLISHED[gamma]
    assert pixel_accuracy(np.array(matrix)) == pytest.approx(accuracies, abs=5.1e-5)
    assert mean_iou(np.array(matrix)) == pytest.approx(mean, abs=5.1e-5)


def test_agrees_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (2, 3, 32, 32))
    t, p = torch.from_numpy(truth), torch.from_numpy(prediction)
    matrix = confusion_matrix(truth, prediction, num_classes=4)
    assert (matrix == reference.multiclass_confusion_matrix(p, t, num_classes=4).numpy()).all()
    assert iou(matrix) == pytest.approx(
        reference.multiclass_jaccard_index(p, t, num_classes=4, average="none").numpy(), abs=1e-6
    )
    assert dice(matrix) == pytest.approx(
        reference.multiclass_f1_score(p, t, num_classes=4, average="none").numpy(), abs=1e-6
    )
    assert overall_accuracy(matrix) == pytest.approx(reference.multiclass_accuracy(p, t, 4, average="micro").item())
    each = dice_score(p, t, num_classes=4, average="none", input_format="index").numpy()[:, 2]
    spread = dice_per_image((confusion_matrix(a, b, num_classes=4) for a, b in zip(truth, prediction, strict=True)), 2)
    assert (spread.mean, spread.sd, spread.n) == pytest.approx((each.mean(), each.std(), 3), abs=1e-6)


def test_ignored_pixels_are_not_counted() -> None:
    truth = np.array([[0, 1, IGNORE, 1]])
    prediction = np.array([[0, 0, 0, IGNORE]])
    assert confusion_matrix(truth, prediction, num_classes=2).tolist() == [[1, 0], [1, 0]]


def test_absent_classes_are_nan_and_left_out_of_means() -> None:
    matrix = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 3]])
    assert math.isnan(iou(matrix)[1]) and math.isnan(dice(matrix)[1]) and math.isnan(pixel_accuracy(matrix)[1])
    assert mean_iou(matrix) == 1.0
    assert math.isnan(mean_iou(np.zeros((3, 3), np.int64)))


def test_dice_per_image_counts_misses_as_zero_and_skips_images_without_the_class() -> None:
    found, missed, absent = np.array([[2, 0], [0, 6]]), np.array([[2, 0], [6, 0]]), np.array([[8, 0], [0, 0]])
    spread = dice_per_image([found, missed, absent], 1)
    assert (spread.mean, spread.sd, spread.n) == (0.5, 0.5, 2)
    assert dice_per_image([absent], 1).n == 0


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="differ in shape"):
        confusion_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int), num_classes=2)
    with pytest.raises(InputError, match="outside 0 to 1"):
        confusion_matrix(np.zeros((1, 1), int), np.full((1, 1), 2), num_classes=2)


def test_averages_without_background_are_pooled_and_plain() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = rng.choice(4, (2, 64, 64), p=[0.6, 0.3, 0.08, 0.02])
    prediction = np.where(rng.random((64, 64)) < 0.7, truth, prediction)
    matrix = confusion_matrix(truth, prediction, num_classes=4)
    averages = foreground_averages(matrix)
    shared = sum(((truth == k) & (prediction == k)).sum() for k in (1, 2, 3))
    either = sum(((truth == k) | (prediction == k)).sum() for k in (1, 2, 3))
    assert averages.micro_iou == pytest.approx(shared / either)
    assert averages.micro_dice == pytest.approx(2 * averages.micro_iou / (1 + averages.micro_iou))
    assert averages.macro_iou == pytest.approx(iou(matrix)[1:].mean())
    assert averages.macro_dice == pytest.approx(dice(matrix)[1:].mean())
    assert averages.micro_iou != pytest.approx(averages.macro_iou, abs=0.02)
    assert math.isnan(foreground_averages(np.diag([5, 0, 0])).micro_iou)


def test_foreground_against_background() -> None:
    rng = np.random.default_rng(2)
    truth, prediction = rng.integers(0, 4, (2, 32, 32))
    matrix = foreground_matrix(confusion_matrix(truth, prediction, num_classes=4), background=2)
    expected = confusion_matrix((truth != 2).astype(int), (prediction != 2).astype(int), num_classes=2)
    assert (matrix == expected).all()


def test_auc_is_torchmetrics_and_skips_classes_that_are_absent_or_everywhere() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, (20, 20))
    truth[:2] = IGNORE
    scores = np.round(rng.random((4, 20, 20)) + 0.3 * (truth == np.arange(4)[:, None, None]), 1) / 2  # with ties
    areas = auc_per_class(truth, scores)
    known = truth != IGNORE
    for k in range(3):
        expected = reference.binary_auroc(
            torch.from_numpy(scores[k][known]), torch.from_numpy(truth[known] == k).long()
        )
        assert areas[k] == pytest.approx(expected.item(), abs=1e-6)
    assert math.isnan(areas[3])
    assert np.isnan(auc_per_class(np.zeros((4, 4), int), rng.random((2, 4, 4)))).all()
    with pytest.raises(InputError, match="differ in size"):
        auc_per_class(truth, scores[:, :5])


def test_auc_of_hard_labels_is_the_auc_of_one_hot_scores() -> None:
    rng = np.random.default_rng(4)
    truth, prediction = rng.integers(0, 3, (2, 20, 20))
    prediction[prediction == 2] = 0
    matrix = confusion_matrix(truth, prediction, num_classes=4)
    one_hot = (prediction == np.arange(4)[:, None, None]).astype(float)
    assert hard_auc(matrix) == pytest.approx(auc_per_class(truth, one_hot), nan_ok=True)
    assert hard_auc(matrix)[2] == 0.5
    assert release_auc(matrix)[2] == 0.0 and release_auc(matrix)[1] == hard_auc(matrix)[1]
    assert math.isnan(release_auc(matrix)[3])


def test_spread_leaves_nan_out() -> None:
    assert spread([1.0, math.nan, 3.0]) == spread([1.0, 3.0])
    assert spread([math.nan]).n == 0
