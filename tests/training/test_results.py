"""What the numbers of images amount to."""

from __future__ import annotations

import math

import pytest

from training.results import Result


def test_pq_is_averaged_over_tissues_first() -> None:
    values = {"colon": (0.2, 0.4), "liver": (0.9,), "lung": (math.nan,)}
    facts = tuple({"key": str(k), "tissue": tissue} for tissue, own in values.items() for k, _ in enumerate(own))
    rows = tuple({"pq": value, "aji": 0.5} for own in values.values() for value in own)
    numbers = Result("pannuke", "test", ("background", "nucleus"), facts, rows).numbers()
    assert numbers["pq_mean_of_tissues"] == pytest.approx(0.6) and numbers["pq_mean"] == pytest.approx(0.5)
    assert "aji_mean_of_tissues" not in numbers and "mpq_mean_of_tissues" not in numbers
    bare = Result("dsb2018", "test", ("background", "nucleus"), ({"key": "a"},), rows[:1]).numbers()
    assert "pq_mean_of_tissues" not in bare
