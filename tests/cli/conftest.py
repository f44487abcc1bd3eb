"""A user folder of the test, a picture, and a network small enough to run in a blink."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tissue import save_tiny_weights, tissue


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's own data goes into a folder of the test."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_args, **_options: tmp_path / "user")
    return tmp_path / "user"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG, which states no resolution."""
    path = tmp_path / "tissue.png"
    Image.fromarray(tissue()).save(path)
    return path
