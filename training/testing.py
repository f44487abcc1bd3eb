"""What finished weights do on one image, through the same prediction a user's image gets, measured against truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.core.schemas import get_schema
from napari_histoseg.inference.instances import instances_from_probabilities
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.metrics import Matrix, confusion_matrix, dice, iou
from napari_histoseg.models.weights import Weights
from training.plan import Plan, TestSet
from training.prepared import Sample

BOUNDARY = 2


@dataclass(frozen=True, eq=False)
class Measured:
    """One image that was tested.

    Parameters
    ----------
    row : dict
        Numbers by name; NaN where a number has no meaning, such as the Dice of a class that is not there.
    matrix : ndarray of int64, shape (C, C)
        Pixels by true and predicted class; empty for a score.
    found : ndarray of uint8 or int32, shape (H, W)
        Class indices or instance numbers; empty for a score.
    """

    row: dict[str, float]
    matrix: Matrix
    found: NDArray[np.uint8] | NDArray[np.int32]


Measure = Callable[[Sample], Measured]


def measure_for(plan: Plan, test: TestSet, weights: Weights, *, device: str) -> Measure:
    """The function that tests one image of a set."""
    probabilities = _Probabilities(plan, weights, device)
    if plan.target == "nuclei":
        return lambda sample: _measure_nuclei(sample, probabilities)
    classes = get_schema(test.schema_id or plan.schema_id).classes
    groups = _channels(classes, weights.classes, test)
    return lambda sample: _measure_classes(sample, probabilities, classes, groups)


class _Probabilities:
    """Class probabilities of whole images; networks stay loaded between them."""

    def __init__(self, plan: Plan, weights: Weights, device: str) -> None:
        self._plan = plan
        self._weights = weights
        self._device = device
        self._predictors = Predictors()
        self.seconds = 0.0

    def __call__(self, sample: Sample) -> NDArray[np.float32]:
        image = image_from_array(sample.image, name=sample.facts["key"], mpp=self.mpp(sample))
        request = PredictRequest(
            image, self._weights.model_id, self._weights, device=self._device, keep_probabilities=True
        )
        result = run_job(predict(request, self._predictors))
        self.seconds = result.seconds
        assert result.probabilities is not None
        return result.probabilities

    def mpp(self, sample: Sample) -> float:
        """µm per pixel of an image; that of the weights where the set does not know it."""
        return float(sample.facts.get("mpp") or self._weights.mpp)


def _measure_classes(
    sample: Sample, probabilities: _Probabilities, classes: tuple[LabelClass, ...], groups: list[list[int]]
) -> Measured:
    channels = probabilities(sample)
    found = channels.argmax(axis=0)
    index = np.full(len(channels), IGNORE, np.uint8)
    for k, group in enumerate(groups):
        index[group] = k
    table = np.full(256, IGNORE, np.uint8)
    table[[c.id for c in classes]] = np.arange(len(classes))
    assert sample.labels is not None
    truth, labels = table[sample.labels], index[found]
    matrix = confusion_matrix(truth, labels, num_classes=len(classes))
    row = {"seconds": probabilities.seconds, "megapixels": truth.size / 1e6}
    is_true = matrix.sum(axis=1) > 0
    for k, c in enumerate(classes):
        row[f"dice {c.name}"] = float(dice(matrix)[k]) if is_true[k] else np.nan
        row[f"iou {c.name}"] = float(iou(matrix)[k]) if is_true[k] else np.nan
    return Measured(row, matrix, labels)


def _channels(classes: tuple[LabelClass, ...], known: tuple[LabelClass, ...], test: TestSet) -> list[list[int]]:
    """For each class of the set, the channels of the network that count as it; by name where the test does not say."""
    names = [c.name for c in known]
    groups = []
    for c in classes:
        wanted = test.regroup.get(c.name, (c.name,))
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(
                f"The network has no class '{missing[0]}' to compare with '{c.name}' of set '{test.data}'; "
                f"it has {', '.join(names)}; say so with tests.0.regroup."
            )
        groups.append([names.index(name) for name in wanted])
    return groups


def _measure_nuclei(sample: Sample, probabilities: _Probabilities) -> Measured:
    if sample.instances is None:
        raise InputError(f"'{sample.facts['key']}' has no nuclei outlined one by one; test on another set.")
    truth = np.asarray(sample.instances)
    values = probabilities(sample)
    boundary = BOUNDARY if len(values) > BOUNDARY else None
    found = instances_from_probabilities(values, probabilities.mpp(sample), boundary=boundary)
    matrix = confusion_matrix((truth > 0).astype(np.uint8), (found > 0).astype(np.uint8), num_classes=2)
    row = {"seconds": probabilities.seconds, "megapixels": truth.size / 1e6, "dice nucleus": float(dice(matrix)[1])}
    return Measured(row, matrix, found)
