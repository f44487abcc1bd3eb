"""Every kind of image a person may drop on the window, and layers that come, go and change their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_histoseg.core.schema import IGNORE

pytestmark = pytest.mark.both_bindings


def grey(dtype: str, top: float) -> np.ndarray:
    return (np.arange(64 * 64).reshape(64, 64) / 4096 * top).astype(dtype)


GOOD = {
    "grey": grey("uint8", 255),
    "16-bit": grey("uint16", 60_000),
    "float": grey("float32", 1.0),
    "NaN in places": np.where(np.arange(4096).reshape(64, 64) % 7 == 0, np.nan, grey("float64", 1.0)),
    "RGBA": np.full((64, 64, 4), 200, np.uint8),
    "lazy": da.from_array(np.full((64, 64, 3), 200, np.uint8), chunks=32),
}

BAD = {
    "one pixel": (np.zeros((1, 1), np.uint8), "at least 16 x 16 px"),
    "only NaN": (np.full((64, 64), np.nan), "only NaN"),
    "negative": (grey("float32", 1.0) - 5, "negative"),
    "volume": (np.zeros((5, 64, 64), np.uint8), "flat grey, RGB or RGBA"),
    "huge": (da.zeros((40_000, 30_000), chunks=4096, dtype=np.uint8), "crop the region"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_images_that_can_be_segmented(bench: Any, tiny_weights: Path, qtbot: Any, kind: str) -> None:
    layer = bench.viewer.add_image(GOOD[kind], name=kind)
    assert bench.bridge.images.problem == ""
    bench.session.set_mpp(bench.bridge.images.current, 1.0)
    bench.session.choose_model("unet", str(tiny_weights))
    bench.bridge.segment()
    qtbot.waitUntil(lambda: not bench.session.is_running("predict"), timeout=60_000)
    labels = bench.bridge.tools.layer
    assert (labels.data != IGNORE).all()
    np.testing.assert_array_equal(labels.scale, layer.scale)


@pytest.mark.parametrize("kind", BAD)
def test_images_that_cannot_are_answered_with_a_sentence(bench: Any, kind: str) -> None:
    data, words = BAD[kind]
    bench.viewer.add_image(data, name=kind)
    assert words in bench.bridge.images.problem
    assert bench.bridge.images.current is None
    bench.bridge.segment()
    assert not bench.session.is_running("predict")


def test_without_any_image_segment_says_what_to_do(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_histoseg.viewer.bridge._SAY", {"warning": said.append})
    bench.bridge.segment()
    assert "Open an image first" in said[0]


def test_a_pyramid_is_painted_at_full_resolution(bench: Any, tiny_weights: Path, qtbot: Any) -> None:
    levels = [np.full((512 // k, 512 // k, 3), 200, np.uint8) for k in (1, 2, 4)]
    bench.viewer.add_image(levels, name="pyramid", multiscale=True)
    bench.session.set_mpp(bench.bridge.images.current, 1.0)
    bench.session.choose_model("unet", str(tiny_weights))
    qtbot.wait(200)
    bench.bridge.segment()
    qtbot.waitUntil(lambda: not bench.session.is_running("predict"), timeout=60_000)
    labels = bench.bridge.tools.layer
    assert labels.data.shape == (512, 512)
    assert (labels.data != IGNORE).all()
    assert not labels.multiscale
    assert labels.editable


def test_a_large_pyramid_is_answered_with_a_sentence(bench: Any) -> None:
    levels = [da.zeros((20_000 // k, 20_000 // k, 3), chunks=(1024, 1024, 3), dtype=np.uint8) for k in (1, 4, 16)]
    bench.viewer.add_image(levels, name="slide", multiscale=True)
    assert "crop the region" in bench.bridge.images.problem


def test_labels_lie_where_the_image_lies(bench: Any) -> None:
    image = bench.viewer.add_image(
        np.full((64, 96, 3), 200, np.uint8), name="moved", scale=(0.25, 0.25), translate=(7, 9), units=("um", "um")
    )
    bench.bridge.show_labels()
    labels = bench.bridge.tools.layer
    np.testing.assert_allclose(labels.data_to_world((10, 20)), image.data_to_world((10, 20)))
    assert labels.units == image.units
    assert labels.metadata["histoseg"]["mpp"] == 0.25


def test_a_run_survives_renaming_and_moving_layers(ready: Any, qtbot: Any) -> None:
    ready.bridge.segment()
    image, labels = ready.viewer.layers[0], ready.bridge.tools.layer
    image.name, labels.name = "another name", "mine"
    ready.viewer.layers.move(1, 0)
    qtbot.waitUntil(lambda: not ready.session.is_running("predict"), timeout=60_000)
    assert (labels.data != IGNORE).all()
    assert labels.name == "mine"
    assert [choice.name for choice in ready.bridge.images.choices()] == ["another name"]


def test_deleting_the_image_stops_its_run_and_loses_nothing(ready: Any, qtbot: Any) -> None:
    image_id = ready.bridge.images.current
    ready.bridge.segment()
    ready.viewer.layers.remove(ready.viewer.layers[0])
    assert not ready.session.is_running("predict")
    assert ready.bridge.images.current is None
    qtbot.wait(200)
    ready.bridge.images.choose(image_id)
    assert ready.bridge.images.current == image_id
    ready.bridge.segment()
    qtbot.waitUntil(lambda: not ready.session.is_running("predict"), timeout=60_000)
    assert (ready.session.displayed(image_id) != IGNORE).all()


def test_deleting_the_labels_during_a_run_loses_nothing_and_they_come_back(ready: Any, qtbot: Any) -> None:
    image_id = ready.bridge.images.current
    ready.bridge.segment()
    ready.viewer.layers.remove(ready.bridge.tools.layer)
    qtbot.waitUntil(lambda: not ready.session.is_running("predict"), timeout=60_000)
    ready.bridge.show_labels()
    np.testing.assert_array_equal(ready.bridge.tools.layer.data, ready.session.displayed(image_id))
    assert (ready.bridge.tools.layer.data != IGNORE).all()


def test_other_layers_are_left_alone(segmented: Any) -> None:
    theirs = segmented.viewer.add_labels(np.zeros((256, 256), int), name="theirs")
    theirs.paint((5, 5), 3)
    points = segmented.viewer.add_points(np.zeros((1, 2)), name="points")
    segmented.bridge.segment()
    segmented.viewer.layers.remove(points)
    assert theirs.data[5, 5] == 3
    theirs.undo()
    assert theirs.data[5, 5] == 0
    assert segmented.session.project.edits() == ()


def test_two_images_keep_their_own_labels(segmented: Any) -> None:
    first = segmented.bridge.images.current
    segmented.viewer.add_image(np.full((64, 64, 3), 99, np.uint8), name="second")
    segmented.bridge.images.choose(str(segmented.viewer.layers["second"].unique_id))
    second = segmented.bridge.images.current
    assert second != first
    segmented.bridge.show_labels()
    assert segmented.bridge.tools.layer.data.shape == (64, 64)
    segmented.viewer.layers.selection.active = segmented.viewer.layers["tissue"]
    assert segmented.bridge.images.current == first
    assert segmented.bridge.tools.layer.data.shape == (256, 256)
