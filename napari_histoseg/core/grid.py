"""The pixel grid on which a model sees an image, and pixels brought onto it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def grid_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) of an image of ``shape`` in pixels of a grid with ``scale`` of them per pixel, at least 1."""
    height, width = shape
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(
    pixels: NDArray[Any],
    shape: tuple[int, int],
    region: tuple[float, float, float, float],
    method: Image.Resampling = Image.Resampling.BILINEAR,
) -> NDArray[Any]:
    """A region of ``pixels`` on a grid of ``shape``.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3), or of float32, shape (H, W)
    shape : tuple of int
        (height, width) of the result.
    region : tuple of float
        (left, top, right, bottom) in pixels of the array.
    method : Image.Resampling
        Triangle filter, wide enough not to alias when shrinking, by default.

    Returns
    -------
    ndarray
        Of the dtype of ``pixels``.
    """
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), method, box=region))
