"""Which corrections judge instead of teach: chosen once per region, then remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.fields import Field
from napari_histoseg.learning.snapshot import HeldOutBox

MIN_REGIONS = 4
"""With fewer separate regions all of them teach; one stroke of three is too much to give away."""

_CELL_PX = 128
_GAP_PX = 8
"""Pieces with at most this between them are one region: a stroke over a partly right place counts its mistakes only."""


@dataclass(frozen=True)
class Region:
    """A group of vouched-for pixels, or one cell of a large group.

    Parameters
    ----------
    field : int
        Index of its field.
    box : Box
        On the model's grid.
    channels : frozenset of int
        Output channels that occur in it.
    pixels : int
    """

    field: int
    box: Box
    channels: frozenset[int]
    pixels: int


def field_regions(index: int, field: Field) -> list[Region]:
    """Groups of labelled pixels, about one for each stroke; those larger than a cell are cut along a fixed grid."""
    from scipy import ndimage

    found: list[Region] = []
    known = field.labels != IGNORE
    parts, _ = ndimage.label(ndimage.maximum_filter(known, size=_GAP_PX + 1))
    parts[~known] = 0
    for number, where in enumerate(ndimage.find_objects(parts), start=1):
        box = Box(where[0].start, where[1].start, where[0].stop, where[1].stop)
        own = parts[box.slices] == number
        for cell in _cells(box, field.box):
            inside = own[cell.relative_to(box).slices]
            tight = Box.of_mask(inside)
            if tight.is_empty:
                continue
            channels = frozenset(np.unique(field.labels[cell.slices][inside]).tolist())
            place = tight.shift(cell.y0 + field.box.y0, cell.x0 + field.box.x0)
            found.append(Region(index, place, channels, int(inside.sum())))
    return found


def _cells(box: Box, field_box: Box) -> list[Box]:
    """``box`` itself when small, else its overlaps with the absolute grid of cells."""
    if max(box.shape) <= _CELL_PX:
        return [box]
    place = box.shift(field_box.y0, field_box.x0)
    grid = Box(place.y0 // _CELL_PX * _CELL_PX, place.x0 // _CELL_PX * _CELL_PX, place.y1, place.x1)
    return [cell.intersect(place).relative_to(field_box) for cell in grid.tiles(_CELL_PX)]


def choose_held_out(
    fields: Sequence[Field],
    regions: Sequence[Region],
    *,
    share: float,
    seed: int,
    remembered: Sequence[HeldOutBox] = (),
) -> tuple[HeldOutBox, ...]:
    """The remembered boxes and as many new ones as the share asks for, the same for the same input.

    A region is not taken when it is the last one that teaches any of its classes.

    Parameters
    ----------
    fields : sequence of Field
    regions : sequence of Region
        Of these fields.
    share : float
        Wanted share of the regions, 0 to 0.5.
    seed : int
    remembered : sequence of HeldOutBox
        From earlier rounds; all of them stay.
    """
    if share == 0:
        return tuple(remembered)
    masks = held_out_masks(fields, remembered)
    teaching: list[Region] = []
    for region in regions:
        held = masks[region.field][region.box.relative_to(fields[region.field].box).slices]
        if not held.all():
            teaching.append(region)
    wanted = max(1, round(share * len(regions))) if len(regions) >= MIN_REGIONS else 0
    wanted -= len(regions) - len(teaching)
    chosen = list(remembered)
    for region in sorted(teaching, key=lambda r: _rank(fields[r.field].content_id, r.box, seed)):
        if wanted <= 0:
            break
        rest = [other for other in teaching if other is not region]
        if all(any(channel in other.channels for other in rest) for channel in region.channels):
            teaching = rest
            wanted -= 1
            field = fields[region.field]
            chosen.append(HeldOutBox(field.content_id, region.box.scaled(1 / field.scale)))
    return tuple(chosen)


def held_out_masks(fields: Sequence[Field], boxes: Sequence[HeldOutBox]) -> list[NDArray[np.bool_]]:
    """Per field, the pixels that must not teach, shape of the field."""
    masks = []
    for field in fields:
        mask = np.zeros(field.box.shape, bool)
        for held in boxes:
            if held.content_id == field.content_id:
                place = held.box.scaled(field.scale).intersect(field.box)
                mask[place.relative_to(field.box).slices] = True
        masks.append(mask)
    return masks


def _rank(content_id: str, box: Box, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{content_id}:{box}".encode()).digest()
