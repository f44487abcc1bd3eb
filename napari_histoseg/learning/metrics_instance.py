"""How well single objects are found: AJI and panoptic quality.

Instance maps are integers (H, W): 0 is background, each other value one object. An image whose truth holds no object
(of a class) has no AJI and no PQ: NaN, left out of means. Objects predicted there are counted as false positives all
the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError

Instances = NDArray[np.integer]

_SQ_EPS = 1e-6


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Which true and predicted objects share pixels.

    Parameters
    ----------
    truth_ids, prediction_ids : ndarray, shapes (T,) and (P,)
        Values in the maps, ascending.
    truth_areas, prediction_areas : ndarray of int64, shapes (T,) and (P,)
        In pixels.
    truth, prediction, shared : ndarray of int64, shape (K,)
        Pairs of positions in the lists above and the pixels they share, ordered by true, then predicted object.
    """

    truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    truth_areas: NDArray[np.int64]
    prediction_areas: NDArray[np.int64]
    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    shared: NDArray[np.int64]

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        union = self.truth_areas[self.truth] + self.prediction_areas[self.prediction] - self.shared
        return self.shared / union


def overlaps(truth: Instances, prediction: Instances) -> Overlaps:
    """The table of overlaps of two instance maps, from one sort of their pixels.

    Raises
    ------
    InputError
        When the shapes differ or a value is negative.
    """
    if truth.shape != prediction.shape:
        raise InputError(f"Truth {truth.shape} and prediction {prediction.shape} differ in shape; compare equal sizes.")
    if truth.size == 0:
        return Overlaps(*(np.zeros(0, np.int64) for _ in range(7)))
    if truth.min() < 0 or prediction.min() < 0:
        raise InputError("An instance map holds negative numbers; 0 is background and each object a positive number.")
    base = int(prediction.max()) + 1
    codes, counts = np.unique(truth.astype(np.int64) * base + prediction.astype(np.int64), return_counts=True)
    true, predicted = np.divmod(codes, base)
    truth_ids, truth_place = np.unique(true, return_inverse=True)
    prediction_ids, prediction_place = np.unique(predicted, return_inverse=True)
    truth_areas = np.bincount(truth_place, counts).astype(np.int64)
    prediction_areas = np.bincount(prediction_place, counts).astype(np.int64)
    is_pair = (true > 0) & (predicted > 0)
    first, other = int(truth_ids[0] == 0), int(prediction_ids[0] == 0)  # objects come after the background
    return Overlaps(
        truth_ids[first:],
        prediction_ids[other:],
        truth_areas[first:],
        prediction_areas[other:],
        truth_place[is_pair] - first,
        prediction_place[is_pair] - other,
        counts[is_pair],
    )


def best_pairs(places: NDArray[np.int64], values: NDArray[np.floating | np.integer]) -> NDArray[np.int64]:
    """Positions of the pairs with the highest value for each place that has any; ``places`` and ``values`` (K,)."""
    order = np.lexsort((values, places))
    ordered = places[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order[is_last]


def aji(truth: Instances, prediction: Instances) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017).

    Each true object is paired with the predicted one of highest IoU, several may share one; the sum of intersections is
    divided by the sum of unions, to which true objects without partner and predicted ones never chosen add their area.
    """
    table = overlaps(truth, prediction)
    if not len(table.truth_ids):
        return float("nan")
    best = best_pairs(table.truth, table.iou)
    own, partner, shared = table.truth[best], table.prediction[best], table.shared[best]
    unions = table.truth_areas[own] + table.prediction_areas[partner] - shared
    missed = table.truth_areas.sum() - table.truth_areas[own].sum()
    unused = table.prediction_areas.sum() - table.prediction_areas[np.unique(partner)].sum()
    return float(shared.sum() / (unions.sum() + missed + unused))


@dataclass(frozen=True)
class PanopticQuality:
    """Objects found (IoU above 0.5), invented and missed, and the sum of the IoU of those found.

    Qualities of several images add up to that of all together.
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float

    def __add__(self, other: PanopticQuality) -> PanopticQuality:
        return PanopticQuality(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou_sum + other.iou_sum)

    @property
    def dq(self) -> float:
        """Detection quality: F1 of the objects."""
        return self.tp / (self.tp + (self.fp + self.fn) / 2) if self.tp + self.fn else float("nan")

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the objects found."""
        return self.iou_sum / (self.tp + _SQ_EPS) if self.tp + self.fn else float("nan")

    @property
    def pq(self) -> float:
        """``dq * sq``."""
        return self.dq * self.sq


def panoptic_quality(truth: Instances, prediction: Instances) -> PanopticQuality:
    """PQ of one image (Kirillov et al. 2019); with all nuclei as one class its ``pq`` is the bPQ of the image."""
    table = overlaps(truth, prediction)
    found = table.iou[table.iou > 0.5]
    tp = len(found)
    return PanopticQuality(tp, len(table.prediction_ids) - tp, len(table.truth_ids) - tp, float(found.sum()))


def panoptic_quality_per_class(
    truth: Instances,
    prediction: Instances,
    *,
    truth_classes: Mapping[int, int],
    prediction_classes: Mapping[int, int],
    classes: Sequence[int],
) -> list[PanopticQuality]:
    """PQ of each class of one image, from the objects of that class alone; the NaN-mean of their ``pq`` is its mPQ.

    Parameters
    ----------
    truth, prediction : ndarray of integers, shape (H, W)
    truth_classes, prediction_classes : mapping of int to int
        Class of each object; objects that are not in it belong to none.
    classes : sequence of int
    """
    return [panoptic_quality(_only(truth, truth_classes, k), _only(prediction, prediction_classes, k)) for k in classes]


def _only(instances: Instances, classes: Mapping[int, int], wanted: int) -> Instances:
    return np.where(np.isin(instances, [i for i, k in classes.items() if k == wanted]), instances, 0)


def majority_classes(instances: Instances, labels: NDArray[np.integer]) -> dict[int, int]:
    """The most frequent class of the pixels of each object; ``labels`` (H, W) holds class ids."""
    table = overlaps(instances, labels.astype(np.int64) + 1)
    best = best_pairs(table.truth, table.shared)
    ids, values = table.truth_ids[table.truth[best]], table.prediction_ids[table.prediction[best]] - 1
    return dict(zip(ids.tolist(), values.tolist(), strict=True))
