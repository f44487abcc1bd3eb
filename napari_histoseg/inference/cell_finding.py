"""The single cells that a model of nuclei finds: in an image, or anew where one is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.inference.instances import (
    BACKGROUND,
    boundary_channel,
    classes_of,
    instances_from_probabilities,
    part_cells,
)
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict, probabilities_in
from napari_histoseg.jobs.job import Job, Progress

Outline = tuple[Box, NDArray[np.bool_]]
"""A box in pixels of the image and which of its pixels (h, w) are the cell's."""

_AROUND_UM = 12.0
"""So much of the surroundings tells a model what it looks at, and lets a cell become larger."""


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
    foreground : ndarray of uint8, shape (H, W)
        255 times the probability that a pixel is not background.
    """

    instances: NDArray[np.int32]
    values: NDArray[np.uint8]
    scores: NDArray[np.float64]
    foreground: NDArray[np.uint8]


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
    foreground = np.rint(255 * (1 - probabilities[BACKGROUND].clip(0, 1))).astype(np.uint8)
    return ModelCells(instances, ids[channels], np.clip(scores, 0.0, 1.0), foreground)


def repaint_cells(
    request: PredictRequest, outlines: Mapping[int, Outline], predictors: Predictors
) -> Job[dict[int, Outline]]:
    """Outline cells anew, each in a window of its surroundings; those of which the model sees nothing are left out.

    Parameters
    ----------
    request : PredictRequest
        Says image, with known µm per pixel, and model; its boxes do not matter.
    outlines : mapping of int to Outline
        By number of the cell.
    predictors : Predictors
    """
    mpp = request.image.mpp
    if mpp is None:
        raise ValueError("The µm per pixel of the image must be known.")
    boundary = boundary_channel(request.weights.classes)
    found: dict[int, Outline] = {}
    for done, (number, (box, mask)) in enumerate(outlines.items()):
        window = box.pad(round(_AROUND_UM / mpp)).clip(request.image.shape)
        yield Progress(done, len(outlines), "Outlining cells anew.")
        probabilities = probabilities_in(window, request, predictors)
        cells = instances_from_probabilities(probabilities, mpp, boundary=boundary)
        covered = np.bincount(cells[box.relative_to(window).slices][mask], minlength=1)
        covered[0] = 0
        if covered.any():
            new = cells == covered.argmax()
            tight = Box.of_mask(new)
            found[number] = tight.shift(window.y0, window.x0), new[tight.slices]
    return found
