"""Patches of cells come back as they went in, or not at all, and are small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import NO_CELL, ROW, CellPatch
from napari_histoseg.core.cell_runs import CellRuns

OF_VERSION_2 = "785e6360c0044c40214646462666064d10d5c8d8c8c0c2c0d0600714b66f640672195b805c7b003f370508"

numbers = st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 4_000_000_000]) | st.integers(0, 2**32 - 1)


@st.composite
def rows(draw: st.DrawFn, count: int) -> np.ndarray:
    made = np.full(count, NO_CELL)
    for name in ("class_id", "origin", "verified"):
        made[name] = draw(hnp.arrays(np.uint8, count))
    made["score"] = draw(hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
    if draw(st.booleans()):
        has_point = draw(hnp.arrays(bool, count))
        for name in ("point_y", "point_x"):
            made[name][has_point] = draw(hnp.arrays(np.float32, count, elements=st.floats(-0.5, 9999, width=32)))[
                has_point
            ]
    return made


@st.composite
def patches(draw: st.DrawFn) -> CellPatch:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=30))
    few = st.sampled_from(draw(st.lists(numbers, min_size=1, max_size=4)))
    before, after = (draw(hnp.arrays(np.uint32, shape, elements=few)) for _ in range(2))
    y, x = draw(st.integers(0, 9999)), draw(st.integers(0, 9999))
    pixels, runs = Box(y, x, y + shape[0], x + shape[1]), CellRuns.between(before, after)
    if not runs.changed:
        pixels, runs = Box(0, 0, 0, 0), CellRuns.none()
    ids = np.array(sorted(draw(st.sets(numbers, max_size=12))), np.uint32)
    box = pixels.union(Box(y, x, y + 40, x + 50))
    return CellPatch(box, pixels, runs, ids, draw(rows(len(ids))), draw(rows(len(ids))))


def assert_equal(one: CellPatch, other: CellPatch) -> None:
    assert (one.box, one.pixels) == (other.box, other.pixels)
    for name in ("mask", "before", "after", "ids", "before_rows", "after_rows"):
        assert getattr(one, name).dtype == getattr(other, name).dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("shape", "starts", "lengths", "before", "after"):
        np.testing.assert_array_equal(getattr(one.runs, name), getattr(other.runs, name))


@settings(max_examples=40, deadline=None)
@given(patches())
def test_encoding_keeps_everything(patch: CellPatch) -> None:
    assert_equal(CellPatch.decode(patch.encode(), patch.box), patch)
    assert_equal(patch.reversed().reversed(), patch)


@settings(max_examples=40, deadline=None)
@given(patches(), st.data())
def test_damage_is_noticed(patch: CellPatch, data: st.DataObject) -> None:
    encoded = bytearray(patch.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match="patch"):
        CellPatch.decode(bytes(encoded[:at]), patch.box)
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = CellPatch.decode(bytes(encoded), patch.box)
    except ValueError:
        return
    assert_equal(decoded, patch)  # a bit that carries nothing


def test_a_patch_of_another_box_is_refused() -> None:
    runs = CellRuns.between(np.zeros((3, 3), np.uint32), np.ones((3, 3), np.uint32))
    nothing = np.zeros(0, ROW)
    patch = CellPatch(Box(5, 5, 8, 8), Box(5, 5, 8, 8), runs, np.zeros(0, np.uint32), nothing, nothing)
    with pytest.raises(ValueError, match="does not fit"):
        CellPatch.decode(patch.encode(), Box(0, 0, 7, 7))


def test_the_class_of_one_cell_takes_few_bytes() -> None:
    before, after = np.full(1, NO_CELL), np.array([(3, 1, 1, 0.25, -1, -1)], ROW)
    ids = np.array([19_999], np.uint32)
    patch = CellPatch(Box(9, 9, 20, 20), Box(0, 0, 0, 0), CellRuns.none(), ids, before, after)
    assert len(patch.encode()) < 80


def test_a_patch_without_points_is_what_the_version_before_points_wrote() -> None:
    """Bytes that version 2 of the journal wrote for the class of cells 3 and 300."""
    before = np.array([(1, 1, 0, 0.25, -1, -1), (2, 1, 0, 0.5, -1, -1)], ROW)
    after = np.array([(3, 1, 1, 1, -1, -1), (3, 1, 1, 1, -1, -1)], ROW)
    ids = np.array([3, 300], np.uint32)
    box = Box(9, 9, 20, 20)
    patch = CellPatch(box, Box(0, 0, 0, 0), CellRuns.none(), ids, before, after)
    assert patch.encode().hex() == OF_VERSION_2
    assert_equal(CellPatch.decode(bytes.fromhex(OF_VERSION_2), box), patch)
