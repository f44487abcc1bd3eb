"""Grids and filters against formulas, scipy and torchvision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.color import hed_from_rgb
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as vision

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning import distortions, filters
from napari_histoseg.learning.augment import warp
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.distortions import RADIAL

SHAPE = (40, 60)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def noise(shape: tuple[int, int] = SHAPE, count: int = 1) -> Tensor:
    return torch.rand(count, 3, *shape, generator=seeded())


def seen(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


@pytest.mark.parametrize(
    "grid",
    [
        distortions.identity(SHAPE),
        distortions.radial(SHAPE, 0.0),
        distortions.affine(SHAPE),
        distortions.stretched_cells(SHAPE, 0.0, seeded()),
        distortions.moved_nodes(SHAPE, 0.0, seeded()),
        distortions.perspective(SHAPE, 0.0, seeded()),
        distortions.sheared(SHAPE, 0.0, seeded()),
    ],
    ids=["identity", "radial", "affine", "stretched", "nodes", "perspective", "sheared"],
)
def test_no_distortion_changes_nothing(grid: Tensor) -> None:
    image = noise()
    assert grid.shape == (1, *SHAPE, 2)
    torch.testing.assert_close(seen(image, grid), image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", RADIAL)
def test_lenses_follow_their_formula(name: str) -> None:
    k1, k2 = RADIAL[name]
    height, width = SHAPE
    grid = distortions.radial(SHAPE, k1, k2)[0].numpy()
    y, x = np.mgrid[:height, :width] + 0.5
    y, x = (y - height / 2) / (height / 2), (x - width / 2) / (height / 2)
    r = np.hypot(y, x)
    r_source = np.hypot(grid[..., 1], grid[..., 0] * width / height)
    np.testing.assert_allclose(r_source, np.abs(r * (1 + k1 * r**2 + k2 * r**4)), atol=1e-5)


def test_barrel_looks_beyond_the_border_and_pincushion_does_not() -> None:
    batch = Batch(noise((64, 64)), torch.ones(1, 64, 64).long())
    unknown = {name: (warp(batch, distortions.radial((64, 64), *RADIAL[name])).labels == IGNORE) for name in RADIAL}
    assert unknown["barrel"][0, 0, 0] and not unknown["barrel"][0, 32, 32]
    assert not unknown["pincushion"].any()


def test_a_quarter_turn_is_that_of_torch() -> None:
    image = noise((48, 48))
    turned = seen(image, distortions.affine((48, 48), angle=math.pi / 2))
    candidates = [torch.rot90(image, k, dims=(2, 3)) for k in (1, 3)]
    assert any(torch.allclose(turned, candidate, atol=1e-4) for candidate in candidates)


def test_affine_agrees_with_torchvision_inside() -> None:
    image = F.avg_pool2d(noise((70, 90)), 5, stride=1, padding=2)
    degrees, scale, (dy, dx) = 20.0, 1.15, (3.0, -4.0)
    ours = seen(image, distortions.affine((70, 90), angle=math.radians(degrees), scale=scale))
    both = [
        vision.affine(image, angle=sign * degrees, translate=[0, 0], scale=scale, shear=[0.0], interpolation="bilinear")
        for sign in (-1, 1)
    ]
    inside = (..., slice(25, 45), slice(30, 60))
    assert min(float((ours[inside] - theirs[inside]).abs().max()) for theirs in both) < 0.01
    shifted = seen(image, distortions.affine((70, 90), shift=(dy, dx)))
    torch.testing.assert_close(shifted[..., 10:60, 10:80], image[..., 13:63, 6:76], atol=1e-4, rtol=0)


def test_a_part_can_be_cut_out_while_it_is_placed() -> None:
    image = noise((64, 64))
    part = seen(image, distortions.affine((64, 64), shift=(8, -4), size=(32, 32)))
    torch.testing.assert_close(part, image[..., 24:56, 12:44], atol=1e-4, rtol=0)


def test_a_homography_brings_points_to_points() -> None:
    ends = torch.tensor([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    sources = torch.tensor([(-0.8, -0.9), (0.7, -1.0), (0.9, 0.8), (-1.0, 0.6)])
    grid = distortions.homography((400, 400), ends, sources)[0]
    for end, source in zip(ends, sources, strict=True):
        row, column = (0 if v < 0 else 399 for v in (end[1], end[0]))
        torch.testing.assert_close(grid[row, column], source, atol=0.01, rtol=0)


def test_stretched_cells_keep_the_order_and_the_border() -> None:
    for seed in range(5):
        grid = distortions.stretched_cells(SHAPE, 0.3, seeded(seed))[0]
        assert (grid[0, :, 0].diff() > 0).all() and (grid[:, 0, 1].diff() > 0).all()
        assert grid.abs().max() < 1
        assert (grid - distortions.identity(SHAPE)[0]).abs().max() > 0.01


def test_distances_of_moved_nodes_follow_their_deviation() -> None:
    steps = [distortions.moved_nodes((4, 4), 0.04, seeded(k)) - distortions.identity((4, 4)) for k in range(400)]
    assert float(torch.cat(steps).std()) == pytest.approx(0.08, rel=0.05)


# filters


def test_blurs_agree_with_scipy() -> None:
    image = noise()
    array = image[0].numpy()
    pairs = {
        "box": (filters.box_blur(image), ndimage.uniform_filter(array, (0, 3, 3), mode="mirror")),
        "median": (filters.median_blur(image), ndimage.median_filter(array, (1, 3, 3), mode="mirror")),
        "motion": (filters.motion_blur(image, 5, 0.0), ndimage.uniform_filter1d(array, 5, axis=2, mode="mirror")),
        "motion down": (
            filters.motion_blur(image, 7, math.pi / 2),
            ndimage.uniform_filter1d(array, 7, axis=1, mode="mirror"),
        ),
    }
    for name, (ours, theirs) in pairs.items():
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=2e-4, err_msg=name)


def test_motion_blur_keeps_the_mean_at_any_angle() -> None:
    image = torch.full((1, 3, 20, 20), 0.6)
    for angle in np.linspace(0, math.pi, 7):
        torch.testing.assert_close(filters.motion_blur(image, 7, float(angle)), image)


def test_sharpening_keeps_flat_parts_apart_from_lightness() -> None:
    flat = torch.full((1, 3, 12, 12), 0.5)
    torch.testing.assert_close(filters.sharpen(flat, 0.4, 1.0), flat)
    step = torch.cat([torch.full((1, 3, 12, 6), 0.4), torch.full((1, 3, 12, 6), 0.6)], dim=3)
    sharp = filters.sharpen(step, 0.3, 1.0)
    assert sharp[..., 6].mean() > 0.6 and sharp[..., 5].mean() < 0.4


def test_only_haematoxylin_and_eosin_change() -> None:
    image = 0.2 + 0.6 * noise((16, 16), count=6)
    out = filters.jitter_stains(image, seeded())

    def amounts(rgb: Tensor) -> np.ndarray:
        vectors = np.linalg.inv(hed_from_rgb)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        density = -np.log((rgb.numpy() * 255 + 1) / 256)
        return np.einsum("nchw,ck->nkhw", density, np.linalg.inv(vectors))

    before, after = amounts(image), amounts(out)
    untouched = (out.numpy() > 0.01).all(axis=1) & (out.numpy() < 0.99).all(axis=1)
    np.testing.assert_allclose(after[:, 2][untouched], before[:, 2][untouched], atol=2e-3)
    for k in range(6):
        for stain in range(2):
            x, y = before[k, stain][untouched[k]], after[k, stain][untouched[k]]
            factor, shift = np.polyfit(x, y, 1)
            assert 0.9 <= factor <= 1.1 and abs(shift) <= 0.051
    torch.testing.assert_close(filters.jitter_stains(image, seeded(), factor=0, shift=0), image, atol=1e-4, rtol=0)


def test_colour_changes_within_their_reach() -> None:
    image = 0.3 + 0.2 * noise()
    for seed in range(10):
        out = filters.jitter_colour(image, seeded(seed), brightness=0.2)
        ratio = (out / image).flatten()
        assert float(ratio.std()) < 1e-4 and 0.8 <= float(ratio.mean()) <= 1.2
    assert torch.equal(filters.jitter_colour(image, seeded()), image)
    turned = filters.jitter_colour(image, seeded(), hue=0.05)
    torch.testing.assert_close(turned.amax(dim=1), image.amax(dim=1), atol=1e-4, rtol=0)
    assert (turned - image).abs().max() > 1e-3


def test_noise_has_its_deviation() -> None:
    out = filters.add_noise(torch.full((1, 3, 80, 80), 0.5), 0.03, seeded())
    assert float(out.std()) == pytest.approx(0.03, rel=0.05)
