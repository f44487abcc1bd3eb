"""A user folder of the test, a picture, and a network small enough to run in a blink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import lively
from PIL import Image

from napari_histoseg.core.schemas import EPITHELIUM


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Projects and the memory of recent ones go into a folder of the test."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_args, **_options: tmp_path / "user")
    return tmp_path / "user"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of a U-Net four channels wide that looks at 2 µm per pixel."""
    import torch

    from napari_histoseg.models.weights import Weights, WeightsCard, build_network, save_weights

    card = WeightsCard(
        name="tiny", model="unet", classes=EPITHELIUM.classes, mpp=2.0, variant={"width": 4, "batch_norm": True}, seed=3
    )
    network = lively(build_network(Weights("tiny", "unet", None, card)))
    pixels = torch.from_numpy(tissue(192)[::2, ::2].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        middle = network(pixels).flatten(2).median(dim=2).values[0]
    state = network.state_dict()
    bias = [key for key in state if key.endswith("bias")][-1]
    state[bias] -= middle  # so that every class is somewhere the likeliest
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, state, card)
    return path


def tissue(side_px: int = 192, seed: int = 1) -> np.ndarray:
    """Blotchy pink, uint8 (side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(90, 250, (side_px // 16, side_px // 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG, which states no resolution."""
    path = tmp_path / "tissue.png"
    Image.fromarray(tissue()).save(path)
    return path
