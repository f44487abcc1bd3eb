"""Cutting and joining."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from napari_histoseg.core.box import Box
from napari_histoseg.inference.tiling import BlendedTiles, HaloTiles, align, cut, in_strips, nearest_first


def box_in(height: int, width: int) -> st.SearchStrategy[Box]:
    return st.tuples(*[st.integers(0, n - 1) for n in (height, width)]).flatmap(
        lambda start: st.tuples(st.integers(start[0] + 1, height), st.integers(start[1] + 1, width)).map(
            lambda stop: Box(*start, *stop)
        )
    )


@settings(deadline=None)
@given(box_in(300, 300), st.integers(1, 120), st.integers(1, 120))
def test_tiles_cover_each_pixel_once(box: Box, height: int, width: int) -> None:
    count = np.zeros((300, 300), int)
    for tile in cut([box], (height, width)):
        assert tile.height <= height and tile.width <= width and not tile.is_empty
        count[tile.slices] += 1
    assert count[box.slices].all() and count.sum() == box.area


def test_what_is_visible_comes_first_from_the_middle() -> None:
    visible = Box(300, 300, 500, 500)
    tiles = nearest_first(cut([Box(0, 0, 1000, 1000)], (100, 100)), visible)
    seen = [not tile.intersect(visible).is_empty for tile in tiles]
    assert seen == sorted(seen, reverse=True) and sum(seen) == 4
    distances = [np.hypot(tile.center[0] - 400, tile.center[1] - 400) for tile in tiles]
    assert distances[4:] == sorted(distances[4:])
    assert sorted(tiles) == cut([Box(0, 0, 1000, 1000)], (100, 100))


def test_strips_go_down_before_they_go_across() -> None:
    order = in_strips(cut([Box(0, 0, 20, 40)], (10, 10)), 20)
    assert [(tile.y0, tile.x0) for tile in order] == [
        (0, 0), (0, 10), (10, 0), (10, 10), (0, 20), (0, 30), (10, 20), (10, 30),
    ]  # fmt: skip


@given(box_in(200, 170), st.sampled_from([1, 8, 16]))
def test_aligning_grows_to_multiples_or_the_border(box: Box, multiple: int) -> None:
    grown = align(box, multiple, (200, 170))
    assert grown.contains(box) and Box(0, 0, 200, 170).contains(grown)
    assert grown.y0 % multiple == grown.x0 % multiple == 0
    assert grown.y1 in (200, -(-box.y1 // multiple) * multiple)


def test_a_halo_as_wide_as_the_view_gives_the_whole() -> None:
    """A blur over 17 pixels stands for a network; eight pixels of halo are enough for it, seven are not."""
    image = np.random.default_rng(0).random((90, 70)).astype(np.float32)

    def blur(values: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(values, 17, mode="constant"))[None]

    def tiled(halo_px: int) -> np.ndarray:
        tiles = HaloTiles(image.shape, halo_px, 1)
        out = np.zeros((1, *image.shape), np.float32)
        for box in cut([Box.of_shape(image.shape)], (30, 20)):
            out[:, *box.slices] = tiles.probabilities(box, lambda window: blur(image[window.slices]))
        return out

    assert np.abs(tiled(8) - blur(image)).max() < 1e-6
    assert np.abs(tiled(7) - blur(image)).max() > 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.data())
def test_blending_a_constant_gives_the_constant(height: int, width: int, data: st.DataObject) -> None:
    box = data.draw(box_in(height, width))
    tiles = BlendedTiles((height, width), 256, 64)
    found = tiles.probabilities(box, lambda window: np.full((2, *window.shape), 0.5, np.float32))
    assert found.shape == (2, *box.shape)
    np.testing.assert_allclose(found, 0.5, atol=1e-5)


def test_blending_does_not_depend_on_order_or_cut() -> None:
    rng = np.random.default_rng(0)
    answers: dict[Box, np.ndarray] = {}

    def compute(window: Box) -> np.ndarray:
        if window not in answers:
            answers[window] = rng.random((2, *window.shape), dtype=np.float32)
        return answers[window]

    shape = (600, 500)
    whole = BlendedTiles(shape, 256, 64).probabilities(Box.of_shape(shape), compute)
    for side, reverse in ((192, False), (192, True), (97, False)):
        tiles = BlendedTiles(shape, 256, 64)
        for box in sorted(cut([Box.of_shape(shape)], (side, side)), reverse=reverse):
            np.testing.assert_array_equal(tiles.probabilities(box, compute), whole[:, *box.slices])


def test_blending_has_no_step_where_windows_meet() -> None:
    """Windows that disagree by 1 turn into each other over the overlap, without a jump."""
    numbers = {0: 0.0, 192: 1.0, 344: 0.0}
    tiles = BlendedTiles((256, 600), 256, 64)
    found = tiles.probabilities(
        Box(0, 0, 256, 600), lambda window: np.full((1, *window.shape), numbers[window.x0], np.float32)
    )[0, 128]
    assert np.abs(np.diff(found)).max() < 0.06
    assert found[150] == 0 and found[300] == 1 and found[500] == 0


@pytest.mark.parametrize("side_px", [192, 191])
def test_memory_is_bounded_and_few_windows_are_computed_twice(side_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Box] = []

    def compute(window: Box) -> np.ndarray:
        computed.append(window)
        return np.zeros((2, *window.shape), np.float32)

    shape = (1500, 1500)
    monkeypatch.setattr("napari_histoseg.inference.tiling.KEPT_BYTES", 20 * 2 * 256 * 256 * 4)
    tiles = BlendedTiles(shape, 256, 64)
    for box in in_strips(cut([Box.of_shape(shape)], (side_px, side_px)), 8 * side_px):
        tiles.probabilities(box, compute)
        assert len(tiles._kept) <= 20
    assert len(set(computed)) == 64
    assert len(computed) <= 64 + 8  # the one seam between two strips
