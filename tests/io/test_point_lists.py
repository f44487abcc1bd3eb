"""Lists of points: what is written comes back bit for bit, whatever the classes are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_histoseg.core.errors import ResourceError
from napari_histoseg.io.cells import read_points, write_points

places = st.floats(-1e6, 1e6, width=32, allow_nan=False)
names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12).filter(
    lambda name: name == name.strip()
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(places, places, names), min_size=1, max_size=20))
def test_points_come_back_as_they_were(tmp_path: Path, rows: list[tuple[float, float, str]]) -> None:
    x, y = np.array([row[:2] for row in rows]).T
    write_points(tmp_path / "points.csv", x, y, [row[2] for row in rows])
    back = read_points(tmp_path / "points.csv")
    np.testing.assert_array_equal(back.x.astype(np.float32), x)
    np.testing.assert_array_equal(back.y.astype(np.float32), y)
    assert list(back.names) == [row[2] for row in rows]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        write_points(tmp_path / "file" / "points.csv", np.zeros(1), np.zeros(1), ["a"])
