"""Gland metrics against plain loops over all objects and all their pixels."""

from __future__ import annotations

from math import hypot

import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff

from napari_histoseg.learning import metrics_gland
from napari_histoseg.learning.metrics_gland import object_dice, object_f1, object_hausdorff, pixel_f1


def glands(seed: int, *, rings: bool = False) -> np.ndarray:
    """Ellipses, some of them hollow, in a field of 60 x 80 px."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    instances = np.zeros((60, 80), np.int32)
    for k in range(6):
        cy, cx, ry, rx = *rng.integers(5, (55, 75)), *rng.integers(4, 12, 2)
        level = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
        instances[(level <= 1) & ((level > 0.4) | (not rings))] = 3 * k + 2
    return instances


PAIRS = [
    (glands(0), glands(1)),
    (glands(2), glands(3, rings=True)),
    (glands(4, rings=True), glands(4)),
    (glands(5), glands(5)),
]


def masks(instances: np.ndarray) -> list[np.ndarray]:
    return [instances == k for k in np.unique(instances) if k]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def hausdorff(a: np.ndarray, b: np.ndarray) -> float:
    return max(directed_hausdorff(np.argwhere(p), np.argwhere(q))[0] for p, q in ((a, b), (b, a)))


def partner(own: np.ndarray, others: list[np.ndarray]) -> np.ndarray | None:
    overlap, best = max(((own & other).sum(), k) for k, other in enumerate(others))
    return others[best] if overlap else None


def one_way(own: list[np.ndarray], others: list[np.ndarray], measure: str) -> float:
    total = sum(mask.sum() for mask in own)
    value = 0.0
    for mask in own:
        other = partner(mask, others)
        if measure == "dice":
            value += mask.sum() / total * (0 if other is None else dice(mask, other))
        else:
            distance = min(hausdorff(mask, o) for o in others) if other is None else hausdorff(mask, other)
            value += mask.sum() / total * distance
    return value


@pytest.mark.parametrize(("truth", "prediction"), PAIRS)
@pytest.mark.parametrize(("measure", "function"), [("dice", object_dice), ("hausdorff", object_hausdorff)])
def test_object_measures_by_loops(truth: np.ndarray, prediction: np.ndarray, measure: str, function) -> None:
    true, predicted = masks(truth), masks(prediction)
    expected = (one_way(true, predicted, measure) + one_way(predicted, true, measure)) / 2
    assert function(truth, prediction) == pytest.approx(expected)


@pytest.mark.parametrize(("truth", "prediction"), PAIRS)
def test_object_f1_by_loops(truth: np.ndarray, prediction: np.ndarray) -> None:
    true, predicted = masks(truth), masks(prediction)
    partners = [(mask, partner(mask, true)) for mask in predicted]
    tp = sum(other is not None and (mask & other).sum() > 0.5 * other.sum() for mask, other in partners)
    precision, recall = tp / len(predicted), tp / len(true)
    expected = 2 * precision * recall / (precision + recall) if tp else 0.0
    assert object_f1(truth, prediction) == pytest.approx(expected)


def test_exactly_half_is_not_found() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 2, 2]])
    assert object_f1(truth, np.array([[5, 5, 0, 0, 0, 6, 6]])) == pytest.approx(0.5)
    assert object_f1(truth, np.array([[5, 5, 5, 0, 0, 6, 6]])) == 1.0


def test_a_disc_within_a_ring_is_as_far_as_its_middle() -> None:
    """The farthest pixel of the disc from the ring lies inside the disc, not on its boundary."""
    y, x = np.mgrid[:31, :31]
    radius = np.hypot(y - 15, x - 15)
    disc, ring = (radius <= 14).astype(int), ((radius <= 14) & (radius > 11)).astype(int)
    assert object_hausdorff(disc, ring) == pytest.approx(hausdorff(disc > 0, ring > 0))
    assert object_hausdorff(disc, ring) > 11


def test_both_or_one_empty() -> None:
    nothing, some = np.zeros((30, 40), int), np.zeros((30, 40), int)
    some[5:10, 5:10] = 1
    for a, b, best, distance in (
        (nothing, nothing, 1.0, 0.0),
        (some, nothing, 0.0, hypot(30, 40)),
        (nothing, some, 0.0, hypot(30, 40)),
        (some, some, 1.0, 0.0),
    ):
        assert object_f1(a, b) == object_dice(a, b) == pixel_f1(a > 0, b > 0) == best
        assert object_hausdorff(a, b) == distance


def test_pixel_f1_is_dice() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20, 20)) > 0.4
    precision, recall = (a & b).sum() / b.sum(), (a & b).sum() / a.sum()
    assert pixel_f1(a, b) == pytest.approx(2 * precision * recall / (precision + recall)) == pytest.approx(dice(a, b))


def test_of_many_specks_few_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, specks = np.zeros((250, 350), np.int32), np.zeros((250, 350), np.int32)
    for k in range(9):
        truth[25 + 75 * (k // 3) :, 30 + 110 * (k % 3) :][:50, :75] = k + 1
    specks[3::20, 3::20] = np.arange(1, 1 + 13 * 18).reshape(13, 18)
    compared = 0
    farthest = metrics_gland._Outline.farthest

    def counting(one: object, other: object) -> float:
        nonlocal compared
        compared += 1
        return farthest(one, other)

    monkeypatch.setattr(metrics_gland._Outline, "farthest", counting)
    object_hausdorff(truth, specks)
    assert compared < 2 * 234 * 9 / 3
