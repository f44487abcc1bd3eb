"""How far a tiled result is from that of the whole image in one pass, for every registered model.

For purely convolutional models the difference is rounding. Where a normalisation sees the whole tile, tiles see other
statistics than the whole image: the script reports that difference, and the step left where tiles meet.

Usage: python -m benchmarks.tiled_vs_whole [IMAGE]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.data import immunohistochemistry

from benchmarks.models_under_test import starter
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.inference.predict import Plan, Predictors, PredictRequest, predict
from napari_histoseg.inference.tiling import BlendedTiles
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.registry import RegisteredModel, list_models
from napari_histoseg.models.weights import RANDOM, Weights, list_weights, resolve

LIMIT = 1e-4


def weights_for(model: RegisteredModel) -> Weights:
    """Bundled weights, else random ones of a quarter of the width, which changes no size of the receptive field."""
    bundled = list_weights(model.spec.id)
    if bundled:
        return bundled[0]
    if model.spec.id == "unet":
        return starter()
    weights = resolve(model.spec.id, RANDOM)
    return replace(weights, card=replace(weights.card, variant={**model.spec.variant, "width": 16}))


def predicted(image: ImageRef, weights: Weights, tile_px: int, predictors: Predictors) -> NDArray[np.float32]:
    request = PredictRequest(image, weights.model_id, weights, tile_px=tile_px, keep_probabilities=True)
    probabilities = run_job(predict(request, predictors)).probabilities
    assert probabilities is not None
    return probabilities


def seam_size(probabilities: NDArray[np.float32], plan: Plan) -> tuple[float, float]:
    """Mean step between neighbouring rows or columns where windows begin or end, and elsewhere."""
    down = np.abs(np.diff(probabilities, axis=1)).max(axis=0).mean(axis=1)
    across = np.abs(np.diff(probabilities, axis=2)).max(axis=0).mean(axis=0)
    pieces: Any = plan.pieces
    at: list[float] = []
    for steps, starts in zip((down, across), pieces._starts, strict=True):
        edges = {e - 1 for s in starts for e in (s + 8, s + pieces._side_px - 8) if 0 < e < len(steps)}
        at.extend(float(steps[e]) for e in edges)
    return float(np.mean(at)), float(np.mean(np.concatenate([down, across])))


def main() -> int:
    torch.manual_seed(0)
    pixels = immunohistochemistry()
    pixels = np.concatenate([pixels, pixels[:, ::-1]], axis=1)[:768, :960]
    ok = True
    for model in list_models():
        weights = weights_for(model)
        image = image_from_array(pixels, name="immunohistochemistry", mpp=weights.mpp)
        predictors = Predictors()
        whole = predicted(image, weights, 2048, predictors)
        tiled = predicted(image, weights, 384, predictors)
        difference = np.abs(whole - tiled)
        flips = float((whole.argmax(0) != tiled.argmax(0)).mean())
        print(
            f"{model.spec.id} ({weights.name}): probabilities vary by sd {whole.std(axis=(1, 2)).max():.4f}; tiled "
            f"against whole differs by {difference.max():.2e} at most, {difference.mean():.2e} on average, "
            f"{flips:.2%} of labels"
        )
        if model.spec.is_local:
            ok &= bool(difference.max() <= LIMIT)
        else:
            plan = Plan(PredictRequest(image, model.spec.id, weights, tile_px=384))
            assert isinstance(plan.pieces, BlendedTiles)
            seam, elsewhere = seam_size(tiled, plan)
            print(
                f"  its instance norm sees the whole tile; mean step where windows meet {seam:.4f}, "
                f"between any neighbours {elsewhere:.4f}"
            )
    print("purely convolutional models:", "ok" if ok else "ABOVE THE LIMIT", f"(limit {LIMIT:g})")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
