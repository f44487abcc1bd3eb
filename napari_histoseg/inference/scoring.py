"""Scores of fields of tissue: predicted by a regression model, or derived from a map of cells."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.inference.predict import Predictors, checked_boxes
from napari_histoseg.inference.resample import ModelGrid
from napari_histoseg.inference.stain import optical_density
from napari_histoseg.inference.tiling import cut
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import Weights

MALIGNANT = frozenset({"malignant", "neoplastic", "tumor", "cancer"})
"""Names of the classes whose area a derived cellularity counts."""

_GREEN = 1  # haematoxylin and eosin both absorb green, glass does not
_LEAST_DENSITY = 0.15
_LEAST_TISSUE = 0.05


@dataclass(frozen=True, eq=False)
class ScoreRequest:
    """What to score; frozen, and picklable where the image's source is.

    Parameters
    ----------
    image : ImageRef
        With known µm per pixel.
    model_id : str
        Of a model whose task is regression.
    weights : Weights
    boxes : tuple of Box
        Regions in image pixels, each cut into fields of its own from its upper left corner; empty means the whole
        image.
    device : str
    generation : int
        Of no meaning here; lets the receiver drop what is no longer wanted.
    """

    image: ImageRef
    model_id: str
    weights: Weights
    boxes: tuple[Box, ...] = ()
    device: str = "auto"
    generation: int = 0


@dataclass(frozen=True)
class FieldScore:
    """The score of one field.

    Parameters
    ----------
    box : Box
        What the network saw, in image pixels.
    score : float
        From 0 to 1.
    tile : Box
        The part of it for which the score stands, in image pixels; the tiles of a request do not overlap.
    tissue : float
        Share of the tile that is tissue, from 0 to 1.
    """

    box: Box
    score: float
    tile: Box
    tissue: float


@dataclass(frozen=True)
class Scores:
    """The scores of all fields with tissue.

    Parameters
    ----------
    fields : tuple of FieldScore
    mean : float or None
        Over the fields, each weighted by the area of tissue in its tile; None where there is no tissue.
    seconds : float
        Of computing.
    """

    fields: tuple[FieldScore, ...]
    mean: float | None
    seconds: float


def score_fields(request: ScoreRequest, predictors: Predictors | None = None) -> Job[Scores]:
    """Score the fields of an image; the payload of a step is the ``FieldScore``, or None for a field without tissue.

    A field has the size that the model was made for, at its µm per pixel. Where the regions do not divide evenly, the
    last fields reach back into their neighbours so that they stay inside the image, and an image smaller than a field
    is continued by reflection. Tiles with less than 5 % of tissue are left out.

    Parameters
    ----------
    request : ScoreRequest
    predictors : Predictors, optional
        Networks that stay loaded between runs.

    Raises
    ------
    InputError, ModelError, WeightsError
        At the first step, when the request cannot be served.
    """
    began = time.perf_counter()
    spec = get_model(request.model_id).spec
    if spec.task != "regression":
        raise ModelError(f"{spec.title} gives a map of classes, not a score; choose a model for regression.")
    grid = ModelGrid(request.image, request.weights.mpp)
    regions = [grid.to_model(box) for box in checked_boxes(request.image, request.boxes)]
    tiles = cut(regions, (spec.tile_px, spec.tile_px))
    yield Progress(0, len(tiles), f"Loading {spec.title}.")
    predictor = (predictors or Predictors()).get(request.weights, request.device)
    found: list[FieldScore] = []
    for done, tile in enumerate(tiles, start=1):
        field = _field_around(tile, spec.tile_px, grid.shape)
        pixels = grid.read(field)
        tissue = float(tissue_mask(pixels)[tile.relative_to(field).slices].mean())
        scored = None
        if tissue >= _LEAST_TISSUE:
            score = float(predictor.scores(_filled(pixels, spec.tile_px)[None])[0])
            scored = FieldScore(_in_image(field, grid), score, _in_image(tile, grid), tissue)
            found.append(scored)
        yield Progress(done, len(tiles), f"Scoring '{request.image.name}'.", scored)
    return Scores(tuple(found), mean_score(found), time.perf_counter() - began)


def mean_score(fields: Iterable[FieldScore]) -> float | None:
    """Mean of the scores, each weighted by the area of tissue in its tile; None where there is none."""
    weighted = [(field.score, field.tissue * field.tile.area) for field in fields]
    area = math.fsum(weight for _, weight in weighted)
    return math.fsum(score * weight for score, weight in weighted) / area if area > 0 else None


def tissue_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where RGB pixels (H, W, 3) show tissue and not glass: their optical density in green is at least 0.15."""
    return np.asarray(optical_density(pixels[..., _GREEN]) >= _LEAST_DENSITY)


def derived_cellularity(
    labels: NDArray[np.uint8], tissue: NDArray[np.bool_], *, malignant: Collection[int]
) -> float | None:
    """Share of the tissue that malignant cells cover: their area over that of the tissue.

    It is what a class map says about the cellularity that a regression model predicts. A map of nuclei gives less
    than one of whole cells, which is what pathologists estimate.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W)
        Class map of a field; pixels that are ``IGNORE`` (255) count neither way.
    tissue : ndarray of bool, shape (H, W)
        Where there is tissue (`tissue_mask`); malignant pixels count as tissue in any case.
    malignant : collection of int
        Ids of the malignant classes (`malignant_ids`).

    Returns
    -------
    float or None
        From 0 to 1; None for a field without tissue.
    """
    known = labels != IGNORE
    cells = np.isin(labels, list(malignant)) & known
    area = int(((tissue & known) | cells).sum())
    return int(cells.sum()) / area if area else None


def malignant_ids(classes: Iterable[LabelClass]) -> tuple[int, ...]:
    """Ids of the classes that are malignant by their name or a former one; empty where none is."""
    return tuple(c.id for c in classes if not MALIGNANT.isdisjoint(name.lower() for name in (c.name, *c.former)))


def _field_around(tile: Box, side_px: int, shape: tuple[int, int]) -> Box:
    """The square of that side that begins with the tile, moved back into the grid, or all of a smaller grid."""
    y0, x0 = (max(0, min(start, size - side_px)) for start, size in zip((tile.y0, tile.x0), shape, strict=True))
    return Box(y0, x0, y0 + side_px, x0 + side_px).clip(shape)


def _filled(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    rows, columns = (side_px - side for side in pixels.shape[:2])
    return np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="reflect") if rows or columns else pixels


def _in_image(box: Box, grid: ModelGrid) -> Box:
    """A box of the grid in pixels of the image."""
    sy, sx = grid.scale
    return Box(round(box.y0 / sy), round(box.x0 / sx), round(box.y1 / sy), round(box.x1 / sx)).clip(grid.image.shape)
