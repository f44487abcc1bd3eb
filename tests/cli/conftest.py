"""A user folder of the test, a picture, and a network small enough to run in a blink."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tissue import tissue


@pytest.fixture(autouse=True)
def in_a_folder_of_the_test(user_folder: Path) -> None:
    """No test of this room touches the person's own folder."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG, which states no resolution."""
    path = tmp_path / "tissue.png"
    Image.fromarray(tissue()).save(path)
    return path
