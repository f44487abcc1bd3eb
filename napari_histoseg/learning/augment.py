"""Random changes of a batch that a pathologist would look through: placement, magnification, stain, focus, noise.

Every image of a batch gets its own random numbers from one seeded generator, and the work is done on whole batches,
which is what makes it affordable on a CPU. (torchvision's transforms draw one set of numbers per call.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.stains import RUIFROK
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.density import density_of, image_of

_GREY = (0.299, 0.587, 0.114)
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True)
class Appearance:
    """How strongly colours, focus and noise vary; 0 switches a part off.

    Parameters
    ----------
    chance : float
        Share of images whose colours change at all.
    stain : float
        Relative spread of the amount of each stain: amounts are multiplied by ``exp(U(-stain, stain))``.
    stain_hue : float
        Largest change of each optical-density component of a stain's own colour.
    hue : float
        Largest rotation of hue, in turns.
    saturation, contrast, brightness, gamma : float
        Factors ``exp(U(-x, x))``.
    grey : float
        Share of images that lose nearly all colour.
    blur : float
        Largest standard deviation in pixels; a quarter of the batches is blurred.
    noise : float
        Largest standard deviation of Gaussian noise, in units of the 0..1 range.
    """

    chance: float = 0.9
    stain: float = 0.5
    stain_hue: float = 0.12
    hue: float = 0.06
    saturation: float = 0.4
    contrast: float = 0.25
    brightness: float = 0.2
    gamma: float = 0.3
    grey: float = 0.03
    blur: float = 1.0
    noise: float = 0.03


def vary_appearance(image: Tensor, plan: Appearance, generator: Generator) -> Tensor:
    """Images with other stains, colours, focus and noise; shape and range as before.

    Parameters
    ----------
    image : Tensor, shape (N, 3, H, W), float32
        RGB in 0..1.
    plan : Appearance
    generator : torch.Generator
        On the CPU; the only source of randomness.
    """
    count = image.shape[0]
    chosen = (torch.rand(count, generator=generator) < plan.chance).float().to(image.device)
    out = vary_stain(image, plan, generator, strength=chosen)
    out = vary_colour(out, plan, generator, strength=chosen)
    if plan.blur > 0 and torch.rand((), generator=generator) < 0.25:
        sigma_px = plan.blur * float(torch.rand((), generator=generator))
        out = gaussian_blur(out, sigma_px)
    if plan.noise > 0:
        sigma = plan.noise * torch.rand(count, 1, 1, 1, generator=generator).to(image.device) * chosen.view(-1, 1, 1, 1)
        out = out + sigma * torch.randn(out.shape, generator=generator).to(image.device)
    return out.clamp_(0, 1)


def vary_stain(image: Tensor, plan: Appearance, generator: Generator, *, strength: Tensor) -> Tensor:
    """Change amount and colour of haematoxylin and eosin in optical density.

    Parameters
    ----------
    image : Tensor, shape (N, 3, H, W), float32
        RGB in 0..1.
    strength : Tensor, shape (N,)
        0 leaves an image as it is, 1 is the full plan.
    """
    stains = F.normalize(torch.tensor(RUIFROK), dim=1)
    count = image.shape[0]
    factor = strength.cpu().view(-1, 1)
    amounts = torch.exp(_spread((count, 3), plan.stain, generator) * factor)
    changed = F.normalize(stains + _spread((count, 3, 3), plan.stain_hue, generator) * factor[..., None], dim=2)
    through = torch.linalg.inv(stains) @ torch.diag_embed(amounts) @ changed  # row vectors: OD' = OD @ through
    return image_of(_mix_channels(density_of(image), through.mT.to(image.device)))


def vary_colour(image: Tensor, plan: Appearance, generator: Generator, *, strength: Tensor) -> Tensor:
    """Change hue, saturation, contrast, brightness and gamma; arguments as for `vary_stain`."""
    count = image.shape[0]
    factor = strength.cpu()
    angle = 2 * math.pi * _spread((count,), plan.hue, generator) * factor
    saturation = torch.exp(_spread((count,), plan.saturation, generator) * factor)
    saturation = torch.where(torch.rand(count, generator=generator) < plan.grey, 0.1 * saturation, saturation)
    contrast = torch.exp(_spread((count,), plan.contrast, generator) * factor)
    brightness = torch.exp(_spread((count,), plan.brightness, generator) * factor)
    gamma = torch.exp(_spread((count,), plan.gamma, generator) * factor)

    matrix = _hue_rotation(angle)
    grey = torch.tensor(_GREY).expand(3, 3)
    matrix = (grey + saturation.view(-1, 1, 1) * (torch.eye(3) - grey)) @ matrix
    matrix = (contrast * brightness).view(-1, 1, 1) * matrix
    shift = ((1 - contrast) * brightness).view(-1, 1, 1, 1).to(image.device)
    middle = image.mean(dim=(1, 2, 3), keepdim=True)
    out = _mix_channels(image, matrix.to(image.device)) + shift * middle
    return out.clamp_(1e-4, 1).pow(gamma.view(-1, 1, 1, 1).to(image.device))


def gaussian_blur(image: Tensor, sigma_px: float) -> Tensor:
    """Images (N, C, H, W) smoothed with a Gaussian, mirrored at the border."""
    radius = math.ceil(3 * sigma_px)
    if radius < 1 or radius >= min(image.shape[-2:]):
        return image
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
    kernel = torch.exp(-(x**2) / (2 * sigma_px**2))
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, -1)
    out = F.pad(image, (radius, radius, radius, radius), mode="reflect")
    out = F.conv2d(out, kernel[:, :, None, :], groups=image.shape[1])
    return F.conv2d(out, kernel[:, :, :, None], groups=image.shape[1])


@dataclass(frozen=True)
class Placement:
    """How a crop is cut from an image: any of the eight orientations, rotation and magnification.

    Parameters
    ----------
    scale : (float, float)
        Least and largest magnification, drawn log-uniformly once for a batch.
    jitter : float
        Magnification of each image differs from the batch's by ``exp(U(-jitter, jitter))``.
    rotation : float
        Share of images turned by any angle; the others only by quarter turns.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0
    rotation: float = 0.0


def random_scale(plan: Placement, generator: Generator) -> float:
    """One magnification from the plan's range."""
    low, high = (math.log(s) for s in plan.scale)
    return math.exp(low + (high - low) * float(torch.rand((), generator=generator)))


def random_crop(batch: Batch, plan: Placement, generator: Generator, *, size_px: int, scale: float = 1.0) -> Batch:
    """Crops of ``size_px`` squared at a random place, orientation and magnification near ``scale``.

    Images are interpolated bilinearly (smoothed first when they shrink) and mirrored beyond their border; labels and
    weights take the nearest pixel; pixels beyond the border are ``IGNORE`` with weight 0.
    """
    count, _, height, width = batch.image.shape
    scales = scale * torch.exp(_spread((count,), plan.jitter, generator))
    quarter = torch.randint(4, (count,), generator=generator) * (math.pi / 2)
    turned = torch.rand(count, generator=generator) < plan.rotation
    angle = torch.where(turned, 2 * math.pi * torch.rand(count, generator=generator), quarter)
    mirror = 1.0 - 2.0 * torch.randint(2, (count,), generator=generator)
    reach_px = size_px / scales
    room = torch.stack([height - reach_px, width - reach_px], dim=1).clamp_min(0)
    offset = (torch.rand(count, 2, generator=generator) - 0.5) * room
    offset = torch.round(offset)  # whole pixels: a crop that is neither turned nor scaled keeps its pixels exactly
    if scale < 1:
        batch = replace(batch, image=gaussian_blur(batch.image, 0.45 * math.sqrt(1 / scale**2 - 1)))
    grid = _sampling_grid(offset, angle, mirror, scales, (height, width), size_px).to(batch.image.device)
    return warp(batch, grid)


def warp(batch: Batch, grid: Tensor) -> Batch:
    """Sample a batch at ``grid`` (N, h, w, 2), normalised (x, y) as `torch.nn.functional.grid_sample` takes them."""
    outside = (grid.abs() > 1).any(dim=-1)

    def nearest(plane: Tensor) -> Tensor:
        return F.grid_sample(plane[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0]

    def smooth(planes: Tensor) -> Tensor:
        return F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    weight, soft, soft_weight = batch.weight, batch.soft, batch.soft_weight
    return replace(
        batch,
        image=smooth(batch.image).clamp_(0, 1),
        labels=nearest(batch.labels).round().long().masked_fill(outside, IGNORE),
        weight=None if weight is None else nearest(weight).masked_fill(outside, 0),
        soft=None if soft is None else smooth(soft),
        soft_weight=None if soft_weight is None else nearest(soft_weight).masked_fill(outside, 0),
    )


def dihedral(batch: Batch, orientation: int) -> Batch:
    """One of the eight orientations of a square batch: 0 to 3 quarter turns, 4 to 7 the same after a mirror."""

    def turn(tensor: Tensor) -> Tensor:
        if orientation >= 4:
            tensor = tensor.flip(-1)
        return torch.rot90(tensor, orientation % 4, dims=(-2, -1))

    return map_planes(batch, turn)


def map_planes(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with everything that has pixels, whose last two axes are (H, W), changed alike."""

    def maybe(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else change(tensor)

    return replace(
        batch,
        image=change(batch.image),
        labels=change(batch.labels),
        weight=maybe(batch.weight),
        soft=maybe(batch.soft),
        soft_weight=maybe(batch.soft_weight),
    )


def _spread(shape: tuple[int, ...], reach: float, generator: Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * reach


def _mix_channels(image: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the colour of every pixel of (N, 3, H, W) by its image's (3, 3) matrix."""
    return torch.bmm(matrix, image.flatten(2)).view_as(image)


def _hue_rotation(angle: Tensor) -> Tensor:
    """Matrices (N, 3, 3) that turn RGB around the grey axis of YIQ by ``angle`` (N,) radians."""
    to_yiq = torch.tensor(_YIQ)
    turn = torch.eye(3).repeat(len(angle), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = torch.cos(angle)
    turn[:, 2, 1] = torch.sin(angle)
    turn[:, 1, 2] = -torch.sin(angle)
    matrix: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return matrix


def _sampling_grid(
    offset: Tensor, angle: Tensor, mirror: Tensor, scales: Tensor, shape: tuple[int, int], size_px: int
) -> Tensor:
    """Normalised source positions (N, size, size, 2), x before y, of the pixels of rotated, scaled, mirrored crops."""
    height, width = shape
    axis = torch.arange(size_px, dtype=torch.float32) - (size_px - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    cos, sin = (torch.cos(angle) / scales).view(-1, 1, 1), (torch.sin(angle) / scales).view(-1, 1, 1)
    x_mirrored = x * mirror.view(-1, 1, 1)
    source_x = cos * x_mirrored - sin * y + offset[:, 1].view(-1, 1, 1)
    source_y = sin * x_mirrored + cos * y + offset[:, 0].view(-1, 1, 1)
    return torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)
