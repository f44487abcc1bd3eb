"""Pixels, labels and trust of corrected places, brought to the resolution at which the model looks at tissue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_histoseg.core.box import Box
from napari_histoseg.core.grid import grid_shape, resized
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.snapshot import TrainingImage

_BLOCK_PX = 1024
_EDITED, _VERIFIED = 1, 2


@dataclass(frozen=True, eq=False)
class Field:
    """A rectangle of an image on the model's grid, with what is known about it.

    Parameters
    ----------
    content_id : str
        Of the image.
    box : Box
        On the model's grid.
    scale : float
        Model pixels per image pixel.
    pixels : ndarray of uint8, shape (h, w, 3)
    labels : ndarray of uint8, shape (h, w)
        Output channel of the right class, ``IGNORE`` where nobody vouched for one.
    edited, verified : ndarray of float32, shape (h, w)
        Share of the pixel's area that was edited or verified as the class in ``labels``, 0 to 1.
    learned : ndarray of bool, shape (h, w)
        Known to an earlier round.
    """

    content_id: str
    box: Box
    scale: float
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    edited: NDArray[np.float32]
    verified: NDArray[np.float32]
    learned: NDArray[np.bool_]


def read_on_grid(image: ImageRef, box: Box, scale: float) -> NDArray[np.uint8]:
    """RGB pixels of a box on the model's grid.

    Parameters
    ----------
    image : ImageRef
    box : Box
        Inside ``grid_shape(image.shape, scale)``.
    scale : float
        Model pixels per pixel of level 0.

    Returns
    -------
    ndarray of uint8, shape (box.height, box.width, 3)
        Area-weighted when shrinking, bilinear when growing.
    """
    level = max(
        (k for k, (h, _) in enumerate(image.levels) if h * 1.001 >= image.shape[0] * min(1.0, scale)), default=0
    )
    height, width = image.levels[level]
    zoom = scale * image.shape[0] / height
    margin = int(np.ceil(2 * max(1.0, 1 / zoom))) + 1
    source = box.scaled(1 / zoom).pad(margin)
    inside = source.clip((height, width))
    pixels = np.pad(image.read(level, inside), [*_overhang(source, inside), (0, 0)], mode="edge")
    return resized(pixels, box.shape, _within(box, zoom, source))


def _overhang(outer: Box, inner: Box) -> list[tuple[int, int]]:
    """How many rows and columns ``outer`` reaches beyond ``inner``, as `numpy.pad` takes them."""
    return [(inner.y0 - outer.y0, outer.y1 - inner.y1), (inner.x0 - outer.x0, outer.x1 - inner.x1)]


def _within(box: Box, scale: float, source: Box) -> tuple[float, float, float, float]:
    """Where the grid pixels of ``box`` lie in pixels that show ``source``, as `resized` takes it."""
    left, top = box.x0 / scale - source.x0, box.y0 / scale - source.y0
    return left, top, box.x1 / scale - source.x0, box.y1 / scale - source.y0


def fields_of(item: TrainingImage, *, channels: NDArray[np.uint8], mpp: float, margin_px: int) -> Iterator[Field]:
    """The fields that hold all vouched-for pixels of an image, one at a time.

    Parameters
    ----------
    item : TrainingImage
    channels : ndarray of uint8, shape (256,)
        ``channels[class id]`` is the model's output channel, ``IGNORE`` for classes that it does not have.
    mpp : float
        µm per pixel of the model.
    margin_px : int
        Context around the vouched-for pixels, in model pixels.

    Yields
    ------
    Field
        At most about 1024 pixels wide and high plus margins.
    """
    scale = (item.image.mpp or mpp) / mpp
    known = (item.state > 0) & (channels[item.labels] != IGNORE)
    grid = grid_shape(item.image.shape, scale)
    for block in Box.of_shape(grid).tiles(_BLOCK_PX):
        place = block.scaled(1 / scale).clip(known.shape)
        tight = Box.of_mask(known[place.slices])
        if tight.is_empty:
            continue
        inner = tight.shift(place.y0, place.x0).scaled(scale).intersect(block)
        if inner.is_empty:
            continue
        yield _field(item, inner.pad(margin_px).clip(grid), inner, scale, channels)


def _field(item: TrainingImage, box: Box, inner: Box, scale: float, channels: NDArray[np.uint8]) -> Field:
    """``box`` with the labels inside ``inner``; what lies around it belongs to the neighbouring block."""
    source = box.scaled(1 / scale).pad(1)
    within = source.clip(item.image.shape)
    labels = channels[item.labels[within.slices]]
    state = item.state[within.slices]
    inside = np.zeros(box.shape, bool)
    inside[inner.relative_to(box).slices] = True

    def coverage(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        if not mask.any():
            return np.zeros(box.shape, np.float32)
        area = np.pad(mask.astype(np.float32), _overhang(source, within))
        shares = resized(area, box.shape, _within(box, scale, source), Image.Resampling.BOX)
        return np.asarray(np.clip(shares, 0.0, 1.0) * inside, np.float32)

    best = np.zeros(box.shape, np.float32)
    edited, verified = np.zeros_like(best), np.zeros_like(best)
    winner = np.full(box.shape, IGNORE, np.uint8)
    for channel in np.unique(labels[(state > 0) & (labels != IGNORE)]):
        own = labels == channel
        by_edit, by_view = coverage(own & (state == _EDITED)), coverage(own & (state == _VERIFIED))
        wins = by_edit + by_view > best + 1e-4
        winner[wins] = channel
        best, edited, verified = (
            np.where(wins, new, old) for new, old in ((by_edit + by_view, best), (by_edit, edited), (by_view, verified))
        )
    learned = np.zeros(box.shape, bool) if item.learned is None else coverage(item.learned[within.slices]) > 0.5
    pixels = read_on_grid(item.image, box, scale)
    return Field(item.image.content_id, box, scale, pixels, winner, edited, verified, learned)
