"""The single cells that a model of nuclei found in each image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core.schema import LabelClass
from napari_histoseg.inference.predict import predict

if TYPE_CHECKING:
    from napari_histoseg.inference.predict import Predictors, PredictRequest
    from napari_histoseg.jobs.job import Job


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one image.

    Parameters
    ----------
    instances : ndarray of int32, shape (H, W)
        0 is background, cells are numbered from 1 to ``count``.
    counts : tuple of (LabelClass, int)
        How many there are of each of the model's classes.
    """

    instances: NDArray[np.int32]
    counts: tuple[tuple[LabelClass, int], ...]

    @property
    def count(self) -> int:
        return sum(number for _, number in self.counts)


class CellMaps:
    """The cells of the open project's images, until it is closed."""

    changed = Signal(str)
    """Id of an image whose cells were found anew."""

    def __init__(self) -> None:
        self._maps: dict[str, Cells] = {}

    def of(self, image_id: str) -> Cells | None:
        """The cells of an image; None while nobody has looked for any."""
        return self._maps.get(image_id)

    def keep(self, image_id: str, cells: Cells) -> None:
        self._maps[image_id] = cells
        self.changed.emit(image_id)

    def clear(self) -> None:
        self._maps.clear()


def find_cells(request: PredictRequest, predictors: Predictors) -> Job[Cells]:
    """Classify the pixels of an image, then part the cells; the first steps are those of ``predict``.

    Parameters
    ----------
    request : PredictRequest
        Of the whole image.
    predictors : Predictors
    """
    from napari_histoseg.inference.instances import boundary_channel, classes_of, part_cells

    prediction = yield from predict(replace(request, keep_probabilities=True), predictors)
    probabilities, mpp = prediction.probabilities, request.image.mpp
    if probabilities is None or mpp is None:
        raise ValueError("A prediction with probabilities of an image of known resolution was asked for.")
    classes = request.weights.classes
    boundary = boundary_channel(classes)
    instances = yield from part_cells(probabilities, mpp, boundary=boundary)
    channels, _ = classes_of(instances, probabilities, boundary=boundary)
    numbers = np.bincount(channels, minlength=len(classes))
    kinds = [k for k in range(1, len(classes)) if k != boundary]
    return Cells(instances, tuple((classes[k], int(numbers[k])) for k in kinds))
