"""Batches from corrections: tiles around edits, tiles that replay earlier rounds, tiles that keep old answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.augment import Appearance, dihedral, vary_stain
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fields import Field
from napari_histoseg.learning.guard import GuardTile
from napari_histoseg.learning.holdout import Region
from napari_histoseg.learning.plan import FineTunePlan

T = TypeVar("T")

_POINTS_PER_REGION = 512
_DRAW_POWER = 0.5
_GUARD_SHARE = 0.25
_NOT_LOOKED_AT_SHARE = 0.1
"""Of the guard tiles, from images nobody has corrected: more would hold on to the mistakes that are the same there."""


@dataclass(frozen=True, eq=False)
class Spot:
    """Where tiles may be centred: pixels of one class in one connected region."""

    field: int
    channel: int
    pixels: int
    points: NDArray[np.intp]
    """(n, 2) pixel positions (y, x) in the field; some of them when there are very many."""


def spots_of(
    fields: Sequence[Field],
    regions: Sequence[Region],
    allowed: Sequence[NDArray[np.bool_]],
    rng: np.random.Generator,
) -> list[Spot]:
    """One spot for each class of each region, where ``allowed``."""
    spots = []
    for region in regions:
        field = fields[region.field]
        box = region.box.relative_to(field.box)
        labels = np.where(allowed[region.field][box.slices], field.labels[box.slices], IGNORE)
        for channel in sorted(region.channels):
            points = np.argwhere(labels == channel)
            pixels = len(points)
            if len(points) > _POINTS_PER_REGION:
                points = points[rng.choice(len(points), _POINTS_PER_REGION, replace=False)]
            if len(points):
                spots.append(Spot(region.field, channel, pixels, points + (box.y0, box.x0)))
    return spots


def training_batches(
    fields: Sequence[Field],
    regions: Sequence[Region],
    held_out: Sequence[NDArray[np.bool_]],
    guards: Sequence[GuardTile],
    *,
    plan: FineTunePlan,
    num_classes: int,
    context_px: int = 0,
) -> Iterator[Batch]:
    """Endless batches, the same for the same input and seed.

    Edits: a class is drawn first, then a region that has it, then a pixel. Larger classes and regions are drawn more
    often, with the square root of their pixels: a small stroke counts far more than its area, yet a few pixels along
    an outline do not count as much as a large mistake. A tile shows the pixel off its centre. The weights of edited
    and of verified pixels are each divided by their sum over the batch, so that ``plan.edited_weight`` is the ratio of
    the two whole terms, however many pixels each has.

    Parameters
    ----------
    fields : sequence of Field
    regions : sequence of Region
        Of these fields.
    held_out : sequence of bool ndarray
        Per field, pixels that must not teach.
    guards : sequence of GuardTile
        May be empty.
    plan : FineTunePlan
    num_classes : int
        Output channels of the model.
    context_px : int
        Width of the border of a tile that the model only sees; the pixel drawn lies inside it.
    """
    rng = np.random.default_rng(plan.seed)
    generator = torch.Generator().manual_seed(plan.seed)
    teaching = [~mask for mask in held_out]
    fresh = spots_of(fields, regions, [t & ~f.learned for f, t in zip(fields, teaching, strict=True)], rng)
    replay = spots_of(fields, regions, [t & f.learned for f, t in zip(fields, teaching, strict=True)], rng)
    guard_count = max(1, round(_GUARD_SHARE * plan.batch_size)) if guards and plan.distill_weight > 0 else 0
    reach_px = (plan.tile_px - 2 * context_px) // 3
    appearance = Appearance(stain=plan.stain_jitter, stain_hue=plan.stain_jitter / 4)
    while True:
        tiles = []
        for _ in range(max(1, plan.batch_size - guard_count)):
            wants_replay = rng.random() < plan.replay_share
            spots = (replay if wants_replay else fresh) or fresh or replay
            place = _moved(_draw(spots, rng), reach_px, rng)
            tiles.append(_labelled_tile(place, fields, held_out, plan.tile_px, num_classes))
        tiles += [_guard_tile(_draw_guard(guards, rng), plan.tile_px, rng) for _ in range(guard_count)]
        batch = _stack(tiles, plan.edited_weight)
        yield _vary(batch, appearance, rng, generator)


@dataclass(frozen=True, eq=False)
class _Tile:
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    edited: NDArray[np.float32]
    verified: NDArray[np.float32]
    soft: NDArray[np.float32]
    soft_weight: NDArray[np.float32]


def _draw(spots: Sequence[Spot], rng: np.random.Generator) -> tuple[int, int, int]:
    """(field, y, x) of a labelled pixel: class first, then region, then pixel, the larger ones somewhat more often."""
    channels = sorted({spot.channel for spot in spots})
    channel = _weighted(channels, [sum(s.pixels for s in spots if s.channel == c) for c in channels], rng)
    own = [spot for spot in spots if spot.channel == channel]
    spot = _weighted(own, [spot.pixels for spot in own], rng)
    y, x = spot.points[int(rng.integers(len(spot.points)))]
    return spot.field, int(y), int(x)


def _weighted(choices: Sequence[T], pixels: Sequence[int], rng: np.random.Generator) -> T:
    """One choice, with a probability that rises with its pixels, but less than in proportion."""
    weight = np.asarray(pixels, float) ** _DRAW_POWER
    return choices[int(rng.choice(len(choices), p=weight / weight.sum()))]


def _draw_guard(guards: Sequence[GuardTile], rng: np.random.Generator) -> GuardTile:
    wants_other = rng.random() < _NOT_LOOKED_AT_SHARE
    drawn = [guard for guard in guards if (guard.kind == "other") == wants_other] or guards
    return drawn[int(rng.integers(len(drawn)))]


def _moved(place: tuple[int, int, int], reach_px: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """(field, y, x) at most that far away along each axis."""
    dy, dx = (int(rng.integers(-reach_px, reach_px + 1)) for _ in range(2))
    return place[0], place[1] + dy, place[2] + dx


def _labelled_tile(
    place: tuple[int, int, int],
    fields: Sequence[Field],
    held_out: Sequence[NDArray[np.bool_]],
    size: int,
    num_classes: int,
) -> _Tile:
    """The tile around (field, y, x)."""
    index, y, x = place
    field = fields[index]
    y0, x0 = _corner(y, field.box.height, size), _corner(x, field.box.width, size)
    cut = (slice(y0, y0 + size), slice(x0, x0 + size))
    free = ~held_out[index][cut]
    labels = np.where(free, field.labels[cut], np.uint8(IGNORE))
    return _Tile(
        _padded(field.pixels[cut], size, "reflect"),
        _padded(labels, size, IGNORE),
        _padded(field.edited[cut] * free, size, 0),
        _padded(field.verified[cut] * free, size, 0),
        np.zeros((num_classes, size, size), np.float32),
        np.zeros((size, size), np.float32),
    )


def _guard_tile(guard: GuardTile, size: int, rng: np.random.Generator) -> _Tile:
    height, width = guard.weight.shape
    y0, x0 = (int(rng.integers(0, max(0, length - size) + 1)) for length in (height, width))
    cut = (slice(y0, y0 + size), slice(x0, x0 + size))
    nothing = np.zeros((size, size), np.float32)
    soft = _padded(np.moveaxis(guard.soft, 0, -1)[cut], size, 0)
    return _Tile(
        _padded(guard.pixels[cut], size, "reflect"),
        np.full((size, size), IGNORE, np.uint8),
        nothing,
        nothing,
        np.moveaxis(soft, -1, 0),
        _padded(guard.weight[cut], size, 0),
    )


def _corner(centre: int, length: int, size: int) -> int:
    return int(np.clip(centre - size // 2, 0, max(0, length - size)))


def _padded(array: NDArray[Any], size: int, fill: int | Literal["reflect"]) -> NDArray[Any]:
    """``array`` (h, w, ...) grown at the bottom and right to ``size`` squared."""
    missing = [(0, size - array.shape[0]), (0, size - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
    if not any(after for _, after in missing):
        return array
    if fill == "reflect":
        return np.pad(array, missing, mode="symmetric")
    return np.pad(array, missing, constant_values=fill)


def _stack(tiles: Sequence[_Tile], edited_weight: float) -> Batch:
    def together(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(tile, name) for tile in tiles]))

    edited, verified = together("edited"), together("verified")
    tiny = torch.finfo(torch.float32).tiny
    weight = edited_weight * edited / edited.sum().clamp_min(tiny) + verified / verified.sum().clamp_min(tiny)
    return Batch(
        image=together("pixels").movedim(-1, 1).float().div_(255),
        labels=together("labels").long(),
        weight=weight,
        soft=together("soft"),
        soft_weight=together("soft_weight"),
    )


def _vary(batch: Batch, appearance: Appearance, rng: np.random.Generator, generator: torch.Generator) -> Batch:
    """The same orientation for the whole batch, another stain for each tile."""
    turned = dihedral(batch, int(rng.integers(8)))
    image = vary_stain(turned.image, appearance, generator, strength=torch.ones(turned.image.shape[0]))
    return replace(turned, image=image)
