from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_histoseg.core.box import Box

corner = st.integers(-20, 40)
boxes = st.builds(lambda y, x, h, w: Box(y, x, y + h, x + w), corner, corner, st.integers(0, 30), st.integers(0, 30))


def painted(box: Box) -> np.ndarray:
    canvas = np.zeros((120, 120), bool)
    canvas[box.shift(30, 30).slices] = True
    return canvas


@given(boxes, boxes)
def test_intersection_is_the_common_pixels(a: Box, b: Box) -> None:
    both = painted(a) & painted(b)
    assert a.intersect(b).area == both.sum()
    assert (painted(a.intersect(b)) == both).all()


@given(boxes, boxes)
def test_union_is_the_box_of_both_masks(a: Box, b: Box) -> None:
    union = a.union(b)
    if union.is_empty:
        assert a.is_empty and b.is_empty
    else:
        assert Box.of_mask(painted(a) | painted(b)) == union.shift(30, 30)


@given(boxes, st.integers(1, 12))
def test_tiles_cover_once(box: Box, size: int) -> None:
    count = np.zeros((120, 120), int)
    for tile in box.tiles(size):
        assert max(tile.shape) <= size
        count[tile.shift(30, 30).slices] += 1
    assert (count == painted(box)).all()


@given(boxes, st.floats(0.1, 4))
def test_scaled_box_covers(box: Box, factor: float) -> None:
    scaled = box.scaled(factor)
    assert scaled.y0 <= box.y0 * factor and scaled.y1 >= box.y1 * factor
    assert scaled.x0 <= box.x0 * factor and scaled.x1 >= box.x1 * factor


def test_clip_and_relative() -> None:
    box = Box(-5, 3, 12, 30).clip((10, 20))
    assert box == Box(0, 3, 10, 20)
    assert box.relative_to(Box(0, 3, 10, 20)) == Box(0, 0, 10, 17)
    assert Box(0, 0, 10, 10).contains(Box(2, 2, 4, 4))
    assert not Box(0, 0, 10, 10).contains(Box(2, 2, 4, 11))
