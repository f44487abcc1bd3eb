"""Calmer outlines after prediction: a conditional random field whose pixels agree with near and like-coloured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference.predict import Prediction
from napari_histoseg.jobs.lane import check_cancelled

_ITERATIONS = 5
_NEAR_PX = 3.0
_FAR_PX = 30.0
_COLOUR = 0.05
_NEAR_WEIGHT = 1.0
_FAR_WEIGHT = 1.0

_TILE_PX = 960
_MARGIN_PX = 240
"""More than five steps carry anything; like `_TILE_PX` an even number of cells, so that all tiles cut the same ones."""

_LEAST = 1e-6
_NEXT_CELL = float(np.exp(-0.5))
"""Weight of a cell of the grid that is one standard deviation away."""


def mean_field(probabilities: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities after five mean-field steps of a dense random field (Krähenbühl & Koltun 2011).

    In each step a pixel's log probability is raised by the mean probability of its neighbours, once weighted by a
    Gaussian of 3 px, once by Gaussians of 30 px and of 0.05 in colour. The latter is summed on a coarse grid of place
    and colour.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (C, H, W)
    image : ndarray of uint8, shape (H, W, 3)

    Returns
    -------
    ndarray of float32, shape (C, H, W)
    """
    from scipy import ndimage
    from scipy.special import softmax

    evidence = np.log(np.maximum(probabilities, _LEAST))
    grid = _Grid(image)
    refined = probabilities
    near = (0.0, _NEAR_PX, _NEAR_PX)
    for _ in range(_ITERATIONS):
        agreement = _NEAR_WEIGHT * ndimage.gaussian_filter(refined, near) + _FAR_WEIGHT * grid.smoothed(refined)
        refined = softmax(evidence + agreement, axis=0).astype(np.float32)
    return refined


def calmed(prediction: Prediction, image: ImageRef, class_ids: Sequence[int]) -> Prediction:
    """A prediction after `mean_field` of each region; without labels or probabilities as it is.

    Large regions are computed in tiles that see enough around them for the result to be that of the whole.

    Parameters
    ----------
    prediction : Prediction
    image : ImageRef
        What was predicted.
    class_ids : sequence of int
        Class id of each channel.
    """
    if prediction.labels is None or prediction.probabilities is None:
        return prediction
    labels, probabilities = prediction.labels.copy(), prediction.probabilities.copy()
    ids = np.array(class_ids, np.uint8)
    for box in prediction.boxes:
        for tile in box.tiles(_TILE_PX):
            check_cancelled()
            window = tile.pad(_MARGIN_PX).intersect(box)
            refined = mean_field(prediction.probabilities[:, *window.slices], image.read(0, window))
            refined = refined[:, *tile.relative_to(window).slices]
            probabilities[:, *tile.slices] = refined
            labels[tile.slices] = ids[refined.argmax(axis=0)]
    return replace(prediction, labels=labels, probabilities=probabilities)


class _Grid:
    """Cells of place and colour, one standard deviation wide, of which only those that hold pixels are kept."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        rows, columns = np.indices((height, width))
        features = [rows / _FAR_PX, columns / _FAR_PX, *np.moveaxis(image / (255 * _COLOUR), -1, 0)]
        cells = [np.rint(f).astype(np.int64).ravel() + 1 for f in features]  # 0 is free for the neighbour before
        strides = np.cumprod([1, *(int(c.max()) + 2 for c in cells[:-1])])
        codes = sum(c * s for c, s in zip(cells, strides, strict=True))
        found, self._cell, counts = np.unique(codes, return_inverse=True, return_counts=True)
        self._neighbours = [(_places(found, found - s), _places(found, found + s)) for s in strides]
        self._mass = self._blurred(counts.astype(np.float64))

    def smoothed(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Planes (C, H, W) averaged over the pixels of near cells."""
        return np.stack([self._smoothed(plane) for plane in planes])

    def _smoothed(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = self._blurred(np.bincount(self._cell, plane.ravel()).astype(np.float64))
        means: NDArray[np.float32] = (sums / self._mass).astype(np.float32)[self._cell].reshape(plane.shape)
        return means

    def _blurred(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        for before, after in self._neighbours:
            padded = np.append(sums, 0.0)
            sums = sums + _NEXT_CELL * (padded[before] + padded[after])
        return sums


def _places(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted code is in ``found``, which ascends; its length where it is not."""
    places = np.searchsorted(found, wanted)
    is_there = found[np.minimum(places, len(found) - 1)] == wanted
    return np.where(is_there, places, len(found))
