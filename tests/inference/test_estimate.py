"""The estimate of how long a prediction takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import small_weights

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference import estimate as module
from napari_histoseg.inference.estimate import estimate, measure
from napari_histoseg.inference.predict import Plan, Predictors, PredictRequest
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.registry import get_model


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds_per_px", {})


def slide(height: int, width: int, mpp: float | None = 1.0) -> ImageRef:
    return ImageRef("id", "slide", ((height, width),), mpp, None)  # type: ignore[arg-type]


def test_it_is_unknown_until_measured_and_then_grows_with_the_image(tmp_path: Path) -> None:
    weights = small_weights("unet", tmp_path)
    spec = get_model("unet").spec
    assert estimate(spec, weights, slide(1000, 1000), "cpu") is None
    rate = run_job(measure(weights, "cpu", Predictors()))
    assert rate > 0
    small, large = (estimate(spec, weights, slide(n, n), "cpu") for n in (2000, 20000))
    assert small is not None and large is not None and 70 < large / small < 120
    assert estimate(spec, weights, slide(1000, 1000, None), "cpu") is None
    assert estimate(spec, weights, slide(1000, 1000), "cuda") is None
    half = estimate(spec, replace(weights, card=replace(weights.card, mpp=0.5)), slide(2000, 2000), "cpu")
    assert half is not None and half > 3 * small


@pytest.mark.parametrize("model_id", ["unet", "spade_segresnet"])
@pytest.mark.parametrize(("shape", "mpp"), [((1500, 1300), 1.0), ((2000, 3000), 0.5), ((300, 200), 1.0)])
def test_the_pixels_to_be_fed_are_foreseen(model_id: str, shape: tuple[int, int], mpp: float, tmp_path: Path) -> None:
    weights = small_weights(model_id, tmp_path)
    plan = Plan(PredictRequest(slide(*shape, mpp), model_id, weights, tile_px=512))
    fed = 0

    def compute(window: Box) -> np.ndarray:
        nonlocal fed
        fed += window.area
        return np.zeros((5, *window.shape), np.float32)

    for tile in plan.tiles:
        for _ in plan.probabilities(tile, compute):
            pass
    assert plan.fed_px() == pytest.approx(fed, rel=0.25)
