"""Predicting the classes of an image, tile by tile, as a job."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.resample import ModelGrid, enlarge
from napari_histoseg.inference.tiling import BlendedTiles, Compute, HaloTiles, cut, in_strips, nearest_first
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.jobs.lane import check_cancelled
from napari_histoseg.models.intake import Intake
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.weights import Weights

if TYPE_CHECKING:
    from napari_histoseg.models.predictor import Predictor

WHOLE_LABELS_PX = 1 << 29
"""Images with more pixels than this come as tiles only; a map of the whole would fill the memory."""

_PROBABILITIES_BYTES = 2 << 30
_MOST_IMAGE_PX = 2048  # side of a tile in image pixels, however much finer the image is than the model
_ROWS = 256  # enlarged at a time
_LEAST_TILE_PX = 256
_LEAST_CENTRE_PX = 128  # of a tile whose rest is context
_LEAST_OVERLAP_PX = 32
_STRIP_TILES = 8


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """What to predict; frozen, and picklable where the image's source is.

    Parameters
    ----------
    image : ImageRef
        With known µm per pixel.
    model_id : str
    weights : Weights
    boxes : tuple of Box
        In image pixels, disjoint, the most urgent first; empty means the whole image.
    visible : Box, optional
        What is on screen; its tiles come first.
    device : str
    tile_px : int, optional
        Side of what is fed at once, in pixels of the model; by default the model's own. Networks that take one size
        only refuse any other.
    overlap : float, optional
        Share of a tile, up to 0.5, that is blended with the next, for models that are not local; by default the
        model's own.
    tta : bool
        Average over the eight flips and rotations.
    keep_probabilities : bool
        Return the probabilities of the whole image as well.
    generation : int
        Of no meaning here; lets the receiver drop what is no longer wanted.
    """

    image: ImageRef
    model_id: str
    weights: Weights
    boxes: tuple[Box, ...] = ()
    visible: Box | None = None
    device: str = "auto"
    tile_px: int | None = None
    overlap: float | None = None
    tta: bool = False
    keep_probabilities: bool = False
    generation: int = 0

    def smaller(self) -> PredictRequest | None:
        """The same with tiles of half the side, for a quarter of the memory; None when they cannot be smaller."""
        spec = get_model(self.model_id).spec
        side = self.tile_px or spec.tile_px
        can_shrink = spec.input_px is None and side // 2 >= _LEAST_TILE_PX
        return replace(self, tile_px=side // 2) if can_shrink else None


@dataclass(frozen=True, eq=False)
class TileResult:
    """A finished tile, in image pixels.

    Parameters
    ----------
    box : Box
    labels : ndarray of uint8, shape ``box.shape``
        Class ids of the weights' classes.
    """

    box: Box
    labels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Prediction:
    """All that was predicted.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W), or None
        Class ids, ``IGNORE`` outside the boxes; None for images beyond ``WHOLE_LABELS_PX``.
    probabilities : ndarray of float32, shape (C, H, W), or None
        When asked for; 0 outside the boxes.
    boxes : tuple of Box
        What was asked for.
    seconds : float
        Including the loading of the network.
    """

    labels: NDArray[np.uint8] | None
    probabilities: NDArray[np.float32] | None
    boxes: tuple[Box, ...]
    seconds: float


class Predictors:
    """Keeps the latest networks loaded, so that the next prediction starts at once."""

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._loaded: OrderedDict[str, Predictor] = OrderedDict()

    def get(self, weights: Weights, device: str) -> Predictor:
        """The predictor of these weights, loaded when it is not yet; the errors are those of ``Predictor``."""
        from napari_histoseg.models.predictor import Predictor

        key = f"{device} {weights.path} {json.dumps(weights.card.to_json(), default=str)}"
        if key not in self._loaded:
            self._loaded[key] = Predictor(weights, device=device, before_layer=check_cancelled)
            if len(self._loaded) > self._most:
                self._loaded.popitem(last=False)[1].close()
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def clear(self) -> None:
        """Free all networks."""
        while self._loaded:
            self._loaded.popitem()[1].close()


def predict(request: PredictRequest, predictors: Predictors | None = None) -> Job[Prediction]:
    """Classify the pixels of an image; each step's payload is a ``TileResult``.

    The image is resampled to the model's µm per pixel, and its probabilities back to the pixels of the image. Only
    the tile in work and a bounded number of neighbours are held in memory, besides the labels.

    Parameters
    ----------
    request : PredictRequest
    predictors : Predictors, optional
        Networks that stay loaded between runs.

    Raises
    ------
    InputError, ModelError, WeightsError, ResourceError
        At the first step, when the request cannot be served.
    """
    began = time.perf_counter()
    plan = Plan(request)
    labels = np.full(plan.shape, IGNORE, np.uint8) if np.prod(plan.shape) <= WHOLE_LABELS_PX else None
    probabilities = _room_for_probabilities(request, plan.shape) if request.keep_probabilities else None
    total = len(plan.tiles)
    yield Progress(0, total, f"Loading {plan.title}.")
    predictor = (predictors or Predictors()).get(request.weights, request.device)
    compute = _compute(plan.grid, predictor, tta=request.tta)
    ids = np.array([c.id for c in predictor.classes], np.uint8)
    for done, box in enumerate(plan.tiles, start=1):
        tile = np.empty(box.shape, np.uint8)
        for rows, values in plan.probabilities(box, compute):
            tile[rows.relative_to(box).slices] = ids[values.argmax(axis=0)]
            if probabilities is not None:
                probabilities[:, *rows.slices] = values
        if labels is not None:
            labels[box.slices] = tile
        yield Progress(done, total, f"Segmenting '{request.image.name}'.", TileResult(box, tile))
    return Prediction(labels, probabilities, plan.boxes, time.perf_counter() - began)


def probabilities_in(box: Box, request: PredictRequest, predictors: Predictors) -> NDArray[np.float32]:
    """Class probabilities (C, h, w) of a small box of an image, at once; errors as in `predict`."""
    plan = Plan(replace(request, boxes=(box,)))
    predictor = predictors.get(request.weights, request.device)
    compute = _compute(plan.grid, predictor, tta=request.tta)
    probabilities = np.empty((len(predictor.classes), *box.shape), np.float32)
    for tile in plan.tiles:
        for rows, values in plan.probabilities(tile, compute):
            probabilities[:, *rows.relative_to(box).slices] = values
    return probabilities


class Plan:
    """The tiles of a request and how each is computed."""

    def __init__(self, request: PredictRequest) -> None:
        spec = get_model(request.model_id).spec
        self.title = spec.title
        self.shape = request.image.shape
        self.grid = ModelGrid(request.image, request.weights.mpp)
        self.boxes = checked_boxes(request.image, request.boxes)
        multiple = spec.required_multiple
        self.context_px = Intake.of(request.weights).context_px
        side = _side_px(request.tile_px, spec, self.context_px)
        self.pieces: HaloTiles | BlendedTiles
        if spec.is_local:
            self.pieces = HaloTiles(self.grid.shape, spec.halo_px, multiple, context_px=self.context_px)
            core_px = max(side - 2 * spec.halo_px - 2 * multiple, multiple * 4)
        else:
            overlap_px = _overlap_px(request.overlap, spec.halo_px, side)
            self.pieces = BlendedTiles(self.grid.shape, side, overlap_px, context_px=self.context_px)
            core_px = self.pieces.stride_px
        height, width = (min(_MOST_IMAGE_PX, max(1, int(core_px / scale))) for scale in self.grid.scale)
        self.tiles = self._order(cut(self.boxes, (height, width)), request.visible, _STRIP_TILES * width)

    def _order(self, tiles: list[Box], visible: Box | None, strip_px: int) -> list[Box]:
        if visible is None:
            return tiles if isinstance(self.pieces, HaloTiles) else in_strips(tiles, strip_px)
        near = nearest_first(tiles, visible)
        if isinstance(self.pieces, HaloTiles):
            return near
        in_view = [tile for tile in near if not tile.intersect(visible).is_empty]
        return in_view + in_strips(near[len(in_view) :], strip_px)

    def fed_px(self) -> int:
        """About how many pixels the network will be fed in all."""
        sample = self.tiles[:: len(self.tiles) // 100 + 1]
        fed = sum(self.pieces.fed_px(self.grid.to_model(tile, margin_px=1)) for tile in sample)
        return fed * len(self.tiles) // len(sample)

    def probabilities(self, box: Box, compute: Compute) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """Probabilities (C, h, w) of a tile in image pixels, in slices of rows that bound the memory."""
        have = self.grid.to_model(box, margin_px=1)
        values = self.pieces.probabilities(have, compute)
        for y in range(box.y0, box.y1, _ROWS):
            rows = Box(y, box.x0, min(y + _ROWS, box.y1), box.x1)
            yield rows, enlarge(values, have, self.grid, rows)


def _side_px(asked: int | None, spec: ModelSpec, context_px: int) -> int:
    """Side of what the network speaks of at once."""
    if spec.input_px is not None:
        if asked not in (None, spec.input_px):
            raise InputError(
                f"{spec.title} takes tiles of {spec.input_px} px only, not {asked}; leave out the tile size."
            )
        return spec.input_px
    if asked is not None and asked < _LEAST_TILE_PX:
        raise InputError(f"A tile of {asked} px is too small; use at least {_LEAST_TILE_PX}.")
    side = asked or spec.tile_px
    side = max(side - 2 * context_px, _LEAST_CENTRE_PX) if context_px else side
    return side // spec.required_multiple * spec.required_multiple


def checked_boxes(image: ImageRef, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """The regions that were asked for, none meaning the whole image; ``InputError`` for one outside of it."""
    whole = Box.of_shape(image.shape)
    boxes = boxes or (whole,)
    for box in boxes:
        if box.is_empty or not whole.contains(box):
            raise InputError(
                f"The region {box.y0},{box.x0},{box.y1},{box.x1} (y0, x0, y1, x1) is not inside "
                f"'{image.name}', which is {whole.height} x {whole.width} px."
            )
    return boxes


def _overlap_px(share: float | None, default_px: int, side_px: int) -> int:
    if share is not None and not 0 <= share <= 0.5:
        raise InputError(f"An overlap of {share:g} is not possible; give a share of the tile from 0 to 0.5.")
    wanted = default_px if share is None else round(share * side_px)
    return min(max(wanted, _LEAST_OVERLAP_PX), side_px // 2)


def _room_for_probabilities(request: PredictRequest, shape: tuple[int, int]) -> NDArray[np.float32]:
    count = len(request.weights.classes)
    size = 4 * count * shape[0] * shape[1]
    if size > _PROBABILITIES_BYTES:
        raise ResourceError(
            f"The probabilities of '{request.image.name}' would take {size / 1e9:.0f} GB; ask for the labels only, "
            "or cut the image."
        )
    return np.zeros((count, *shape), np.float32)


def _compute(grid: ModelGrid, predictor: Predictor, *, tta: bool) -> Compute:
    def once(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = predictor.central_probabilities(pixels[None])[0]
        return probabilities

    def compute(window: Box) -> NDArray[np.float32]:
        pixels = _read(grid, window.pad(predictor.intake.context_px))
        return _averaged(once, pixels) if tta else once(pixels)

    return compute


def _read(grid: ModelGrid, box: Box) -> NDArray[np.uint8]:
    """RGB pixels of ``box``, reflected where it reaches beyond the grid."""
    inside = box.clip(grid.shape)
    pixels = grid.read(inside)
    rows = (inside.y0 - box.y0, box.y1 - inside.y1)
    columns = (inside.x0 - box.x0, box.x1 - inside.x1)
    return np.pad(pixels, (rows, columns, (0, 0)), mode="reflect") if inside != box else pixels


def _averaged(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Mean over the eight flips and rotations, each turned back."""

    def turned(quarter: int, flip: int) -> NDArray[np.float32]:
        values = run(np.ascontiguousarray(np.rot90(pixels, quarter)[:, ::flip]))
        return np.asarray(np.rot90(values[:, :, ::flip], -quarter, axes=(1, 2)), np.float32)

    total = turned(0, 1)
    for quarter, flip in ((0, -1), (1, 1), (1, -1), (2, 1), (2, -1), (3, 1), (3, -1)):
        total = total + turned(quarter, flip)
    return np.asarray(total / 8, np.float32)
