"""The augmentations of the papers by name, drawn anew for every image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Generator, Tensor

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning import expansion
from napari_histoseg.learning.augment import dihedral, map_planes, warp
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.distortions import (
    RADIAL,
    affine,
    jittered,
    moved_nodes,
    perspective,
    radial,
    sheared,
    stretched_cells,
    uniform,
)
from napari_histoseg.learning.filters import (
    add_noise,
    box_blur,
    jitter_colour,
    jitter_stains,
    median_blur,
    motion_blur,
    sharpen,
)

Augmentation = Callable[[Batch, Generator], Batch]
"""Changes a batch, with the generator as the only source of randomness."""

T = TypeVar("T")

_GREY_LEVELS = 255.0


def make_augmentation(name: str, *, crop_px: int | None = None) -> Augmentation:
    """The augmentation of that name.

    Parameters
    ----------
    name : str
        One of `AUGMENTATIONS`.
    crop_px : int, optional
        Side of the square that is cut out at a random place; by default that of the paper, if it has one. 0 cuts
        nothing.

    Returns
    -------
    callable
        ``(Batch, Generator) -> Batch``. Every image gets its own random numbers. Images are interpolated bilinearly and
        mirrored beyond their border; labels take the nearest pixel and are ``IGNORE`` there, so that no class appears
        that an image did not have. Quarter turns are left out for images that are not square.

    Raises
    ------
    InputError
        When there is no such augmentation; names the nearest.
    """
    if name not in _CHANGES:
        raise InputError(f"There is no augmentation '{name}'; {suggestion(name, _CHANGES)}")
    change, cut = _CHANGES[name], _zoomed if name == "cellularity_segmentation" else _cropped
    side_px = _CROPS_PX.get(name, 0) if crop_px is None else crop_px

    def augment(batch: Batch, generator: Generator) -> Batch:
        return _joined([change(cut(single, side_px, generator), generator) for single in _singles(batch)])

    return augment


def _none(batch: Batch, _generator: Generator) -> Batch:
    return batch


def _mirrors(batch: Batch, generator: Generator) -> Batch:
    """One of the three images of the offline expansion (Abdulhamid)."""
    return _drawn(expansion.MIRRORED, generator).change(batch)


def _mirrors_noise(batch: Batch, generator: Generator) -> Batch:
    """What the author of the mirrors wished for besides: Gaussian noise."""
    batch = _mirrors(batch, generator)
    return replace(batch, image=add_noise(batch.image, uniform(generator, 0.01, 0.05), generator))


def _micronet(batch: Batch, generator: Generator) -> Batch:
    """One of the 29 images of the offline expansion (Bhatt et al.), the lenses weaker or stronger by up to 30 %."""
    drawn = _drawn(expansion.MICRONET, generator)
    if drawn.name in RADIAL:
        k1, k2 = jittered(RADIAL[drawn.name], 0.3, generator)
        return expansion.distort(batch, k1=k1, k2=k2)
    if drawn.name in ("rotate_90", "rotate_270") and not _is_square(batch):
        return batch
    return drawn.change(batch)


def _cellularity_score(batch: Batch, generator: Generator) -> Batch:
    """Quarter turns, flips and other colours (Wang et al., regression)."""
    batch = _flipped(_turned(batch, generator), generator)
    image = jitter_colour(batch.image, generator, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
    return replace(batch, image=image)


def _unetsharp(batch: Batch, generator: Generator) -> Batch:
    """The ordered list of U-Net# (Stagys): placement, noise, blur, affine, one distortion, one change of tone."""
    for share, step in _UNETSHARP_STEPS:
        if float(torch.rand((), generator=generator)) < share:
            batch = step(batch, generator)
    return batch


def _stain(batch: Batch, generator: Generator) -> Batch:
    """Any orientation, other amounts of the stains, another hue."""
    batch = _flipped(_turned(batch, generator), generator)
    return replace(batch, image=jitter_colour(jitter_stains(batch.image, generator), generator, hue=0.05))


def _turned(batch: Batch, generator: Generator) -> Batch:
    quarters = int(torch.randint(4, (), generator=generator))
    return dihedral(batch, quarters if _is_square(batch) else 2 * (quarters % 2))


def _flipped(batch: Batch, generator: Generator) -> Batch:
    """Left and right, and top and bottom, each with a chance of one half."""
    drawn = torch.rand(2, generator=generator) < 0.5
    axes = tuple(axis for axis, is_drawn in zip((-1, -2), drawn.tolist(), strict=True) if is_drawn)
    return expansion.mirror(batch, axes=axes)


def _any_flip(batch: Batch, generator: Generator) -> Batch:
    return _drawn(expansion.FLIPS, generator).change(batch)


def _transposed(batch: Batch, _generator: Generator) -> Batch:
    return map_planes(batch, lambda tensor: tensor.mT) if _is_square(batch) else batch


def _noisy(batch: Batch, generator: Generator) -> Batch:
    """Noise by its deviation or by its variance in grey levels."""
    by_deviation = uniform(generator, 0.01, 0.05)
    by_variance = math.sqrt(uniform(generator, 10, 50)) / _GREY_LEVELS
    sd = _drawn((by_deviation, by_variance), generator)
    return replace(batch, image=add_noise(batch.image, sd, generator))


def _out_of_focus(batch: Batch, generator: Generator) -> Batch:
    length_px, angle = 3 + 2 * int(torch.randint(3, (), generator=generator)), uniform(generator, 0, math.pi)
    motion = partial(motion_blur, length_px=length_px, angle=angle)
    blurs: tuple[Callable[[Tensor], Tensor], ...] = (motion, median_blur, box_blur)
    blur = _drawn(blurs, generator, (0.2, 0.3, 0.5))
    return replace(batch, image=blur(batch.image))


def _moved(batch: Batch, generator: Generator) -> Batch:
    shape = _shape_of(batch)
    shift = (uniform(generator, -0.0625, 0.0625) * shape[0], uniform(generator, -0.0625, 0.0625) * shape[1])
    angle, scale = math.radians(uniform(generator, -45, 45)), uniform(generator, 0.8, 1.2)
    return warp(batch, affine(shape, angle=angle, scale=scale, shift=shift).to(batch.image.device))


def _bent(batch: Batch, generator: Generator) -> Batch:
    """One distortion; of the elastic one only the affine part, since waves of 1 px smoothed over 50 px are none."""
    shape = _shape_of(batch)
    bend = _drawn((_lens, _stretched, _nodes, _tilted, _sheared), generator)
    return warp(batch, bend(shape, generator).to(batch.image.device))


def _lens(shape: tuple[int, int], generator: Generator) -> Tensor:
    k = uniform(generator, -0.05, 0.05)
    return radial(shape, k, k)


def _stretched(shape: tuple[int, int], generator: Generator) -> Tensor:
    return stretched_cells(shape, 0.3, generator)


def _nodes(shape: tuple[int, int], generator: Generator) -> Tensor:
    return moved_nodes(shape, uniform(generator, 0.03, 0.05), generator)


def _tilted(shape: tuple[int, int], generator: Generator) -> Tensor:
    return perspective(shape, uniform(generator, 0.05, 0.1), generator)


def _sheared(shape: tuple[int, int], generator: Generator) -> Tensor:
    return sheared(shape, 50, generator)


def _toned(batch: Batch, generator: Generator) -> Batch:
    sharper = partial(sharpen, share=uniform(generator, 0.2, 0.5), lightness=uniform(generator, 0.5, 1.0))
    contrast = partial(jitter_colour, generator=generator, contrast=0.2)
    brightness = partial(jitter_colour, generator=generator, brightness=0.2)
    change = _drawn((sharper, contrast, brightness), generator)
    return replace(batch, image=change(batch.image))


_UNETSHARP_STEPS: tuple[tuple[float, Augmentation], ...] = (
    (0.5, _turned),
    (0.5, _any_flip),
    (0.5, _transposed),
    (0.2, _noisy),
    (0.2, _out_of_focus),
    (0.2, _moved),
    (0.3, _bent),
    (0.3, _toned),
)

_CHANGES: dict[str, Augmentation] = {
    "none": _none,
    "mirrors": _mirrors,
    "mirrors_noise": _mirrors_noise,
    "micronet": _micronet,
    "cellularity_segmentation": _flipped,
    "cellularity_score": _cellularity_score,
    "unetsharp": _unetsharp,
    "stain": _stain,
}

_CROPS_PX = {"cellularity_segmentation": 256, "unetsharp": 224}

AUGMENTATIONS = tuple(_CHANGES)
"""Names of `make_augmentation`."""


def _cropped(batch: Batch, side_px: int, generator: Generator) -> Batch:
    """A square at a random place; along sides that are not longer, and for 0, everything."""
    place = []
    for length in _shape_of(batch):
        kept = min(side_px, length) or length
        start = int(torch.randint(length - kept + 1, (), generator=generator))
        place.append(slice(start, start + kept))
    return map_planes(batch, lambda tensor: tensor[..., place[0], place[1]])


def _zoomed(batch: Batch, side_px: int, generator: Generator) -> Batch:
    """A square at a random place, magnified by 0.8 to 1.2, of exactly that size; 0 is the size of the image."""
    shape = _shape_of(batch)
    size = (side_px or shape[0], side_px or shape[1])
    scale = uniform(generator, 0.8, 1.2)
    room = [max(0.0, n - m / scale) / 2 for n, m in zip(shape, size, strict=True)]
    shift = (uniform(generator, -room[0], room[0]), uniform(generator, -room[1], room[1]))
    return warp(batch, affine(shape, scale=scale, shift=shift, size=size).to(batch.image.device))


def _drawn(choices: Sequence[T], generator: Generator, weights: Sequence[float] | None = None) -> T:
    """One of the choices, all as likely unless weighted."""
    chances = torch.tensor(weights or [1.0] * len(choices))
    return choices[int(torch.multinomial(chances, 1, generator=generator))]


def _shape_of(batch: Batch) -> tuple[int, int]:
    return batch.image.shape[-2], batch.image.shape[-1]


def _is_square(batch: Batch) -> bool:
    return batch.image.shape[-2] == batch.image.shape[-1]


def _singles(batch: Batch) -> list[Batch]:
    parts = {f.name: value for f in fields(batch) if (value := getattr(batch, f.name)) is not None}
    return [Batch(**{name: value[k : k + 1] for name, value in parts.items()}) for k in range(len(batch.image))]


def _joined(batches: list[Batch]) -> Batch:
    names = [f.name for f in fields(Batch) if getattr(batches[0], f.name) is not None]
    return Batch(**{name: torch.cat([getattr(b, name) for b in batches]) for name in names})
