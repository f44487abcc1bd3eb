"""Patches come back as they went in, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import Patch
from napari_histoseg.core.planes import Planes
from napari_histoseg.core.schema import IGNORE


@st.composite
def patches(draw: st.DrawFn) -> Patch:
    mask = draw(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
    count = int(mask.sum())
    values = [draw(hnp.arrays(np.uint8, count) | st.just(np.full(count, 7, np.uint8))) for _ in range(4)]
    y, x = draw(st.integers(0, 9999)), draw(st.integers(0, 9999))
    return Patch(Box(y, x, y + mask.shape[0], x + mask.shape[1]), mask, *values)


def assert_equal(one: Patch, other: Patch) -> None:
    assert one.box == other.box
    for name in ("mask", "before_labels", "before_state", "after_labels", "after_state"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@given(patches())
def test_encoding_keeps_everything(patch: Patch) -> None:
    assert_equal(Patch.decode(patch.encode(), patch.box), patch)


@given(patches())
def test_reversed_twice_is_the_same(patch: Patch) -> None:
    assert_equal(patch.reversed().reversed(), patch)
    np.testing.assert_array_equal(patch.reversed().after_labels, patch.before_labels)


@given(patches(), st.data())
def test_damage_is_noticed(patch: Patch, data: st.DataObject) -> None:
    encoded = bytearray(patch.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match="patch"):
        Patch.decode(bytes(encoded[:at]), patch.box)
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = Patch.decode(bytes(encoded), patch.box)
    except ValueError:
        return
    assert_equal(decoded, patch)  # a bit that carries nothing


def test_a_round_stroke_is_small() -> None:
    """A brush of 100 px drawn 240 px far over labels of two classes."""
    planes = Planes.empty((600, 600))
    proposal = np.where(np.add.outer(np.arange(600), np.arange(600)) % 97 < 50, 1, 2).astype(np.uint8)
    planes.propose(Box(0, 0, 600, 600), proposal)
    after = planes.displayed()
    y, x = np.ogrid[:600, :600]
    for step in range(30):
        after[(y - 200 - 4 * step) ** 2 + (x - 150 - 7 * step) ** 2 < 50**2] = 0
    patch = planes.edit_patch(Box(0, 0, 600, 600), after)
    assert patch is not None and patch.changed > 25_000
    assert len(patch.encode()) < 2000


def test_a_patch_holds_no_reference_to_the_painted_array() -> None:
    planes = Planes.empty((20, 20))
    after = np.full((20, 20), 1, np.uint8)
    patch = planes.edit_patch(Box(0, 0, 20, 20), after)
    after[:] = 2
    assert patch is not None and (patch.after_labels == 1).all() and (patch.before_labels == IGNORE).all()
