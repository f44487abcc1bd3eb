"""The metrics of the GlaS challenge (Sirinukunwattana et al. 2017) for segmented glands.

Instance maps are integers (H, W): 0 is background, each other value one object. Where truth and prediction are both
empty, F1 and Dice are 1 and the Hausdorff distance is 0; where one is, F1 and Dice are 0 and the distance is the
diagonal of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from math import hypot

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.learning.metrics_instance import Instances, Overlaps, best_pairs, overlaps

Points = NDArray[np.int64]


def pixel_f1(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """F1 of the pixels of one image, which is their Dice; 1 where both are empty, 0 where one is."""
    both = int(truth.sum()) + int(prediction.sum())
    return 2 * int((truth & prediction).sum()) / both if both else 1.0


def object_f1(truth: Instances, prediction: Instances) -> float:
    """F1 of detection: a segmented object is right when it covers more than half of the true object it overlaps most.

    Other segmented objects are false positives, true objects that none covers so are false negatives.
    """
    table = overlaps(truth, prediction)
    count = len(table.truth_ids) + len(table.prediction_ids)
    best = best_pairs(table.prediction, table.shared)
    hits = int((table.shared[best] > 0.5 * table.truth_areas[table.truth[best]]).sum())
    return 2 * hits / count if count else 1.0


def object_dice(truth: Instances, prediction: Instances) -> float:
    """Dice of each object with the one it overlaps most, weighted by area, averaged over both directions."""
    table = overlaps(truth, prediction)
    if not (len(table.truth_ids) or len(table.prediction_ids)):
        return 1.0
    if not (len(table.truth_ids) and len(table.prediction_ids)):
        return 0.0
    dice = 2 * table.shared / (table.truth_areas[table.truth] + table.prediction_areas[table.prediction])

    def direction(places: NDArray[np.int64], areas: NDArray[np.int64]) -> float:
        best = best_pairs(places, table.shared)
        return float((areas[places[best]] * dice[best]).sum() / areas.sum())

    return (direction(table.truth, table.truth_areas) + direction(table.prediction, table.prediction_areas)) / 2


def object_hausdorff(truth: Instances, prediction: Instances) -> float:
    """Hausdorff distance in pixels of each object to its partner, weighted by area, averaged over both directions.

    The partner is the object it overlaps most, or without any the one of the smallest Hausdorff distance.
    """
    table = overlaps(truth, prediction)
    if not (len(table.truth_ids) or len(table.prediction_ids)):
        return 0.0
    if not (len(table.truth_ids) and len(table.prediction_ids)):
        return hypot(*truth.shape)
    true, predicted = _outlines(truth, table.truth_ids), _outlines(prediction, table.prediction_ids)
    distance = _Distances(true, predicted)
    swapped = Overlaps(
        table.prediction_ids,
        table.truth_ids,
        table.prediction_areas,
        table.truth_areas,
        table.prediction,
        table.truth,
        table.shared,
    )
    forth = _weighted_distance(table, true, predicted, distance)
    back = _weighted_distance(swapped, predicted, true, lambda i, j: distance(j, i))
    return (forth + back) / 2


def _weighted_distance(
    table: Overlaps, own: list[_Outline], others: list[_Outline], distance: Callable[[int, int], float]
) -> float:
    best = best_pairs(table.truth, table.shared)
    partner = dict(zip(table.truth[best].tolist(), table.prediction[best].tolist(), strict=True))
    values = [
        distance(i, partner[i]) if i in partner else _nearest(i, own[i], others, distance) for i in range(len(own))
    ]
    return float(np.average(values, weights=table.truth_areas))


def _nearest(i: int, outline: _Outline, others: list[_Outline], distance: Callable[[int, int], float]) -> float:
    """Smallest distance of one object; no distance is below the difference of the objects' extents."""
    bounds = [float(np.abs(outline.extent - other.extent).max()) for other in others]
    smallest = np.inf
    for j in np.argsort(bounds):
        if bounds[j] >= smallest:
            break
        smallest = min(smallest, distance(i, int(j)))
    return float(smallest)


class _Outline:
    """Pixels of one object (n, 2), those on its boundary, also in a tree, and the first and last row and column."""

    def __init__(self, pixels: Points, boundary: Points) -> None:
        from scipy.spatial import cKDTree

        self.pixels = pixels
        self.boundary = boundary
        self.tree = cKDTree(boundary)
        self.extent = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
        self._inside = np.zeros(self.extent[2:] - self.extent[:2] + 1, bool)
        self._inside[tuple((pixels - self.extent[:2]).T)] = True

    def farthest(self, other: _Outline) -> float:
        """Largest distance of a pixel of the other object to this one; pixels that both have are at distance 0.

        Beside this object's extent, the pixel farthest from it lies on the other's boundary: from any pixel inside, one
        step further away from the extent is farther and still in the other object.
        """
        near = other.pixels[self._spans(other.pixels)]
        near = near[~self._inside[tuple((near - self.extent[:2]).T)]]
        asked = np.concatenate([near, other.boundary[~self._spans(other.boundary)]])
        return float(self.tree.query(asked)[0].max()) if len(asked) else 0.0

    def _spans(self, points: Points) -> NDArray[np.bool_]:
        """Which points are within the extent."""
        is_spanned = (points >= self.extent[:2]) & (points <= self.extent[2:])
        return is_spanned[:, 0] & is_spanned[:, 1]


class _Distances:
    """Hausdorff distances between two lists of objects, each computed once."""

    def __init__(self, true: list[_Outline], predicted: list[_Outline]) -> None:
        self._true = true
        self._predicted = predicted
        self._known: dict[tuple[int, int], float] = {}

    def __call__(self, i: int, j: int) -> float:
        if (i, j) not in self._known:
            a, b = self._true[i], self._predicted[j]
            self._known[i, j] = max(a.farthest(b), b.farthest(a))
        return self._known[i, j]


def _outlines(instances: Instances, ids: NDArray[np.int64]) -> list[_Outline]:
    padded = np.pad(instances, 1)
    middle = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    is_boundary = np.any([middle != neighbour for neighbour in neighbours], axis=0)
    rows, columns = np.nonzero(instances)
    order = np.argsort(instances[rows, columns], kind="stable")
    pixels = np.stack([rows[order], columns[order]], axis=1)
    values = instances[rows[order], columns[order]]
    starts, stops = np.searchsorted(values, ids), np.searchsorted(values, ids, side="right")
    cut = [pixels[start:stop] for start, stop in zip(starts, stops, strict=True)]
    return [_Outline(part, part[is_boundary[tuple(part.T)]]) for part in cut]
