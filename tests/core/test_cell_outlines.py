"""Outlines of many cells: laws that hold for any arrangement, and pictures small enough to count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core import cell_outlines, cell_shapes
from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError

SHAPE = (40, 44)


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[np.uint32]:
    """Up to eight disks, some with holes, later ones in front of earlier ones."""
    instances = np.zeros(SHAPE, np.uint32)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number in range(1, draw(st.integers(1, 8)) + 1):
        distance = np.hypot(y - draw(st.integers(-2, 42)), x - draw(st.integers(-2, 46)))
        inner = draw(st.sampled_from([0, 0, 1.5, 3]))
        instances[(distance < draw(st.integers(2, 9))) & (distance >= inner)] = number
    return instances


def boxes_of(instances: NDArray[np.uint32], ids: NDArray[np.int64]) -> dict[int, Box]:
    return {int(k): Box.of_mask(instances == k) for k in ids}


CHANGES = {
    "grow": lambda a, ids: cell_outlines.grow(a, ids, 2.5),
    "shrink": lambda a, ids: cell_outlines.shrink(a, ids, 2),
    "smooth": lambda a, ids: cell_outlines.smooth(a, boxes_of(a, ids), 1.5),
    "fill_holes": lambda a, ids: cell_outlines.fill_holes(a, boxes_of(a, ids)),
}


@pytest.mark.parametrize("name", CHANGES)
@settings(max_examples=60, deadline=None)
@given(picture=pictures(), data=st.data())
def test_no_pixel_of_another_cell_changes_and_none_is_lost(
    name: str, picture: NDArray[np.uint32], data: st.DataObject
) -> None:
    present = np.unique(picture)[1:].astype(np.int64)
    if not present.size:
        return
    ids = np.array(sorted(data.draw(st.sets(st.sampled_from(present.tolist()), min_size=1))), np.int64)
    after = CHANGES[name](picture, ids)
    assert after.dtype == np.uint32
    others = (picture > 0) & ~np.isin(picture, ids)
    np.testing.assert_array_equal(after[others], picture[others])
    assert set(np.unique(after)) - {0} == set(present)
    changed = after != picture
    assert (np.isin(after[changed], ids) | np.isin(picture[changed], ids)).all()
    if name in ("grow", "fill_holes"):
        np.testing.assert_array_equal(after[picture > 0], picture[picture > 0])
    if name == "shrink":
        assert not after[picture == 0].any()


@settings(max_examples=60, deadline=None)
@given(picture=pictures(), line=st.lists(st.tuples(st.integers(-5, 45), st.integers(-5, 48)), min_size=2, max_size=4))
def test_a_cut_parts_cells_without_moving_their_outlines(
    picture: NDArray[np.uint32], line: list[tuple[int, int]]
) -> None:
    ids = np.unique(picture)[1:].astype(np.int64)
    try:
        after, parents = cell_outlines.split_each(
            picture, boxes_of(picture, ids), np.array(line, float), 20, cell_shapes.split_by_line
        )
    except InputError as error:
        assert "does not cut" in str(error)
        return
    assert parents or not ids.size
    assert sorted(parents) == list(range(20, 20 + len(parents)))
    back = np.arange(20 + len(parents), dtype=np.uint32)
    back[list(parents)] = list(parents.values())
    np.testing.assert_array_equal(back[after], picture)
    for new, old in parents.items():
        assert 0 < (after == new).sum() <= (after == old).sum()


def disk(radius: float, size: int = 41) -> NDArray[np.uint32]:
    y, x = np.mgrid[:size, :size] - size // 2
    return (np.hypot(y, x) <= radius).astype(np.uint32)


def test_growing_and_shrinking_move_the_outline_by_the_distance() -> None:
    for distance in (1, 3, 5):
        grown = cell_outlines.grow(disk(8), np.array([1]), distance)
        assert abs(np.sqrt(grown.sum() / np.pi) - 8 - distance) < 0.5
        shrunk = cell_outlines.shrink(disk(12), np.array([1]), distance)
        assert abs(np.sqrt(shrunk.sum() / np.pi) - 12 + distance) < 0.5


def test_neighbours_meet_half_way() -> None:
    instances = np.zeros((9, 30), np.uint32)
    instances[2:7, 2:8], instances[2:7, 18:24] = 1, 2
    after = cell_outlines.grow(instances, np.array([1]), 9)
    assert after[4, :18].tolist() == [1] * 13 + [0] * 5


def test_a_cell_that_falls_apart_keeps_its_largest_piece() -> None:
    instances = np.zeros((20, 40), np.uint32)
    instances[2:18, 2:18], instances[4:16, 26:38], instances[9:11, 18:26] = 1, 1, 1
    after = cell_outlines.shrink(instances, np.array([1]), 2)
    assert ndimage.label(after)[1] == 1
    assert after[:, 20:].sum() == 0 and 12 * 12 <= after[:, :20].sum() <= 12 * 12 + 4


def test_tiles_leave_no_seam() -> None:
    rng = np.random.default_rng(0)
    instances = np.zeros((700, 1100), np.uint32)
    for number, (y, x) in enumerate(rng.integers(10, (690, 1090), (300, 2)), start=1):
        part = instances[y - 8 : y + 8, x - 8 : x + 8]
        part[part == 0] = number
    ids = np.unique(instances)[1:].astype(np.int64)
    for name in ("grow", "shrink"):
        tiled = CHANGES[name](instances, ids)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cell_outlines, "_TILE_PX", 4096)
            np.testing.assert_array_equal(tiled, CHANGES[name](instances, ids))


def test_smoothing_takes_away_a_spur_and_a_notch() -> None:
    cell = disk(12)
    cell[20, 32:38], cell[20, 8:11] = 1, 0
    after = cell_outlines.smooth(cell, {1: Box.of_mask(cell == 1)}, 2)
    assert not after[20, 34:].any() and after[20, 9:11].all()
    assert abs(int(after.sum()) - int(disk(12).sum())) < 30


def test_an_outline_takes_the_largest_free_piece() -> None:
    instances = np.zeros((10, 20), np.uint32)
    instances[:, 6:8] = 5
    mask = np.ones((10, 20), bool)
    after = cell_outlines.outline(instances, 9, mask)
    assert (after[:, 8:] == 9).all() and not after[:, :6].any() and (after[:, 6:8] == 5).all()
