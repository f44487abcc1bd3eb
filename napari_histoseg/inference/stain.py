"""Haematoxylin and eosin: how much of each is in a pixel, and one stain made to look like another.

Optical density is ``-ln((value + 1) / 240)``; it adds up where stains lie over each other (Beer-Lambert). Stain colours
are found as in Macenko et al. 2009, "A method for normalizing histology slides for quantitative analysis", ISBI.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, PixelSource
from napari_histoseg.core.stains import RUIFROK

_WHITE = 240.0
_LEAST_TISSUE_PX = 500
_LEAST_ANGLE = np.deg2rad(2.0)
_MOST_PX = 1 << 20
_WINDOWS = 8  # along each side of a large image
_WINDOW_PX = 128


@dataclass(frozen=True, eq=False)
class Stains:
    """The two stains of a slide.

    Parameters
    ----------
    vectors : ndarray of float64, shape (2, 3)
        Optical density of red, green and blue per unit of haematoxylin and of eosin, each of length 1.
    strongest : ndarray of float64, shape (2,)
        99th percentile of the amount of each.
    is_estimated : bool
        False when the pixels did not tell, so that these are the reference and nothing should be changed by them.
    """

    vectors: NDArray[np.float64]
    strongest: NDArray[np.float64]
    is_estimated: bool = True


REFERENCE = Stains(
    np.array([(0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)]), np.array([1.9705, 1.0308]), is_estimated=False
)
"""The stains that normalised images have."""


def optical_density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density of RGB pixels (..., 3), slightly negative where they are brighter than 239."""
    return np.asarray(-np.log((pixels.astype(np.float32) + 1) / np.float32(_WHITE)), np.float32)


def haematoxylin(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Amount of haematoxylin by fixed stain colours, which needs no estimate and is the same for every tile.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (..., 3)

    Returns
    -------
    ndarray of float32, shape (...)
        Optical density of the stain; about 0 on glass, 0.5 to 3 in nuclei.
    """
    return _unmixed(pixels, 0)


def haematoxylin_and_eosin(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Amounts of both stains by the same fixed colours, each as `haematoxylin` gives it."""
    return _unmixed(pixels, 0), _unmixed(pixels, 1)


def _unmixed(pixels: NDArray[np.uint8], stain: int) -> NDArray[np.float32]:
    """Amount of one of the `RUIFROK` stains."""
    vectors = np.array(RUIFROK)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    unmix = np.linalg.inv(vectors).astype(np.float32)
    density = optical_density(np.arange(256, dtype=np.uint8))
    red, green, blue = ((density * share)[pixels[..., k]] for k, share in enumerate(unmix[:, stain]))
    return np.asarray(red + green + blue, np.float32)


def estimate_stains(pixels: NDArray[np.uint8], *, beta: float = 0.15, alpha: float = 1.0) -> Stains:
    """The stains of a slide or region, from its pixels (Macenko et al. 2009).

    Estimate once per slide or region and apply the result to its tiles: stains estimated tile by tile make seams.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (..., 3)
        RGB; every n-th pixel is used when there are more than a million.
    beta : float
        Pixels with a density below this in any channel are glass.
    alpha : float
        The extreme colours are this percentile of the angles and 100 minus it.

    Returns
    -------
    Stains
        `REFERENCE` with ``is_estimated`` False when there are fewer than 500 pixels of tissue, or they have only one
        colour.
    """
    flat = pixels.reshape(-1, 3)
    flat = flat[:: -(-len(flat) // _MOST_PX) or 1]
    density = optical_density(flat).astype(np.float64)
    tissue = density[(density >= beta).all(axis=1)]
    if len(tissue) < _LEAST_TISSUE_PX:
        return REFERENCE
    _, axes = np.linalg.eigh(np.cov(tissue.T))
    plane = axes[:, [2, 1]] * np.where(axes[0, [2, 1]] < 0, -1.0, 1.0)
    on_plane = tissue @ plane
    angles = np.percentile(np.arctan2(on_plane[:, 1], on_plane[:, 0]), [alpha, 100 - alpha])
    if not np.ptp(angles) >= _LEAST_ANGLE:
        return REFERENCE
    vectors = (plane @ np.stack([np.cos(angles), np.sin(angles)])).T
    vectors = vectors[np.argsort(-vectors[:, 0])]  # haematoxylin absorbs more red than eosin does
    strongest = np.percentile(density @ np.linalg.pinv(vectors), 99, axis=0)
    if not (strongest > 0).all():
        return REFERENCE
    return Stains(vectors, strongest)


def estimate_image_stains(image: ImageRef, box: Box | None = None) -> Stains:
    """The stains of an image, or of ``box`` of it, from a sample that is read without loading it whole.

    Parameters
    ----------
    image : ImageRef
    box : Box, optional
        Region in pixels of level 0; by default everything.

    Raises
    ------
    InputError
        When the box lies outside the image.
    """
    whole = Box.of_shape(image.shape)
    region = whole if box is None else box.clip(image.shape)
    if region.is_empty:
        raise InputError(f"{box} does not meet '{image.name}', which is {whole.height} x {whole.width} px.")
    if region.area <= _MOST_PX:
        return estimate_stains(image.read(0, region))
    windows = []
    for row in range(_WINDOWS):
        for column in range(_WINDOWS):
            y = region.y0 + (2 * row + 1) * region.height // (2 * _WINDOWS)
            x = region.x0 + (2 * column + 1) * region.width // (2 * _WINDOWS)
            window = Box(y, x, y + _WINDOW_PX, x + _WINDOW_PX).intersect(region)
            windows.append(image.read(0, window).reshape(-1, 3))
    return estimate_stains(np.concatenate(windows))


def concentrations(pixels: NDArray[np.uint8], stains: Stains) -> NDArray[np.float32]:
    """Amounts of haematoxylin and eosin by least squares, shape (..., 2), of RGB pixels (..., 3)."""
    return optical_density(pixels) @ np.linalg.pinv(stains.vectors).astype(np.float32)


def normalise(pixels: NDArray[np.uint8], stains: Stains) -> NDArray[np.uint8]:
    """The pixels (..., 3) as they would look with the `REFERENCE` stains; unchanged when ``stains`` are no estimate."""
    if not stains.is_estimated:
        return pixels
    return _rebuild(_scaled(pixels, stains), REFERENCE.vectors)


def normalised_image(image: ImageRef) -> ImageRef:
    """An image whose pixels are read with the `REFERENCE` stains; its own stains are estimated once, for all of it."""
    return replace(image, source=_NormalisedSource(image.source, estimate_image_stains(image)))


@dataclass(frozen=True, eq=False)
class _NormalisedSource:
    """Pixels of another source after `normalise`."""

    source: PixelSource
    stains: Stains

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        return normalise(self.source.read(level, box), self.stains)


def _scaled(pixels: NDArray[np.uint8], stains: Stains) -> NDArray[np.float32]:
    return concentrations(pixels, stains) * (REFERENCE.strongest / stains.strongest).astype(np.float32)


def _rebuild(amounts: NDArray[np.float32], vectors: NDArray[np.float64]) -> NDArray[np.uint8]:
    values = np.float32(_WHITE) * np.exp(-(amounts @ vectors.astype(np.float32)))
    return np.clip(values, 0, 255).astype(np.uint8)
