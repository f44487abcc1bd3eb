"""A real viewer with the panels docked, in a user folder of its own, and a network small enough to run in a blink."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Projects and the memory of recent ones go into a folder of the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of a U-Net four channels wide that looks at 2 µm per pixel."""
    from napari_histoseg.core.schemas import EPITHELIUM
    from napari_histoseg.models.weights import Weights, WeightsCard, build_network, save_weights

    card = WeightsCard(
        name="tiny", model="unet", classes=EPITHELIUM.classes, mpp=2.0, variant={"width": 4, "batch_norm": True}, seed=3
    )
    network = build_network(Weights("tiny", "unet", None, card))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, network.state_dict(), card)
    return path


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Any]:
    """The workbench of a shown viewer of 1366 x 768 px with all panels docked."""
    from napari_histoseg.plugin import workbench

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    bench = workbench(viewer)
    bench.open_panels()
    qtbot.wait(100)
    yield bench
    bench.close()


@pytest.fixture
def tissue() -> np.ndarray:
    """256 x 256 px of blotchy pink, uint8."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(90, 250, (16, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


@pytest.fixture
def ready(bench: Any, tissue: np.ndarray, tiny_weights: Path) -> Any:
    """The workbench with an image of 1 µm per pixel and the tiny model chosen."""
    bench.viewer.add_image(tissue, name="tissue")
    bench.session.set_mpp(bench.bridge.images.current, 1.0)
    bench.session.choose_model("unet", str(tiny_weights))
    return bench


@pytest.fixture
def segmented(ready: Any, qtbot: Any) -> Any:
    """The same after Segment."""
    ready.bridge.segment()
    qtbot.waitUntil(lambda: not ready.session.is_running("predict"), timeout=60_000)
    return ready


class Hand:
    """Real mouse events on the canvas, at places given in pixels of the image."""

    def __init__(self, bench: Any) -> None:
        self._viewer = bench.viewer
        self.canvas = bench.viewer.window._qt_viewer.canvas.native

    def _at(self, y: float, x: float) -> Any:
        from qtpy.QtCore import QPoint

        layer = self._viewer.layers[0]
        world = np.array(layer.data_to_world((y, x)))
        offset = (world - np.array(self._viewer.camera.center[-2:])) * self._viewer.camera.zoom
        return QPoint(round(self.canvas.width() / 2 + offset[1]), round(self.canvas.height() / 2 + offset[0]))

    def stroke(self, *places: tuple[float, float], control: bool = False, shift: bool = False) -> None:
        """Press at the first place, move over the others, let go at the last."""
        self.press(places[0], control=control, shift=shift)
        for place in places[1:]:
            self.move(place)
        self.release(places[-1], control=control, shift=shift)

    def press(self, place: tuple[float, float], *, control: bool = False, shift: bool = False) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.mouseMove(self.canvas, self._at(*place))
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, _held(control, shift), self._at(*place))

    def move(self, place: tuple[float, float]) -> None:
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        QTest.mouseMove(self.canvas, self._at(*place))
        QApplication.processEvents()

    def release(self, place: tuple[float, float], *, control: bool = False, shift: bool = False) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, _held(control, shift), self._at(*place))

    def double_click(self, place: tuple[float, float]) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.mouseDClick(self.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, self._at(*place))

    def key(self, name: str, *, control: bool = False, shift: bool = False) -> None:
        """Press a key on the canvas."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{name}"), _held(control, shift))


def _held(control: bool, shift: bool) -> Any:
    """The keys that are held down, as Qt says it."""
    from qtpy.QtCore import Qt

    held = Qt.KeyboardModifier.NoModifier
    if control:
        held |= Qt.KeyboardModifier.ControlModifier
    if shift:
        held |= Qt.KeyboardModifier.ShiftModifier
    return held


@pytest.fixture
def hand(bench: Any) -> Hand:
    return Hand(bench)
