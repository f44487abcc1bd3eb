"""How long a prediction will take on this machine."""

from __future__ import annotations

import time

from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference.predict import Plan, Predictors, PredictRequest
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.weights import Weights

_SIDE_PX = 256
_REPEATS = 2
_PER_IMAGE_PX_S = 40e-9  # reading, resampling and writing labels; small beside any network

_seconds_per_px: dict[str, float] = {}


def measure(weights: Weights, device: str, predictors: Predictors) -> Job[float]:
    """Time the network on a small square; :func:`estimate` knows it from then on.

    Parameters
    ----------
    weights : Weights
    device : str
    predictors : Predictors
        Keeps the network loaded for the prediction that likely follows.

    Returns
    -------
    float
        Seconds per pixel that is fed, the best of two runs after a warm-up.
    """
    import numpy as np

    yield Progress(0, _REPEATS + 1, "Loading the model.")
    predictor = predictors.get(weights, device)
    batch = np.full((1, _SIDE_PX, _SIDE_PX, 3), 200, np.uint8)
    seconds = []
    for done in range(_REPEATS + 1):
        began = time.perf_counter()
        predictor.probabilities(batch)
        seconds.append(time.perf_counter() - began)
        yield Progress(done + 1, _REPEATS + 1, "Measuring the speed of this machine.")
    rate = min(seconds[1:]) / _SIDE_PX**2
    _seconds_per_px[_key(weights, device)] = rate
    return rate


def estimate(spec: ModelSpec, weights: Weights, image: ImageRef, device: str) -> float | None:
    """Seconds that predicting the whole image will take; quick enough for the main thread.

    Returns
    -------
    float or None
        None while the model's speed on this machine has not been measured, or the image's µm per pixel is unknown.
    """
    rate = _seconds_per_px.get(_key(weights, device))
    if rate is None or image.mpp is None:
        return None
    plan = Plan(PredictRequest(image, spec.id, weights, device=device))
    return plan.fed_px() * rate + image.shape[0] * image.shape[1] * _PER_IMAGE_PX_S


def _key(weights: Weights, device: str) -> str:
    """Networks of the same model and options are equally fast."""
    return f"{device} {weights.model_id} {len(weights.classes)} {sorted(weights.card.variant.items())}"
