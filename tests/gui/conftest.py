"""A real viewer with the panels docked, in a user folder of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Projects and memory of recent ones go into a folder of the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Any]:
    """The workbench of a shown viewer of 1366 x 768 px with all panels docked."""
    from napari_histoseg.plugin import workbench

    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.setGeometry(0, 0, 1366, 768)
    bench = workbench(viewer)
    bench.open_panels()
    qtbot.wait(100)
    yield bench
    bench.close()
