"""The weights that the benchmarks run: the starter weights of a model where it has some, else random ones."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from PIL import Image

from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.models.weights import RANDOM, Weights, list_weights, resolve

STARTER_VARIANT = {"width": 16, "batch_norm": True}
STARTER_MPP = 1.5


def starter() -> Weights:
    """The bundled U-Net, or a random one of the same size."""
    bundled = list_weights("unet")
    if bundled:
        return bundled[0]
    weights = resolve("unet", RANDOM)
    card = replace(weights.card, variant=STARTER_VARIANT, mpp=STARTER_MPP, classes=EPITHELIUM.classes)
    return replace(weights, card=card)


@functools.cache
def tissue(height: int, width: int, mpp: float) -> ImageRef:
    """A smooth pink and violet pattern; speed does not depend on it."""
    rng = np.random.default_rng(0)
    spots = Image.fromarray((rng.random((height // 40 + 2, width // 40 + 2)) * 255).astype(np.uint8))
    amount = np.asarray(spots.resize((width, height), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    pink, violet = np.array([238, 190, 214], np.float32), np.array([110, 70, 150], np.float32)
    noise = rng.integers(-12, 13, (height, width, 3))
    pixels = np.clip(pink * (1 - amount) + violet * amount + noise, 0, 255).astype(np.uint8)
    return image_from_array(pixels, name="tissue", mpp=mpp)
