"""Which cells look alike: laws of the scale, and a kind that is found among others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_histoseg.inference.cell_features import FEATURES
from napari_histoseg.inference.similarity import similarity, standardised

NAMES = list(FEATURES)


def population(count: int = 400, seed: int = 0) -> NDArray[np.float64]:
    """A quarter of the cells are of another kind: smaller, darker and rounder."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(size=(count, len(NAMES))))
    kind = np.arange(count) < count // 4
    for name, factor in (("area", 0.2), ("haematoxylin", 4.0), ("roundness", 3.0), ("contrast", 4.0)):
        values[kind, NAMES.index(name)] *= factor
    return values


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_units_do_not_matter(scale: float, shift: float) -> None:
    values = population()
    moved = values.copy()
    moved[:, NAMES.index("haematoxylin")] = values[:, NAMES.index("haematoxylin")] * scale + shift
    moved[:, NAMES.index("area")] *= scale
    np.testing.assert_allclose(standardised(moved), standardised(values), atol=1e-5)


def test_odd_cells_move_nothing_and_unknown_values_are_typical() -> None:
    values = population()
    odd = values.copy()
    odd[-3:] = 1e9
    before, after = standardised(values), standardised(odd)
    assert np.abs(before[:-3] - after[:-3]).max() < 0.3 and np.abs(after).max() <= 3
    values[5, NAMES.index("ring_eosin")] = np.nan
    values[:, NAMES.index("rim")] = np.nan
    found = standardised(values)
    assert found[5, NAMES.index("ring_eosin")] == 0 and not found[:, NAMES.index("rim")].any()
    assert standardised(values[:0]).shape == (0, len(NAMES))


def test_cells_that_are_all_alike_are_typical() -> None:
    assert not standardised(np.ones((7, len(NAMES)))).any()


@pytest.mark.parametrize(("count", "least"), [(1, 0.5), (2, 0.6), (5, 0.75)])
def test_a_kind_is_found_from_a_few_examples(count: int, least: float) -> None:
    standard = standardised(population())
    hits = []
    for seed in range(20):
        chosen = np.random.default_rng(seed).choice(100, count, replace=False)
        found = similarity(standard, chosen)
        assert ((found > 0) & (found < 1)).all()
        found[chosen] = -1
        hits.append((np.argsort(-found)[:50] < 100).mean())
    assert np.mean(hits) > least  # chance is 0.25


def test_the_order_of_cells_does_not_matter() -> None:
    standard = standardised(population())
    order = np.random.default_rng(1).permutation(len(standard))
    place = np.argsort(order)
    np.testing.assert_allclose(similarity(standard[order], place[[3, 8]])[place], similarity(standard, [8, 3]))
