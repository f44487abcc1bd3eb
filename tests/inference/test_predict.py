"""The predict job: what it yields, returns, bounds and refuses."""

from __future__ import annotations

import functools
import pickle
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import small_weights
from torch import Tensor

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.predict import Plan, Prediction, Predictors, PredictRequest, TileResult, predict
from napari_histoseg.inference.recover import recover_memory
from napari_histoseg.jobs.job import Progress, run_job
from napari_histoseg.jobs.lane import Lane, Priority
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.weights import Weights


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return small_weights("unet", tmp_path)


def noise(height: int, width: int, mpp: float | None = 1.0) -> ImageRef:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image_from_array(pixels, name="noise", mpp=mpp)


def request(image: ImageRef, weights: Weights, **options: Any) -> PredictRequest:
    return PredictRequest(image, weights.model_id, weights, device="cpu", **{"tile_px": 320, **options})


def steps_of(request: PredictRequest) -> tuple[list[Progress], Prediction]:
    steps: list[Progress] = []
    return steps, run_job(predict(request), steps.append)


def test_tiles_and_result_agree(weights: Weights) -> None:
    steps, prediction = steps_of(request(noise(300, 250), weights))
    assert [step.done for step in steps] == list(range(len(steps))) and steps[-1].done == steps[-1].total
    joined = np.full((300, 250), IGNORE, np.uint8)
    for step in steps[1:]:
        assert isinstance(step.payload, TileResult) and step.payload.labels.shape == step.payload.box.shape
        assert (joined[step.payload.box.slices] == IGNORE).all(), "a tile came twice"
        joined[step.payload.box.slices] = step.payload.labels
    assert prediction.labels is not None
    np.testing.assert_array_equal(prediction.labels, joined)
    assert set(np.unique(joined)) <= {c.id for c in weights.classes} and len(np.unique(joined)) > 1
    assert prediction.seconds > 0 and prediction.probabilities is None


def test_labels_are_the_most_probable_class(weights: Weights) -> None:
    _, prediction = steps_of(request(noise(200, 230), weights, keep_probabilities=True))
    assert prediction.probabilities is not None and prediction.labels is not None
    ids = np.array([c.id for c in weights.classes])
    np.testing.assert_array_equal(prediction.labels, ids[prediction.probabilities.argmax(axis=0)])
    np.testing.assert_allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("mpp", [1.0, 0.37, 1.6])
def test_neither_tile_nor_order_changes_the_result(weights: Weights, mpp: float) -> None:
    image = noise(390, 350, mpp)
    _, plain = steps_of(request(image, weights, tile_px=1024, keep_probabilities=True))
    _, tiled = steps_of(request(image, weights, visible=Box(200, 150, 300, 320), keep_probabilities=True))
    _, again = steps_of(request(image, weights, keep_probabilities=True))
    assert plain.probabilities is not None and tiled.probabilities is not None
    assert np.abs(plain.probabilities - tiled.probabilities).max() <= 1e-4
    np.testing.assert_array_equal(tiled.probabilities, again.probabilities)


def test_a_blended_model_gives_the_same_bits_in_any_order(tmp_path: Path) -> None:
    weights = small_weights("spade_segresnet", tmp_path)
    image = noise(500, 420)
    _, first = steps_of(request(image, weights, tile_px=256, overlap=0.25, keep_probabilities=True))
    _, second = steps_of(
        request(image, weights, tile_px=256, overlap=0.25, keep_probabilities=True, visible=Box(400, 300, 500, 420))
    )
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_a_blended_model_that_sees_the_image_at_once_is_exact(tmp_path: Path) -> None:
    weights = small_weights("spade_segresnet", tmp_path)
    image = noise(200, 240)
    _, prediction = steps_of(request(image, weights, keep_probabilities=True))
    with Predictor(weights, device="cpu") as predictor:
        whole = predictor.probabilities(image.read(0, Box(0, 0, 200, 240))[None])[0]
    np.testing.assert_allclose(prediction.probabilities, whole, atol=1e-5)


def test_only_the_boxes_are_predicted(weights: Weights) -> None:
    box = Box(37, 61, 180, 205)
    image = noise(300, 260, 0.6)
    steps, part = steps_of(request(image, weights, boxes=(box,), keep_probabilities=True))
    _, whole = steps_of(request(image, weights, keep_probabilities=True))
    assert all(box.contains(step.payload.box) for step in steps[1:])
    assert part.labels is not None and part.probabilities is not None and whole.probabilities is not None
    inside = np.zeros((300, 260), bool)
    inside[box.slices] = True
    assert (part.labels[~inside] == IGNORE).all() and (part.labels[inside] != IGNORE).all()
    assert np.abs(part.probabilities - whole.probabilities)[:, *box.slices].max() <= 1e-4


def test_what_is_visible_comes_first(weights: Weights) -> None:
    visible = Box(500, 420, 560, 500)
    steps, _ = steps_of(request(noise(620, 520), weights, visible=visible))
    first = [step.payload.box for step in steps[1:3]]
    assert all(not box.intersect(visible).is_empty for box in first)


@pytest.mark.parametrize(("shape", "mpp"), [((16, 16), 1.0), ((16, 300), 0.05), ((17, 16), 4.0), ((33, 21), 0.2)])
@pytest.mark.parametrize("model_id", ["unet", "spade_segresnet"])
def test_images_smaller_than_a_tile(model_id: str, shape: tuple[int, int], mpp: float, tmp_path: Path) -> None:
    weights = small_weights(model_id, tmp_path)
    _, prediction = steps_of(request(noise(*shape, mpp), weights))
    assert prediction.labels is not None and prediction.labels.shape == shape and (prediction.labels != IGNORE).all()


@pytest.mark.parametrize("kind", ["grey", "rgba", "uint16", "float"])
def test_kinds_of_image(weights: Weights, kind: str) -> None:
    rng = np.random.default_rng(0)
    data = {
        "grey": rng.integers(0, 256, (64, 64), dtype=np.uint8),
        "rgba": rng.integers(0, 256, (64, 64, 4), dtype=np.uint8),
        "uint16": rng.integers(0, 65536, (64, 64, 3), dtype=np.uint16),
        "float": np.where(rng.random((64, 64, 3)) < 0.1, np.nan, rng.random((64, 64, 3))),
    }[kind]
    _, prediction = steps_of(request(image_from_array(data, name=kind, mpp=1.0), weights))
    assert prediction.labels is not None and (prediction.labels != IGNORE).all()


def test_flips_and_rotations_are_averaged(weights: Weights) -> None:
    """With all eight, turning the image turns the result."""
    image = noise(64, 64)
    turned = image_from_array(np.rot90(image.read(0, Box(0, 0, 64, 64))).copy(), name="turned", mpp=1.0)
    results = []
    for ref in (image, turned):
        _, prediction = steps_of(request(ref, weights, tta=True, keep_probabilities=True))
        assert prediction.probabilities is not None
        results.append(prediction.probabilities)
    np.testing.assert_allclose(np.rot90(results[0], axes=(1, 2)), results[1], atol=1e-5)
    _, plain = steps_of(request(image, weights, keep_probabilities=True))
    assert np.abs(results[0] - plain.probabilities).max() > 1e-3


def test_a_huge_lazy_image_needs_little_memory(weights: Weights) -> None:
    """30,000 x 30,000 pixels that nobody holds: only what the box needs is read, and no map of the whole is made."""

    class Endless:
        read_pixels = 0

        def read(self, level: int, box: Box) -> np.ndarray:
            self.read_pixels += box.area
            return np.full((*box.shape, 3), 200, np.uint8)

    source = Endless()
    image = ImageRef("id", "slide", ((30_000, 30_000),), 0.25, source)
    box = Box(15_000, 15_000, 17_000, 17_000)
    tracemalloc.start()
    steps, prediction = steps_of(request(image, weights, boxes=(box,)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert prediction.labels is None and sum(step.payload.box.area for step in steps[1:]) == box.area
    assert source.read_pixels < 5 * box.area
    assert peak < 200e6


def test_tiles_are_bounded_in_image_pixels(weights: Weights) -> None:
    image = ImageRef("id", "slide", ((100_000, 100_000),), 0.05, None)  # type: ignore[arg-type]
    plan = Plan(request(image, replace(weights, card=replace(weights.card, mpp=2.0))))
    assert max(tile.height for tile in plan.tiles) <= 2048


def test_an_unknown_resolution_is_refused(weights: Weights) -> None:
    with pytest.raises(InputError, match="resolution of 'noise' is unknown"):
        steps_of(request(noise(64, 64, None), weights))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": (Box(0, 0, 65, 64),)}, "not inside 'noise', which is 64 x 64 px"),
        ({"boxes": (Box(5, 5, 5, 9),)}, "not inside"),
        ({"tile_px": 100}, "at least 256"),
        ({"overlap": 0.8}, "from 0 to 0.5"),
        ({"device": "tpu9"}, "no device 'tpu9'"),
    ],
)
def test_wrong_requests_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    weights = small_weights("spade_segresnet", tmp_path)
    with pytest.raises(InputError, match=message):
        run_job(predict(replace(request(noise(64, 64), weights), **options)))


def test_probabilities_that_do_not_fit_are_refused(weights: Weights) -> None:
    image = ImageRef("id", "slide", ((30_000, 30_000),), 1.0, None)  # type: ignore[arg-type]
    with pytest.raises(ResourceError, match="18 GB"):
        steps_of(request(image, weights, keep_probabilities=True))


def test_a_request_can_be_pickled(weights: Weights) -> None:
    again = pickle.loads(pickle.dumps(request(noise(40, 40), weights)))  # noqa: S301 - our own bytes
    assert again.weights == weights and again.image.shape == (40, 40)


def test_networks_stay_loaded(weights: Weights, tmp_path: Path) -> None:
    predictors = Predictors(most=1)
    first = predictors.get(weights, "cpu")
    assert predictors.get(weights, "cpu") is first
    (tmp_path / "other").mkdir()
    other = predictors.get(small_weights("unet", tmp_path / "other", mpp=2.0), "cpu")
    assert other is not first and not list(first.network.parameters())
    predictors.clear()
    assert not list(other.network.parameters())


def test_cancelling_stops_inside_a_tile_and_keeps_what_is_done(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second tile takes for ever, layer by layer; cancelling ends it within a layer."""
    calls = 0

    def slow(self: Predictor, batch: Tensor, logits: Any = Predictor.logits) -> Tensor:
        nonlocal calls
        calls += 1
        while calls > 1:
            time.sleep(0.01)
            logits(self, batch[..., :16, :16])
        return logits(self, batch)

    monkeypatch.setattr(Predictor, "logits", slow)
    threads = threading.active_count()
    lane, tiles, ended = Lane(), [], []
    ticket = lane.submit(
        functools.partial(predict, request(noise(300, 300), weights)),
        priority=Priority.USER,
        on_progress=lambda step: tiles.append(step.payload) if step.payload else None,
        on_done=ended.append,
        on_cancelled=lambda: ended.append("cancelled"),
    )
    while calls < 2:
        time.sleep(0.01)
    began = time.monotonic()
    ticket.cancel()
    assert lane.wait(10)
    assert time.monotonic() - began < 1
    assert ended == ["cancelled"] and len(tiles) == 1
    assert lane.close() and threading.active_count() == threads


def test_a_full_graphics_card_is_answered_with_smaller_tiles(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card with room for 300 x 300 pixels, played by the predictor."""

    def small_card(self: Predictor, batch: Tensor, logits: Any = Predictor.logits) -> Tensor:
        if batch.shape[-1] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return logits(self, batch)

    image = noise(400, 400)
    _, expected = steps_of(request(image, weights))
    monkeypatch.setattr(Predictor, "logits", small_card)
    lane, heard = Lane(recover_memory), []
    lane.submit(
        functools.partial(predict, request(image, weights, tile_px=512)),
        priority=Priority.USER,
        on_done=heard.append,
        on_error=heard.append,
    )
    assert lane.wait(60) and lane.close()
    assert isinstance(heard[0], Prediction) and expected.labels is not None and heard[0].labels is not None
    assert (heard[0].labels == expected.labels).mean() > 0.9999
