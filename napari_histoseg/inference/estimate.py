"""How long a prediction will take on this machine, and how much memory."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference.predict import Plan, Predictors, PredictRequest
from napari_histoseg.inference.resample import ModelGrid
from napari_histoseg.inference.tiling import KEPT_BYTES, BlendedTiles
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.weights import Weights

if TYPE_CHECKING:
    from napari_histoseg.inference.footprint import Footprint

_SIDE_PX = 256
_REPEATS = 2
_PER_IMAGE_PX_S = 40e-9  # reading, resampling and writing labels; small beside any network
_TOO_HEAVY_BYTES = 1 << 30
_WORKSPACE = 1.25  # what convolutions need beside their inputs and results, as benchmarks/memory.py finds
_LIBRARIES_BYTES = 40 << 20  # what libraries set up for the first run
_FLOAT_BYTES = 4
_LABEL_BYTES = 4  # the job's labels and the project's planes, per pixel of the image
_INSTANCE_BYTES = 8  # numbers of objects and what separating them needs, per pixel of the image


@dataclass(frozen=True)
class Estimate:
    """What predicting an image will cost.

    Parameters
    ----------
    seconds : float
    memory_bytes : int
        At the peak, beside what the program takes anyway; on the graphics card when that computes.
    is_rough : bool
        The network is so large that it was not loaded to be timed: its arithmetic was counted.
    """

    seconds: float
    memory_bytes: int
    is_rough: bool


@dataclass(frozen=True)
class Cost:
    """What a network costs on this machine."""

    seconds_per_px: float
    footprint: Footprint
    is_rough: bool


_costs: dict[str, Cost] = {}


def measure(weights: Weights, device: str, predictors: Predictors) -> Job[Cost]:
    """Find the cost of a network; :func:`estimate` knows it from then on.

    The memory follows from the shapes of its results. The time is taken on a small square, unless the weights alone
    would fill a gigabyte: then it follows from the arithmetic and the speed of plain convolutions here.

    Parameters
    ----------
    weights : Weights
    device : str
    predictors : Predictors
        Keeps the network loaded for the prediction that likely follows.
    """
    from napari_histoseg.inference.footprint import footprint

    yield Progress(0, _REPEATS + 2, "Counting what the model needs.")
    cost = footprint(weights)
    is_rough = cost.weights_bytes > _TOO_HEAVY_BYTES
    if is_rough:
        rate = cost.flops_per_px / (yield from _flops_per_s(device))
    else:
        rate = yield from _seconds_per_px(weights, device, predictors)
    _costs[_key(weights, device)] = Cost(rate, cost, is_rough)
    return _costs[_key(weights, device)]


def _seconds_per_px(weights: Weights, device: str, predictors: Predictors) -> Job[float]:
    """The best of two runs after a warm-up."""
    import torch

    from napari_histoseg.models.intake import Intake

    side_px = Intake.of(weights).side_px(_SIDE_PX)
    predictor = predictors.get(weights, device)
    batch = torch.full((1, 3, side_px, side_px), 0.8)
    seconds = []
    for done in range(_REPEATS + 1):
        began = time.perf_counter()
        predictor.logits(batch).cpu()
        seconds.append(time.perf_counter() - began)
        yield Progress(done + 1, _REPEATS + 2, "Measuring the speed of this machine.")
    return min(seconds[1:]) / side_px**2


def _flops_per_s(device: str) -> Job[float]:
    """Speed of a plain 3x3 convolution of 64 channels."""
    import torch

    from napari_histoseg.models.predictor import find_device

    where = find_device(device)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False, device=where).requires_grad_(False)
    image = torch.ones(1, 64, _SIDE_PX, _SIDE_PX, device=where)
    flops = 2 * layer.weight.numel() * _SIDE_PX**2
    seconds = []
    for done in range(_REPEATS + 1):
        began = time.perf_counter()
        layer(image).cpu()
        seconds.append(time.perf_counter() - began)
        yield Progress(done + 1, _REPEATS + 2, "Measuring the speed of this machine.")
    return flops / min(seconds[1:])


def estimate(spec: ModelSpec, weights: Weights, image: ImageRef, device: str) -> Estimate | None:
    """What predicting the whole image will cost; quick enough for the main thread.

    Returns
    -------
    Estimate or None
        None while the model's cost on this machine is not known, or the image's µm per pixel is unknown.
    """
    cost = _costs.get(_key(weights, device))
    if cost is None or image.mpp is None:
        return None
    fed_px, window_px, kept_bytes = _fields(spec, weights, image)
    if spec.task != "regression":
        fed_px, window_px, kept_bytes = _tiles(spec, weights, image, device)
    image_px = math.prod(image.shape)
    per_image_px = _LABEL_BYTES
    if spec.task == "instance":
        per_image_px += _FLOAT_BYTES * len(weights.classes) + _INSTANCE_BYTES
    working = int(_WORKSPACE * cost.footprint.bytes_per_px * window_px) + kept_bytes
    loading = cost.footprint.weights_bytes if weights.path is not None else 0
    memory_bytes = _LIBRARIES_BYTES + cost.footprint.weights_bytes + max(working, loading) + per_image_px * image_px
    seconds = fed_px * cost.seconds_per_px + image_px * _PER_IMAGE_PX_S
    return Estimate(seconds, memory_bytes, cost.is_rough)


def _tiles(spec: ModelSpec, weights: Weights, image: ImageRef, device: str) -> tuple[int, int, int]:
    """(pixels fed in all, pixels of the largest window, bytes of windows that are kept) of a map of classes."""
    plan = Plan(PredictRequest(image, spec.id, weights, device=device))
    places = (plan.grid.to_model(tile, margin_px=1) for tile in plan.tiles[:: len(plan.tiles) // 100 + 1])
    if not isinstance(plan.pieces, BlendedTiles):
        return plan.fed_px(), max(plan.pieces.fed_px(place) for place in places), 0
    windows = {window for place in places for window in plan.pieces.windows(place)}
    window_px = max(window.pad(plan.context_px).area for window in windows)
    kept_bytes = _FLOAT_BYTES * len(weights.classes) * max(window.area for window in windows) * len(windows)
    return plan.fed_px(), window_px, min(kept_bytes, KEPT_BYTES)


def _fields(spec: ModelSpec, weights: Weights, image: ImageRef) -> tuple[int, int, int]:
    """The same where whole fields are scored, all of which are taken to hold tissue."""
    side_px = spec.input_px or spec.tile_px
    height, width = ModelGrid(image, weights.mpp).shape
    return -(-height // side_px) * -(-width // side_px) * side_px**2, side_px**2, 0


def _key(weights: Weights, device: str) -> str:
    """Networks of the same model and options cost the same."""
    return f"{device} {weights.model_id} {len(weights.classes)} {sorted(weights.card.variant.items())}"
