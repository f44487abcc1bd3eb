"""The single cells that a model of nuclei finds in an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.inference.instances import boundary_channel, classes_of, part_cells
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import Job


@dataclass(frozen=True, eq=False)
class ModelCells:
    """What a model found.

    Parameters
    ----------
    instances : ndarray of int32, shape (H, W)
        0 is background, cells are numbered from 1 to n.
    values : ndarray of uint8, shape (n,)
        Class id of each cell, of the model's classes.
    scores : ndarray of float64, shape (n,)
        Mean probability of that class over the pixels of the cell, 0 to 1.
    """

    instances: NDArray[np.int32]
    values: NDArray[np.uint8]
    scores: NDArray[np.float64]


def find_cells(request: PredictRequest, predictors: Predictors) -> Job[ModelCells]:
    """Classify the pixels of an image, then part the cells; the first steps are those of `predict`.

    Parameters
    ----------
    request : PredictRequest
        Of the whole image.
    predictors : Predictors
    """
    prediction = yield from predict(replace(request, keep_probabilities=True), predictors)
    probabilities, mpp = prediction.probabilities, request.image.mpp
    if probabilities is None or mpp is None:
        raise ValueError("A prediction with probabilities of an image of known resolution was asked for.")
    classes = request.weights.classes
    boundary = boundary_channel(classes)
    instances = yield from part_cells(probabilities, mpp, boundary=boundary)
    channels, scores = classes_of(instances, probabilities, boundary=boundary)
    ids = np.array([c.id for c in classes], np.uint8)
    return ModelCells(instances, ids[channels], np.clip(scores, 0.0, 1.0))
