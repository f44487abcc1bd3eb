"""The image on the grid of a model, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.inference.resample import ModelGrid, enlarge


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with fine noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (max(2, height // 20), max(2, width // 20), 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def grid_of(pixels: np.ndarray, mpp: float, model_mpp: float) -> ModelGrid:
    return ModelGrid(image_from_array(pixels, name="picture", mpp=mpp), model_mpp)


@pytest.mark.parametrize(("mpp", "model_mpp"), [(0.5, 1.5), (0.25, 0.3), (0.62, 0.25), (1.0, 7.0)])
def test_it_agrees_with_resampling_the_whole(mpp: float, model_mpp: float) -> None:
    pixels = picture(700, 500)
    grid = grid_of(pixels, mpp, model_mpp)
    whole = Image.fromarray(pixels).resize(grid.shape[::-1], Image.Resampling.BILINEAR)
    found = grid.read(Box.of_shape(grid.shape))
    difference = np.abs(found.astype(int) - np.asarray(whole).astype(int))
    assert difference.max() <= 2 and difference.mean() < 0.05


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_box_holds_the_same_bits_whoever_asks(data: st.DataObject) -> None:
    pixels = picture(data.draw(st.integers(16, 900)), data.draw(st.integers(16, 900)))
    scale = data.draw(st.floats(0.05, 3))
    grid = grid_of(pixels, scale, 1.0)
    whole = grid.read(Box.of_shape(grid.shape))
    height, width = grid.shape
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(y, x, data.draw(st.integers(y + 1, height)), data.draw(st.integers(x + 1, width)))
    np.testing.assert_array_equal(grid_of(pixels, scale, 1.0).read(box), whole[box.slices])


def test_nearly_the_same_resolution_is_fed_unchanged() -> None:
    pixels = picture(300, 280)
    grid = grid_of(pixels, 1.02, 1.0)
    assert grid.shape == (300, 280)
    np.testing.assert_array_equal(grid.read(Box(5, 6, 290, 270)), pixels[5:290, 6:270])


def test_an_unknown_resolution_is_asked_for() -> None:
    with pytest.raises(InputError, match="resolution of 'picture' is unknown"):
        ModelGrid(image_from_array(picture(32, 32), name="picture"), 1.0)


class Recorder:
    """A pixel source that remembers which levels were read."""

    def __init__(self, levels: list[np.ndarray]) -> None:
        self.levels = levels
        self.read_levels: set[int] = set()
        self.read_pixels = 0

    def read(self, level: int, box: Box) -> np.ndarray:
        self.read_levels.add(level)
        self.read_pixels += box.area
        return np.ascontiguousarray(self.levels[level][box.slices])


@pytest.mark.parametrize(
    ("model_mpp", "level"), [(0.25, 0), (0.4, 0), (0.5, 1), (0.9, 1), (1.0, 2), (1.5, 2), (8.0, 2), (0.1, 0)]
)
def test_it_reads_the_coarsest_level_that_is_not_coarser_than_the_model(model_mpp: float, level: int) -> None:
    levels = [picture(1024 // n, 768 // n) for n in (1, 2, 4)]
    source = Recorder(levels)
    ref = ImageRef("id", "slide", tuple(a.shape[:2] for a in levels), 0.25, source)
    grid = ModelGrid(ref, model_mpp)
    assert grid.read(Box(0, 0, 8, 8).clip(grid.shape)).dtype == np.uint8
    assert source.read_levels == {level}


def test_a_halo_is_not_resampled_twice() -> None:
    source = Recorder([picture(1200, 1200)])
    grid = ModelGrid(ImageRef("id", "slide", ((1200, 1200),), 0.5, source), 1.0)
    for box in Box(0, 0, 600, 600).tiles(200):
        grid.read(box.pad(60).clip(grid.shape))
    assert source.read_pixels < 1.2 * 1200 * 1200


def boxes() -> Iterator[Box]:
    yield Box(0, 0, 37, 53)
    yield Box(11, 17, 37, 53)
    yield Box(36, 52, 37, 53)


@pytest.mark.parametrize("box", boxes())
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.7])
def test_enlarging_a_part_is_the_part_of_enlarging_the_whole(box: Box, scale: float) -> None:
    grid = grid_of(picture(37, 53), scale, 1.0)
    values = np.random.default_rng(0).random((2, *grid.shape), dtype=np.float32)
    whole = enlarge(values, Box.of_shape(grid.shape), grid, Box(0, 0, 37, 53))
    assert whole.shape == (2, 37, 53) and whole.dtype == np.float32
    have = grid.to_model(box, margin_px=1)
    part = enlarge(values[:, *have.slices], have, grid, box)
    np.testing.assert_array_equal(part, whole[:, *box.slices])


def test_enlarging_keeps_a_ramp_where_it_was() -> None:
    """A ramp sampled at the grid's pixel centres comes back as the ramp at the image's pixel centres."""
    grid = grid_of(picture(90, 60), 0.5, 1.5)
    assert grid.shape == (30, 20)
    centres = np.broadcast_to((np.arange(20, dtype=np.float32) + 0.5) * 3, (1, 30, 20))
    found = enlarge(centres, Box(0, 0, 30, 20), grid, Box(0, 0, 90, 60))[0, 40]
    np.testing.assert_allclose(found[1:-1], np.arange(60)[1:-1] + 0.5, atol=1e-4)


def test_enlarging_agrees_with_torch() -> None:
    import torch

    grid = grid_of(picture(64, 48), 0.25, 1.0)
    values = np.random.default_rng(0).random((3, 16, 12), dtype=np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size=(64, 48), mode="bilinear")[0]
    found = enlarge(values, Box(0, 0, 16, 12), grid, Box(0, 0, 64, 48))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
