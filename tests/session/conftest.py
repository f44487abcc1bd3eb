"""A session in a user folder of the test, with an image and a network small enough to run in a blink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tissue import image, save_tiny_weights

from napari_histoseg.session import Session


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Projects and the memory of recent ones go into a folder of the test."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_args, **_options: tmp_path / "user")
    return tmp_path / "user"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


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
