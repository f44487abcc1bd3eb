"""Warps of an image with its labels, as sampling grids for :func:`napari_histoseg.learning.augment.warp`.

A grid (1, h, w, 2) says for each pixel of the result where it comes from, x before y, -1 and 1 being the borders of the
image. The transforms of torchvision are not used here, since none of them mirrors the image beyond its border while
labels there become unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

RADIAL = {"barrel": (0.2, 0.0), "pincushion": (-0.15, 0.0), "mustache": (0.3, -0.25)}
"""Coefficients ``k1, k2`` of the lens distortions of Bhatt et al. (Micro-Net-508), who give none."""


def uniform(generator: Generator, low: float, high: float) -> float:
    """A number between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def identity(shape: tuple[int, int]) -> Tensor:
    """The grid that changes nothing."""
    y, x = (2 * (torch.arange(n, dtype=torch.float32) + 0.5) / n - 1 for n in shape)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1)[None]


def radial(shape: tuple[int, int], k1: float, k2: float = 0.0) -> Tensor:
    """Lens distortion: what is at radius ``r`` comes from ``r (1 + k1 r² + k2 r⁴)``, 1 being half the shorter side."""
    grid = identity(shape)
    scale = torch.tensor([shape[1], shape[0]]) / min(shape)
    r2 = (grid * scale).square().sum(dim=-1, keepdim=True)
    return grid * (1 + k1 * r2 + k2 * r2**2)


def affine(
    shape: tuple[int, int],
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Rotation by ``angle`` radians and magnification by ``scale`` about the middle.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    angle, scale : float
    shift : (float, float)
        Where the middle of the result lies from that of the image, (y, x) in pixels.
    size : (int, int), optional
        Height and width of the result; by default those of the image.
    """
    height, width = size or shape
    half = torch.tensor([width, height]) / 2
    offset = identity((height, width)) * half
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    source = offset @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor([shift[1], shift[0]])
    return source / (torch.tensor([shape[1], shape[0]]) / 2)


def stretched_cells(shape: tuple[int, int], reach: float, generator: Generator, *, steps: int = 5) -> Tensor:
    """The rows and columns of a coarse grid made wider or narrower by up to ``reach`` of themselves."""

    def axis(count: int) -> Tensor:
        widths = 1 + reach * (2 * torch.rand(steps, generator=generator) - 1)
        ends = F.pad((widths.cumsum(0) / widths.sum()), (1, 0))
        place = (torch.arange(count) + 0.5) / count * steps
        cell = place.long().clamp_max(steps - 1)
        return 2 * (ends[cell] + (place - cell) * (ends[cell + 1] - ends[cell])) - 1

    y, x = (axis(n) for n in shape)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1)[None]


def moved_nodes(shape: tuple[int, int], sd: float, generator: Generator, *, nodes: int = 4) -> Tensor:
    """The nodes of a coarse grid moved by Gaussian steps, ``sd`` of the image's sides, and linearly between them."""
    steps = 2 * sd * torch.randn(1, 2, nodes, nodes, generator=generator)
    field = F.interpolate(steps, size=shape, mode="bilinear", align_corners=True)
    return identity(shape) + field.movedim(1, -1)


def perspective(shape: tuple[int, int], sd: float, generator: Generator) -> Tensor:
    """Corners that come from further inside by ``|N(0, sd)|`` of the image's sides, at most a quarter."""
    inward = 2 * (sd * torch.randn(4, 2, generator=generator)).abs().clamp_max(0.25)
    corners = torch.tensor([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    return homography(shape, corners, corners * (1 - inward))


def homography(shape: tuple[int, int], ends: Tensor, sources: Tensor) -> Tensor:
    """The projective grid in which four points ``ends`` (4, 2) come from ``sources`` (4, 2), x before y."""
    rows, values = [], []
    for (x, y), (u, v) in zip(ends.tolist(), sources.tolist(), strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    solved = torch.linalg.solve(torch.tensor(rows, dtype=torch.float64), torch.tensor(values, dtype=torch.float64))
    matrix = torch.cat([solved, torch.ones(1, dtype=torch.float64)]).view(3, 3).float()
    grid = F.pad(identity(shape), (0, 1), value=1.0) @ matrix.T
    source: Tensor = grid[..., :2] / grid[..., 2:]
    return source


def sheared(shape: tuple[int, int], reach_px: float, generator: Generator) -> Tensor:
    """The affine grid that moves three points around the middle by up to ``reach_px`` in each direction."""
    third = min(shape) / 3
    points = torch.tensor([(third, third), (third, -third), (-third, -third)])
    moved = points + reach_px * (2 * torch.rand(3, 2, generator=generator) - 1)
    half = torch.tensor([shape[1], shape[0]]) / 2
    matrix = torch.linalg.solve(F.pad(points, (0, 1), value=1.0), moved)
    source: Tensor = F.pad(identity(shape) * half, (0, 1), value=1.0) @ matrix
    return source / half


def jittered(coefficients: Sequence[float], reach: float, generator: Generator) -> list[float]:
    """Each number made larger or smaller by up to ``reach`` of itself."""
    return [k * (1 + uniform(generator, -reach, reach)) for k in coefficients]
