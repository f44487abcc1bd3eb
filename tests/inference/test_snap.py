"""Strokes that snap to edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.inference.snap import REACH_UM, near, snapped

MPP = 0.25
SHAPE = (90, 100)


def disk(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.asarray(np.hypot(rows - y, columns - x) < radius)


def picture(*nuclei: NDArray[np.bool_], noise: float = 0.1) -> NDArray[np.float32]:
    """Amount of stain: 0.3 outside, 1.2 in nuclei, blurred, with noise."""
    stain = np.where(np.any(nuclei, axis=0), 1.2, 0.3)
    stain += np.random.default_rng(2).normal(0, noise, SHAPE)
    return np.asarray(ndimage.gaussian_filter(stain, 1), np.float32)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


TRUTH = disk(45, 50, 16)


@pytest.mark.parametrize(
    "stroke",
    [disk(45, 50, 10), disk(45, 50, 22), disk(48, 54, 16), disk(43, 46, 13)],
    ids=["small", "large", "shifted", "both"],
)
def test_a_sloppy_stroke_becomes_the_nucleus(stroke: NDArray[np.bool_]) -> None:
    found = snapped(picture(TRUTH), stroke, MPP)
    assert iou(found, TRUTH) > 0.9 > iou(stroke, TRUTH)


def test_the_next_nucleus_does_not_attract_it() -> None:
    beside = disk(45, 90, 16)
    found = snapped(picture(TRUTH, beside), disk(45, 56, 17), MPP)
    assert iou(found, TRUTH) > 0.85 and not (found & beside).any()


def test_a_probability_serves_as_well() -> None:
    probability = ndimage.gaussian_filter(TRUTH.astype(np.float64), 2)
    assert iou(snapped(probability, disk(47, 47, 12), MPP), TRUTH) > 0.9


def test_without_an_edge_the_stroke_stays() -> None:
    stroke = disk(40, 40, 9)
    np.testing.assert_array_equal(snapped(np.full(SHAPE, 0.7), stroke, MPP), stroke)
    nothing = np.zeros(SHAPE, bool)
    assert not snapped(picture(TRUTH), nothing, MPP).any()


def test_an_unknown_resolution_is_a_usual_one() -> None:
    stroke, stain = disk(48, 54, 16), picture(TRUTH)
    np.testing.assert_array_equal(snapped(stain, stroke, None), snapped(stain, stroke, 0.25))
    np.testing.assert_array_equal(near(stroke, None), near(stroke, 0.25))


@settings(max_examples=40, deadline=None)
@given(
    y=st.floats(-5, 95), x=st.floats(-5, 105), radius=st.floats(0.6, 40), seed=st.integers(0, 99), mpp=st.floats(0.1, 2)
)
def test_the_result_is_one_piece_near_the_stroke(y: float, x: float, radius: float, seed: int, mpp: float) -> None:
    stroke = disk(y, x, radius)
    stain = np.random.default_rng(seed).normal(size=SHAPE)
    found = snapped(stain, stroke, mpp)
    if not stroke.any():
        assert not found.any()
        return
    assert (found & stroke).any() and ndimage.label(found)[1] == 1
    assert not (found & ~near(stroke, mpp)).any()
    assert not (ndimage.distance_transform_edt(~stroke)[near(stroke, mpp)] * mpp > REACH_UM).any()
