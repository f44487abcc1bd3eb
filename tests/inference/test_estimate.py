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
from napari_histoseg.inference.footprint import footprint
from napari_histoseg.inference.predict import Plan, Predictors, PredictRequest
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import RANDOM, resolve


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_costs", {})


def slide(height: int, width: int, mpp: float | None = 1.0) -> ImageRef:
    return ImageRef("id", "slide", ((height, width),), mpp, None)  # type: ignore[arg-type]


def test_it_is_unknown_until_measured_and_then_grows_with_the_image(tmp_path: Path) -> None:
    weights = small_weights("unet", tmp_path)
    spec = get_model("unet").spec
    assert estimate(spec, weights, slide(1000, 1000), "cpu") is None
    assert run_job(measure(weights, "cpu", Predictors())).seconds_per_px > 0
    small, large = (estimate(spec, weights, slide(n, n), "cpu") for n in (2000, 20000))
    assert small is not None and large is not None and 70 < large.seconds / small.seconds < 120
    assert estimate(spec, weights, slide(1000, 1000, None), "cpu") is None
    assert estimate(spec, weights, slide(1000, 1000), "cuda") is None
    half = estimate(spec, replace(weights, card=replace(weights.card, mpp=0.5)), slide(2000, 2000), "cpu")
    assert half is not None and half.seconds > 3 * small.seconds


def test_memory_is_bounded_by_the_tile_and_grows_with_the_image_only_by_its_labels(tmp_path: Path) -> None:
    weights = small_weights("unet", tmp_path)
    spec = get_model("unet").spec
    run_job(measure(weights, "cpu", Predictors()))
    sizes = (2000, 4000, 8000)
    small, middle, large = (estimate(spec, weights, slide(n, n), "cpu") for n in sizes)
    assert small is not None and middle is not None and large is not None
    assert middle.memory_bytes - small.memory_bytes == pytest.approx(4 * (4000**2 - 2000**2), rel=0.1)
    assert large.memory_bytes - middle.memory_bytes == pytest.approx(4 * (8000**2 - 4000**2), rel=0.1)


def test_a_network_too_heavy_to_load_is_judged_by_its_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = small_weights("unet", tmp_path)
    run_job(measure(weights, "cpu", Predictors()))
    image, spec = slide(2000, 2000), get_model("unet").spec
    timed = estimate(spec, weights, image, "cpu")
    monkeypatch.setattr(module, "_TOO_HEAVY_BYTES", 0)
    never_loaded = Predictors()
    monkeypatch.setattr(never_loaded, "get", None)
    run_job(measure(weights, "cpu", never_loaded))
    rough = estimate(spec, weights, image, "cpu")
    assert timed is not None and rough is not None
    assert rough.is_rough and not timed.is_rough
    assert rough.memory_bytes == timed.memory_bytes
    assert 0 < rough.seconds < timed.seconds  # a network four channels wide is mostly overhead


def test_the_footprint_is_that_of_the_layers(tmp_path: Path) -> None:
    weights = resolve("unet", RANDOM)
    cost, spec = footprint(weights), get_model("unet").spec
    assert cost.parameters == spec.golden_parameters
    assert cost.flops_per_px * spec.paper_input[0] * spec.paper_input[1] == pytest.approx(1e9 * spec.gflops, rel=0.01)
    # the last level joins 64 + 64 channels to 64, all of 4 bytes, and the skip of 64 and the block's input are kept
    assert 4 * (64 + 64 + 64) <= cost.bytes_per_px <= 4 * (64 + 64 + 64 + 64 + 64)


@pytest.mark.parametrize("model_id", ["unet", "unetsharp"])
def test_the_context_that_a_network_needs_is_part_of_the_cost(model_id: str, tmp_path: Path) -> None:
    spec, image = get_model(model_id).spec, slide(3000, 3000)
    found = []
    for margin in (0, 128):
        weights = small_weights(model_id, tmp_path, context_margin=margin)
        run_job(measure(weights, "cpu", Predictors()))
        found.append(estimate(spec, weights, image, "cpu"))
    plain, central = found
    assert plain is not None and central is not None and central.seconds > 0


@pytest.mark.parametrize("context_margin", [0, 128])
@pytest.mark.parametrize("model_id", ["unet", "spade_segresnet"])
@pytest.mark.parametrize(("shape", "mpp"), [((1500, 1300), 1.0), ((2000, 3000), 0.5), ((300, 200), 1.0)])
def test_the_pixels_to_be_fed_are_foreseen(
    model_id: str, shape: tuple[int, int], mpp: float, context_margin: int, tmp_path: Path
) -> None:
    weights = small_weights(model_id, tmp_path, context_margin=context_margin)
    plan = Plan(PredictRequest(slide(*shape, mpp), model_id, weights, tile_px=512))
    fed = 0

    def compute(window: Box) -> np.ndarray:
        nonlocal fed
        fed += window.pad(context_margin).area
        return np.zeros((5, *window.shape), np.float32)

    for tile in plan.tiles:
        for _ in plan.probabilities(tile, compute):
            pass
    assert plan.fed_px() == pytest.approx(fed, rel=0.25)
