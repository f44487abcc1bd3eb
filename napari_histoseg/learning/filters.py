"""Changes of colour, focus and noise of images (N, 3, H, W) in 0..1; labels stay where they are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from napari_histoseg.core.stains import RUIFROK
from napari_histoseg.learning.density import density_of, image_of


def jitter_stains(image: Tensor, generator: Generator, *, factor: float = 0.1, shift: float = 0.05) -> Tensor:
    """Other amounts of haematoxylin and of eosin in each image: times ``1 ± factor``, plus ``± shift``.

    Parameters
    ----------
    image : Tensor, shape (N, 3, H, W), float32
    generator : torch.Generator
        On the CPU.
    factor, shift : float
        Largest changes, drawn uniformly; the shift is in optical density.
    """
    unmix = torch.linalg.inv(F.normalize(torch.tensor(RUIFROK), dim=1))
    draws = 2 * torch.rand(2, len(image), 2, generator=generator) - 1
    factors = F.pad(1 + factor * draws[0], (0, 1), value=1.0).to(image.device)
    shifts = F.pad(shift * draws[1], (0, 1)).to(image.device)
    amounts = density_of(image).flatten(2).mT @ unmix.to(image.device) * factors[:, None] + shifts[:, None]
    return image_of((amounts @ torch.linalg.inv(unmix).to(image.device)).mT.view_as(image))


def jitter_colour(
    image: Tensor,
    generator: Generator,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """All images with the same random change: factors ``1 ± x``, and a turn of the hue by up to ``hue`` of a circle."""
    from torchvision.transforms.v2 import functional

    changes = {
        functional.adjust_brightness: (1.0, brightness),
        functional.adjust_contrast: (1.0, contrast),
        functional.adjust_saturation: (1.0, saturation),
        functional.adjust_hue: (0.0, hue),
    }
    for change, (middle, reach) in changes.items():
        amount = middle + reach * (2 * float(torch.rand((), generator=generator)) - 1)
        if reach:
            image = change(image, amount)
    return image.clamp(0, 1)


def add_noise(image: Tensor, sd: float, generator: Generator) -> Tensor:
    """Gaussian noise, independent for each value; ``sd`` in units of the 0..1 range."""
    return (image + sd * torch.randn(image.shape, generator=generator).to(image.device)).clamp(0, 1)


def box_blur(image: Tensor, side_px: int = 3) -> Tensor:
    """Mean over squares."""
    return F.avg_pool2d(_mirrored(image, side_px // 2), side_px, stride=1)


def median_blur(image: Tensor, side_px: int = 3) -> Tensor:
    """Median of each channel over squares."""
    windows = _mirrored(image, side_px // 2).unfold(2, side_px, 1).unfold(3, side_px, 1)
    return windows.flatten(4).median(dim=4).values


def motion_blur(image: Tensor, length_px: int, angle: float) -> Tensor:
    """Mean along a line of odd length, at ``angle`` radians."""
    half = length_px // 2
    steps = torch.linspace(-half, half, 4 * length_px)
    kernel = torch.zeros(length_px, length_px)
    rows = (half + steps * math.sin(angle)).round().long()
    columns = (half + steps * math.cos(angle)).round().long()
    kernel[rows, columns] = 1
    return _convolved(image, kernel / kernel.sum())


def sharpen(image: Tensor, share: float, lightness: float) -> Tensor:
    """Mixed with its Laplacian-sharpened self: ``share`` of it, whose middle weighs ``8 + lightness``."""
    kernel = torch.full((3, 3), -1.0)
    kernel[1, 1] = 8 + lightness
    return (image + share * (_convolved(image, kernel) - image)).clamp(0, 1)


def _convolved(image: Tensor, kernel: Tensor) -> Tensor:
    channels = image.shape[1]
    weight = kernel.to(image.device).expand(channels, 1, -1, -1)
    return F.conv2d(_mirrored(image, kernel.shape[0] // 2), weight, groups=channels)


def _mirrored(image: Tensor, margin_px: int) -> Tensor:
    return F.pad(image, (margin_px,) * 4, mode="reflect")
