"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests compute on small arrays, where a second thread costs more than it gives and far more on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images for development; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the development data folder ../shared/data is not there")
    return SHARED
