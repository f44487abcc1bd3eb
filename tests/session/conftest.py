"""A session in a user folder of the test, with an image and a network small enough to run in a blink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tissue import image

from napari_histoseg.session import Session


@pytest.fixture(autouse=True)
def in_a_folder_of_the_test(user_folder: Path) -> None:
    """No test of this room touches the person's own folder."""


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session(device="cpu")
    yield session
    session.close()


@pytest.fixture
def ready(session: Session, tiny_weights: Path, tmp_path: Path) -> tuple[Session, str]:
    """A session with a project, an image and the tiny model."""
    session.create_project(tmp_path / "a.histoseg")
    session.choose_model("unet", str(tiny_weights))
    return session, session.add_image(image()).id
