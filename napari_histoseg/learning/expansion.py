"""The images that each image became where two of the papers made their sets larger; training draws one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from napari_histoseg.learning.augment import dihedral, gaussian_blur, map_planes, warp
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.distortions import RADIAL, radial

_BLUR_SIGMAS_PX = tuple(k / 10 for k in range(2, 21))


@dataclass(frozen=True)
class Variant:
    """One of the images that an image becomes: its name, and how a batch becomes it."""

    name: str
    change: Callable[[Batch], Batch]


def unchanged(batch: Batch) -> Batch:
    """The batch itself."""
    return batch


def mirror(batch: Batch, *, axes: tuple[int, ...]) -> Batch:
    """Flipped along axes: -1 swaps left and right, -2 top and bottom."""
    return map_planes(batch, lambda tensor: tensor.flip(axes))


def distort(batch: Batch, *, k1: float, k2: float) -> Batch:
    """Seen through a lens; see `distortions.radial`."""
    height, width = batch.image.shape[-2:]
    grid = radial((height, width), k1, k2).to(batch.image.device)
    return warp(batch, grid.expand(len(batch.image), -1, -1, -1))


def blur(batch: Batch, *, sigma_px: float) -> Batch:
    """Images smoothed with a Gaussian of that deviation, labels as they are."""
    return replace(batch, image=gaussian_blur(batch.image, sigma_px))


def turn(batch: Batch, *, quarters: int) -> Batch:
    """Rotated by quarter turns; height and width change places for odd numbers."""
    return dihedral(batch, quarters)


MIRRORED = (
    Variant("original", unchanged),
    Variant("mirror_x", partial(mirror, axes=(-1,))),
    Variant("mirror_y", partial(mirror, axes=(-2,))),
)
"""N images become 3 N (Abdulhamid, VGG16 transfer FCN)."""

LENSES = tuple(Variant(name, partial(distort, k1=k1, k2=k2)) for name, (k1, k2) in RADIAL.items())
BLURS = tuple(Variant(f"blur_{sigma_px:.1f}", partial(blur, sigma_px=sigma_px)) for sigma_px in _BLUR_SIGMAS_PX)
TURNS = tuple(Variant(f"rotate_{90 * quarters}", partial(turn, quarters=quarters)) for quarters in (1, 2, 3))
FLIPS = (*MIRRORED[1:], Variant("mirror_xy", partial(mirror, axes=(-2, -1))))

MICRONET = (MIRRORED[0], *LENSES, *BLURS, *TURNS, *FLIPS)
"""N images become 29 N (Bhatt et al., Micro-Net-508): three lenses, 19 blurs, three rotations, three flips.

The half turn and the flip along both axes are the same image; the paper counts them both."""
