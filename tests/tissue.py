"""Small blotchy images and a network that gives them all classes, for tests of the whole job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from networks import lively

from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schemas import EPITHELIUM


def tissue(side_px: int = 192, seed: int = 1) -> np.ndarray:
    """Blotchy pink, uint8 (side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(90, 250, (side_px // 16, side_px // 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


def image(side_px: int = 192, seed: int = 1, mpp: float | None = 1.0) -> ImageRef:
    return image_from_array(tissue(side_px, seed), name=f"tissue {seed}", mpp=mpp)


def save_tiny_weights(path: Path) -> Path:
    """Weights of a U-Net four channels wide that looks at 2 µm per pixel and sees every class in ``tissue()``."""
    import torch

    from napari_histoseg.models.weights import Weights, WeightsCard, build_network, save_weights

    card = WeightsCard(
        name="tiny", model="unet", classes=EPITHELIUM.classes, mpp=2.0, variant={"width": 4, "batch_norm": True}, seed=3
    )
    network = lively(build_network(Weights("tiny", "unet", None, card)))
    pixels = torch.from_numpy(tissue()[::2, ::2].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        middle = network(pixels).flatten(2).median(dim=2).values[0]
    state = network.state_dict()
    bias = [key for key in state if key.endswith("bias")][-1]
    state[bias] -= middle  # so that every class is somewhere the likeliest
    save_weights(path, state, card)
    return path
