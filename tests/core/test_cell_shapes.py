"""Lines that a hand draws."""

from __future__ import annotations

import numpy as np
import pytest

from napari_histoseg.core import cell_shapes
from napari_histoseg.core.errors import InputError


def test_specks_that_a_cut_leaves_go_with_the_nearest_part() -> None:
    instances = np.zeros((12, 20), np.uint32)
    instances[2:10, 2:18] = 1
    line = np.array([(0.0, 11.0), (3.0, 11.0), (3.0, 9.0), (0.0, 9.0), (3.0, 9.0), (12.0, 9.0)])
    after = cell_shapes.split_by_line(instances, 1, line, 2)
    assert set(np.unique(after).tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(after > 0, instances > 0)


def test_a_line_that_cuts_off_a_speck_only_cuts_nothing() -> None:
    instances = np.zeros((12, 12), np.uint32)
    instances[2:10, 2:10] = 1
    with pytest.raises(InputError, match="does not cut"):
        cell_shapes.split_by_line(instances, 1, np.array([(0.0, 5.0), (5.0, 0.0)]), 2)
