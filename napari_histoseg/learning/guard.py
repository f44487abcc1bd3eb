"""What keeps old skill: the parent's own answer as a soft target, and a spring to the parent's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_histoseg.core.box import Box
from napari_histoseg.core.grid import grid_shape
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.augment import Appearance, vary_appearance
from napari_histoseg.learning.fields import Field, read_on_grid

NEAR_PX = 8
"""Unreviewed pixels nearer to a correction than this (in model pixels) are free to follow it."""

_MAX_SEEN = 32
_MAX_OTHERS = 16
_LEAST_FAR = 0.2
_OTHER_LOOKS = Appearance(chance=1.0, blur=0.0, noise=0.0)


@dataclass(frozen=True, eq=False)
class GuardTile:
    """A tile on which nobody has corrected the parent.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
    soft : ndarray of float32, shape (C, h, w)
        The parent's probabilities.
    weight : ndarray of float32, shape (h, w)
        1 where the parent's answer is kept, else 0.
    kind : {"left", "restained", "other"}
        What a person left in a corrected image, the same in another stain, or an image nobody has corrected.
    """

    pixels: NDArray[np.uint8]
    soft: NDArray[np.float32]
    weight: NDArray[np.float32]
    kind: Literal["left", "restained", "other"]


def guard_tiles(
    others: Sequence[ImageRef],
    fields: Sequence[Field],
    *,
    mpp: float,
    tile_px: int,
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    seed: int,
) -> Iterator[GuardTile]:
    """Tiles on which the parent's answer is kept: what the person saw and left, and some of their other images.

    Most come from the corrected images themselves, around the corrections: there a person has looked and painted over
    mistakes, so what they left is more likely right than what nobody has looked at. Where the parent is wrong in the
    same way on images not looked at yet, holding on to its answer there would work against the corrections. Each tile
    of a corrected image comes a second time in another stain, with the parent's answer to that: what is learned on
    this stain should not be unlearned on others.

    Parameters
    ----------
    others : sequence of ImageRef
        Images without a µm per pixel are left out.
    fields : sequence of Field
    mpp : float
        µm per pixel of the model.
    tile_px : int
    probabilities : callable
        The parent: (h, w, 3) uint8 to (C, h, w) float32.
    seed : int

    Yields
    ------
    GuardTile
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    left = _MAX_SEEN
    for position, k in enumerate(rng.permutation(len(fields))):
        field, far = fields[k], far_from_labels(fields[k])
        boxes = [box for box in Box.of_shape(far.shape).tiles(tile_px) if far[box.slices].mean() > _LEAST_FAR]
        count = min(len(boxes), -(-left // (len(fields) - position)))
        for j in rng.permutation(len(boxes))[:count]:
            pixels, weight = field.pixels[boxes[j].slices], far[boxes[j].slices].astype(np.float32)
            yield GuardTile(pixels, probabilities(pixels), weight, "left")
            other_look = _varied(pixels, generator)
            yield GuardTile(other_look, probabilities(other_look), weight, "restained")
        left -= count
    known = [(image, image.mpp / mpp) for image in others if image.mpp is not None]
    for k in range(_MAX_OTHERS if known else 0):
        image, scale = known[k % len(known)]
        pixels = read_on_grid(image, _random_box(grid_shape(image.shape, scale), tile_px, rng), scale)
        yield GuardTile(pixels, probabilities(pixels), np.ones(pixels.shape[:2], np.float32), "other")


def far_from_labels(field: Field) -> NDArray[np.bool_]:
    """Pixels of a field more than ``NEAR_PX`` model pixels away from every vouched-for pixel, shape (h, w)."""
    from scipy import ndimage

    far: NDArray[np.bool_] = ~ndimage.maximum_filter(field.labels != IGNORE, size=2 * NEAR_PX + 1)
    return far


def _varied(pixels: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """The same tile in another stain."""
    image = torch.from_numpy(pixels.copy()).movedim(-1, 0)[None].float() / 255
    varied = vary_appearance(image, _OTHER_LOOKS, generator)[0].movedim(0, -1)
    return (varied * 255).round().byte().numpy()


def _random_box(shape: tuple[int, int], size_px: int, rng: np.random.Generator) -> Box:
    y = int(rng.integers(0, max(1, shape[0] - size_px + 1)))
    x = int(rng.integers(0, max(1, shape[1] - size_px + 1)))
    return Box(y, x, y + size_px, x + size_px).clip(shape)


def pull_to_parent(model: nn.Module, parent: Mapping[str, Tensor]) -> Tensor:
    """Half the squared distance of all trainable weights from the parent's (L2-SP, Li et al. 2018)."""
    terms = [(p - parent[name]).square().sum() for name, p in model.named_parameters() if p.requires_grad]
    return 0.5 * torch.stack(terms).sum()
