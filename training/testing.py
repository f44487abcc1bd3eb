"""What finished weights do on one image, through the same prediction a user's image gets, measured against truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.core.schemas import get_schema
from napari_histoseg.inference.instances import instances_from_probabilities
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.metrics import Matrix, confusion_matrix, dice, iou, overall_accuracy
from napari_histoseg.learning.metrics_auc import auc_per_class
from napari_histoseg.learning.metrics_gland import object_dice, object_f1, object_hausdorff
from napari_histoseg.learning.metrics_instance import (
    aji,
    majority_classes,
    panoptic_quality,
    panoptic_quality_per_class,
)
from napari_histoseg.models.weights import Weights
from training.material import rescaled, true_score
from training.plan import NUCLEUS_CLASSES, Plan, TestSet
from training.prepared import Sample

BOUNDARY = NUCLEUS_CLASSES.index("boundary")
_LEAST_GLAND_PX = 1000
_LEAST_OBJECT_SCALE_UM = 0.62


@dataclass(frozen=True, eq=False)
class Measured:
    """One image that was tested.

    Parameters
    ----------
    row : dict
        Numbers by name; NaN where a number has no meaning, such as the Dice of a class that is not there.
    matrix : ndarray of int64, shape (C, C), or None
        Pixels by true and predicted class; None for a score.
    found : ndarray of uint8 or int32, shape (H, W), or None
        Class indices or instance numbers; None for a score.
    """

    row: dict[str, float]
    matrix: Matrix | None
    found: NDArray[np.uint8] | NDArray[np.int32] | None


class Tester:
    """Tests images of one set; the network stays loaded between them.

    Parameters
    ----------
    plan : Plan
    test : TestSet
    weights : Weights
    device : str

    Raises
    ------
    InputError
        When the network has not the classes to compare with those of the set.
    """

    def __init__(self, plan: Plan, test: TestSet, weights: Weights, *, device: str) -> None:
        self._plan = plan
        self._test = test
        self._weights = weights
        self._device = device
        self._predictors = Predictors()
        self._measure: Callable[[Sample], Measured]
        if plan.target == "score":
            self.classes: tuple[str, ...] = ()
            self._measure = self._score
        elif plan.target == "nuclei":
            self.classes = ("background", "nucleus")
            self._measure = self._nuclei
        else:
            self._known = get_schema(test.schema_id or plan.schema_id).classes
            self._groups = channels_of(self._known, weights.classes, test)
            self.classes = tuple(c.name for c in self._known)
            self._measure = self._classes

    def __call__(self, sample: Sample) -> Measured:
        """Numbers of one image and what was predicted."""
        return self._measure(sample)

    def _mpp(self, sample: Sample) -> float:
        """µm per pixel of an image; that of the weights where the set does not know it."""
        return float(sample.facts.get("mpp") or self._weights.mpp)

    def _image(self, sample: Sample) -> ImageRef:
        return image_from_array(sample.image, name=str(sample.facts["key"]), mpp=self._mpp(sample))

    def _probabilities(self, sample: Sample) -> tuple[NDArray[np.float32], dict[str, float]]:
        weights = self._weights
        request = PredictRequest(
            self._image(sample), weights.model_id, weights, device=self._device, keep_probabilities=True
        )
        result = run_job(predict(request, self._predictors))
        if result.probabilities is None:
            raise InputError(f"'{sample.facts['key']}' is too large to be tested whole; cut it into parts.")
        return result.probabilities, {"seconds_per_megapixel": result.seconds / sample.image[..., 0].size * 1e6}

    def _classes(self, sample: Sample) -> Measured:
        if sample.labels is None:
            raise InputError(f"Set '{self._test.data}' has no class for each pixel; test on another set.")
        channels, row = self._probabilities(sample)
        scores = np.stack([channels[group].sum(axis=0) for group in self._groups])
        table = np.full(256, IGNORE, np.uint8)
        table[[c.id for c in self._known]] = np.arange(len(self._known))
        truth = table[sample.labels]
        index = np.full(len(channels), IGNORE, np.uint8)
        for k, group in enumerate(self._groups):
            index[group] = k
        found = index[channels.argmax(axis=0)]
        matrix = confusion_matrix(truth, found, num_classes=len(self._known))
        row["accuracy"] = overall_accuracy(matrix)
        row |= _by_class("dice", _where_true(dice(matrix), matrix), self._known)
        row |= _by_class("iou", _where_true(iou(matrix), matrix), self._known)
        row |= _by_class("auc", auc_per_class(truth, scores), self._known)
        if self._test.objects and sample.instances is not None:
            row |= self._objects(sample, channels, truth, found)
        return Measured(row, matrix, found)

    def _objects(
        self, sample: Sample, channels: NDArray[np.float32], truth: NDArray[np.uint8], found: NDArray[np.uint8]
    ) -> dict[str, float]:
        true = np.asarray(sample.instances)
        if self._test.objects == "glands":
            return gland_numbers(true, glands_of(found == 1, self._mpp(sample)))
        cells = instances_from_probabilities(channels, self._mpp(sample))
        quality = panoptic_quality_per_class(
            true,
            cells,
            truth_classes=majority_classes(true, truth),
            prediction_classes=majority_classes(cells, found),
            classes=range(1, len(self._known)),
        )
        of_class = [q.pq for q in quality]
        row = nucleus_numbers(true, cells) | {f"pq {c.name}": v for c, v in zip(self._known[1:], of_class, strict=True)}
        return row | {"mpq": float(np.nanmean(of_class)) if np.isfinite(of_class).any() else float("nan")}

    def _nuclei(self, sample: Sample) -> Measured:
        if sample.instances is None:
            raise InputError(f"Set '{self._test.data}' has no nuclei outlined one by one; test on another set.")
        true = np.asarray(sample.instances)
        values, row = self._probabilities(sample)
        boundary = BOUNDARY if len(values) > BOUNDARY else None
        found = instances_from_probabilities(values, self._mpp(sample), boundary=boundary)
        matrix = confusion_matrix((true > 0).astype(np.uint8), (found > 0).astype(np.uint8), num_classes=2)
        row |= {"dice nucleus": float(dice(matrix)[1]), "iou nucleus": float(iou(matrix)[1])}
        return Measured(row | nucleus_numbers(true, found), matrix, found)

    def _score(self, sample: Sample) -> Measured:
        image = rescaled(sample.image, self._mpp(sample) / self._weights.mpp)
        began = time.perf_counter()
        found = float(self._predictors.get(self._weights, self._device).scores(image[None])[0])
        seconds = (time.perf_counter() - began) / image[..., 0].size * 1e6
        truth = true_score(sample)
        row = {"score": found, "truth": truth, "absolute error": abs(found - truth), "seconds_per_megapixel": seconds}
        return Measured(row, None, None)


def nucleus_numbers(truth: NDArray[np.int32], found: NDArray[np.int32]) -> dict[str, float]:
    """AJI, detection, segmentation and panoptic quality, and the counts, of two instance maps."""
    quality = panoptic_quality(truth, found)
    numbers = {"aji": aji(truth, found), "dq": quality.dq, "sq": quality.sq, "pq": quality.pq}
    return numbers | {"true objects": len(np.unique(truth[truth > 0])), "found objects": int(found.max(initial=0))}


def gland_numbers(truth: NDArray[np.int32], found: NDArray[np.int32]) -> dict[str, float]:
    """The numbers of the GlaS challenge for two instance maps; distances in pixels."""
    return {
        "object f1": object_f1(truth, found),
        "object dice": object_dice(truth, found),
        "object hausdorff": object_hausdorff(truth, found),
    }


def glands_of(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.int32]:
    """Connected parts of a mask (H, W) with their holes filled; those below 1,000 px at 0.62 µm/px are left out."""
    from scipy import ndimage

    numbers, _ = ndimage.label(ndimage.binary_fill_holes(mask))
    large = np.bincount(numbers.ravel()) >= _LEAST_GLAND_PX * (_LEAST_OBJECT_SCALE_UM / mpp) ** 2
    large[0] = False
    return np.asarray(np.where(large[numbers], numbers, 0), np.int32)


def channels_of(classes: tuple[LabelClass, ...], known: tuple[LabelClass, ...], test: TestSet) -> list[list[int]]:
    """For each class of a set, the channels of the network that count as it; by name where the test does not say.

    Raises
    ------
    InputError
        When the network has no such class.
    """
    names = [c.name for c in known]
    groups = []
    for c in classes:
        wanted = test.regroup.get(c.name, (c.name,))
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(
                f"The network has no class '{missing[0]}' to compare with '{c.name}' of set '{test.data}'; it has "
                f"{', '.join(names)}. Say in the test's regroup which of them count as it."
            )
        groups.append([names.index(name) for name in wanted])
    return groups


def _where_true(values: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    return np.where(matrix.sum(axis=1) > 0, values, np.nan)


def _by_class(metric: str, values: NDArray[np.float64], classes: tuple[LabelClass, ...]) -> dict[str, float]:
    return {f"{metric} {c.name}": float(value) for c, value in zip(classes, values, strict=True)}
