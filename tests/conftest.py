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


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network small enough to run in a blink."""
    from tissue import save_tiny_weights

    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's own data (projects made by themselves, recent ones) goes into a folder of the test."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_args, **_options: tmp_path / "user")
    return tmp_path / "user"
