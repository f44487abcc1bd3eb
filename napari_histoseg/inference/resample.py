"""The image as a model sees it: resampled to the model's µm per pixel, read box by box."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.grid import grid_shape, resized
from napari_histoseg.core.image import ImageRef

SAME_SCALE = 0.03
"""Within this share of the model's resolution an image is fed as it is: resampling would only blur it."""

_BLOCK_PX = 256
_KEPT_BLOCKS = 128


class ModelGrid:
    """An image on the pixel grid of a model.

    The grid is cut into fixed blocks, each of which is always resampled by the same call. A box therefore holds the
    same values to the last bit whichever tile asks for it, which makes results independent of the tiling.

    Parameters
    ----------
    image : ImageRef
    mpp : float
        µm per pixel of the model.

    Raises
    ------
    InputError
        When the image's µm per pixel is unknown.
    """

    def __init__(self, image: ImageRef, mpp: float) -> None:
        if image.mpp is None:
            raise InputError(
                f"The resolution of '{image.name}' is unknown; say how many µm one pixel measures (--mpp)."
            )
        scale = image.mpp / mpp
        if abs(scale - 1) <= SAME_SCALE:
            scale = 1.0
        self.image = image
        self.shape = grid_shape(image.shape, scale)
        self.level = _level_for(image, self.shape)
        self._blocks: OrderedDict[Box, NDArray[np.uint8]] = OrderedDict()

    @property
    def scale(self) -> tuple[float, float]:
        """Model pixels per image pixel, (y, x)."""
        return self.shape[0] / self.image.shape[0], self.shape[1] / self.image.shape[1]

    def to_model(self, box: Box, margin_px: int = 0) -> Box:
        """The grid's pixels that cover ``box`` of the image, with a margin, cut to the grid."""
        sy, sx = self.scale
        covering = Box(math.floor(box.y0 * sy), math.floor(box.x0 * sx), math.ceil(box.y1 * sy), math.ceil(box.x1 * sx))
        return covering.pad(margin_px).clip(self.shape)

    def read(self, box: Box) -> NDArray[np.uint8]:
        """RGB pixels of ``box`` of the grid, shape (H, W, 3)."""
        if self.image.levels[self.level] == self.shape:
            return self.image.read(self.level, box)
        pixels = np.empty((*box.shape, 3), np.uint8)
        for y in range(box.y0 // _BLOCK_PX, -(-box.y1 // _BLOCK_PX)):
            for x in range(box.x0 // _BLOCK_PX, -(-box.x1 // _BLOCK_PX)):
                block = Box(y, x, y + 1, x + 1).scaled(_BLOCK_PX).clip(self.shape)
                part = block.intersect(box)
                pixels[part.relative_to(box).slices] = self._block(block)[part.relative_to(block).slices]
        return pixels

    def _block(self, block: Box) -> NDArray[np.uint8]:
        if block in self._blocks:
            self._blocks.move_to_end(block)
        else:
            self._blocks[block] = self._resample(block)
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return self._blocks[block]

    def _resample(self, block: Box) -> NDArray[np.uint8]:
        """One block by a triangle filter over the source, wide enough not to alias."""
        level_shape = self.image.levels[self.level]
        fy, fx = level_shape[0] / self.shape[0], level_shape[1] / self.shape[1]
        reach = math.ceil(max(fy, fx, 1.0)) + 1
        source = Box(
            math.floor(block.y0 * fy) - reach,
            math.floor(block.x0 * fx) - reach,
            math.ceil(block.y1 * fy) + reach,
            math.ceil(block.x1 * fx) + reach,
        ).clip(level_shape)
        region = (
            max(0.0, block.x0 * fx - source.x0),
            max(0.0, block.y0 * fy - source.y0),
            min(float(source.width), block.x1 * fx - source.x0),
            min(float(source.height), block.y1 * fy - source.y0),
        )
        return resized(self.image.read(self.level, source), block.shape, region)


def _level_for(image: ImageRef, shape: tuple[int, int]) -> int:
    """The coarsest pyramid level that is not coarser than a grid of this shape."""
    fitting = [i for i, level in enumerate(image.levels) if level[0] >= shape[0] and level[1] >= shape[1]]
    return fitting[-1] if fitting else 0


def enlarge(values: NDArray[np.float32], have: Box, grid: ModelGrid, box: Box) -> NDArray[np.float32]:
    """Values of the model grid at the pixels of the image, by bilinear interpolation.

    Parameters
    ----------
    values : ndarray of float32, shape (C, h, w)
        On the box ``have`` of the grid, which must reach one pixel beyond ``box`` where the grid does.
    have : Box
        In pixels of the grid.
    grid : ModelGrid
    box : Box
        In pixels of the image.

    Returns
    -------
    ndarray of float32, shape (C, box.height, box.width)
    """
    if grid.shape == grid.image.shape:
        part = box.relative_to(have)
        return values[:, *part.slices]
    y, ty = _taps(box.y0, box.y1, grid.scale[0], grid.shape[0], have.y0)
    x, tx = _taps(box.x0, box.x1, grid.scale[1], grid.shape[1], have.x0)
    rows = values[:, y[0]] * (1 - ty)[:, None] + values[:, y[1]] * ty[:, None]
    return np.asarray(rows[:, :, x[0]] * (1 - tx) + rows[:, :, x[1]] * tx, np.float32)


def _taps(
    start: int, stop: int, scale: float, size: int, origin: int
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32]]:
    """Indices of the two neighbours of each image pixel on the grid, from ``origin``, and the weight of the second."""
    position = np.clip((np.arange(start, stop) + 0.5) * scale - 0.5, 0, size - 1)
    first = np.floor(position).astype(np.intp)
    second = np.minimum(first + 1, size - 1)
    return (first - origin, second - origin), (position - first).astype(np.float32)
