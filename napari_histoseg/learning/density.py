"""Optical density of images in 0..1, in which the stains of a pixel add up (Beer-Lambert)."""

from __future__ import annotations

import torch
from torch import Tensor


def density_of(image: Tensor) -> Tensor:
    """``-ln`` of the share of light that passes; finite also for black, and 0 for white."""
    return -torch.log((image * 255 + 1) / 256)


def image_of(density: Tensor) -> Tensor:
    """The image in 0..1 of a density: what `density_of` undoes."""
    return ((256 * torch.exp(-density) - 1) / 255).clamp_(0, 1)
