"""References to images: what a project remembers and how a job reads pixels, without a window."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError

MIN_SIDE_PX = 16
"""Smaller images hold nothing to segment, and instance normalisation cannot take them."""

_SAMPLE_PX = 256
_WHOLE_PIXELS = 1 << 22
_WINDOWS = 4
_WINDOW_PX = 128


class PixelSource(Protocol):
    """Where pixels come from; it can be pickled and read from any thread."""

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """RGB pixels of a box inside the level, shape (H, W, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class ImageRef:
    """One image: who it is, how large, at which resolution, and how to read it lazily.

    Parameters
    ----------
    content_id : str
        Hexadecimal digest of the content: the same pixels have the same id wherever they lie.
    name : str
        Shown to the person; need not be unique.
    levels : tuple of (int, int)
        (height, width) in pixels of each pyramid level, the largest first.
    mpp : float or None
        µm per pixel of level 0; None when nobody has said it yet.
    source : PixelSource
        Reader of the pixels.
    path : str or None
        The file the pixels come from, if any.
    notes : tuple of str
        Sentences about how the pixels were understood (an alpha channel dropped, NaN shown as white).
    """

    content_id: str
    name: str
    levels: tuple[tuple[int, int], ...]
    mpp: float | None
    source: PixelSource
    path: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of level 0 in pixels."""
        return self.levels[0]

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """RGB pixels of ``box`` in the coordinates of ``level``, shape (H, W, 3), uint8.

        Raises
        ------
        InputError
            When the box reaches outside the level.
        """
        if not Box.of_shape(self.levels[level]).contains(box) or box.is_empty:
            raise InputError(f"{box} is not inside level {level} of '{self.name}', which is {self.levels[level]}.")
        return self.source.read(level, box)

    def with_mpp(self, mpp: float) -> ImageRef:
        if not 0.01 <= mpp <= 100:
            raise InputError(f"{mpp} µm per pixel is not a microscope's resolution; give a value between 0.01 and 100.")
        return replace(self, mpp=float(mpp))


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Pixels of array-like levels (numpy, dask, zarr), turned into RGB uint8 box by box.

    ``scale`` maps stored values to 0..255; ``channels`` is 1 (grey), 3 (RGB) or 4 (RGBA).
    """

    levels: tuple[Any, ...]
    scale: float
    channels: int

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        pixels = np.asarray(self.levels[level][box.slices])
        return to_rgb8(pixels, scale=self.scale, channels=self.channels)


def to_rgb8(pixels: NDArray[Any], *, scale: float, channels: int) -> NDArray[np.uint8]:
    """RGB uint8 of grey, RGB or RGBA pixels; NaN becomes white and alpha is laid over white.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (H, W, C)
    scale : float
        Factor that brings the stored values to 0..255.
    channels : int
        1, 3 or 4.
    """
    if channels == 1:
        grey = pixels.reshape(pixels.shape[:2])
        pixels = np.repeat(grey[..., None], 3, axis=2)
    if pixels.dtype == np.uint8 and scale == 1.0 and (channels != 4 or (pixels[..., 3] == 255).all()):
        return np.ascontiguousarray(pixels[..., :3])
    values = np.nan_to_num(pixels.astype(np.float32) * scale, nan=255.0, posinf=255.0, neginf=0.0)
    if channels == 4:
        alpha = np.clip(values[..., 3:] / 255.0, 0.0, 1.0)
        values = values[..., :3] * alpha + 255.0 * (1.0 - alpha)
    rgb: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rgb


def image_from_array(
    data: Any, *, name: str, mpp: float | None = None, rgb: bool | None = None, path: str | None = None
) -> ImageRef:
    """Reference to an array or a list of pyramid levels.

    Parameters
    ----------
    data : array-like or sequence of array-like
        (H, W), (H, W, 3) or (H, W, 4); bool is refused; uint8, uint16, float and other integers are understood.
        Anything with ``shape``, ``dtype`` and slicing works: numpy, dask, zarr. A sequence is a pyramid, largest first.
    name : str
        Shown in messages.
    mpp : float, optional
        µm per pixel of the largest level.
    rgb : bool, optional
        Whether the last axis holds colours; by default when it has length 3 or 4.
    path : str, optional
        File the data came from.

    Raises
    ------
    InputError
        For empty, tiny, all-NaN, boolean, complex or higher-dimensional data, in one sentence.
    """
    is_pyramid = isinstance(data, Sequence) or type(data).__name__ == "MultiScaleData"
    levels = tuple(data) if is_pyramid else (data,)
    if not levels:
        raise InputError(f"'{name}' holds no pixels; open another image.")
    if not all(hasattr(level, "shape") and hasattr(level, "dtype") for level in levels):
        raise InputError(f"'{name}' is no array of pixels but {type(data).__name__}; open an image.")
    top = levels[0]
    channels = _channels(top, name, rgb)
    shapes = _shapes(levels, name)
    scale, notes = _value_scale(_sample(levels[-1]), np.dtype(top.dtype), name)
    if channels == 4:
        notes += ("The alpha channel was laid over white.",)
    if channels == 1:
        notes += ("The image is grey; models trained on colour stains may do poorly.",)
    source = ArraySource(levels, scale, channels)
    ref = ImageRef(
        content_id=_content_id(source, shapes[0]),
        name=name,
        levels=shapes,
        mpp=None,
        source=source,
        path=path,
        notes=notes,
    )
    return ref if mpp is None else ref.with_mpp(mpp)


def _channels(top: Any, name: str, rgb: bool | None) -> int:
    shape = tuple(int(n) for n in top.shape)
    if 0 in shape or not shape:
        raise InputError(f"'{name}' is empty (shape {shape}); open an image with pixels.")
    colour = rgb if rgb is not None else (len(shape) == 3 and shape[-1] in (3, 4))
    spatial = shape[:-1] if colour else shape
    if len(spatial) != 2 or (colour and shape[-1] not in (3, 4)):
        raise InputError(
            f"'{name}' has shape {shape}; a flat grey, RGB or RGBA image is needed, so export one plane "
            "of a stack or volume first."
        )
    if min(spatial) < MIN_SIDE_PX:
        raise InputError(
            f"'{name}' is {spatial[0]} x {spatial[1]} px; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} px are needed."
        )
    return shape[-1] if colour else 1


def _shapes(levels: tuple[Any, ...], name: str) -> tuple[tuple[int, int], ...]:
    """(height, width) of each level, which must shrink from one to the next."""
    shapes = tuple((int(level.shape[0]), int(level.shape[1])) for level in levels)
    for larger, smaller in itertools.pairwise(shapes):
        if 0 in smaller or smaller[0] > larger[0] or smaller[1] > larger[1]:
            raise InputError(
                f"The levels of '{name}' have the sizes {shapes}; give them from the largest to the smallest."
            )
    return shapes


def _sample(level: Any) -> NDArray[Any]:
    """A sparse grid of pixels, cheap to read from a lazy array."""
    step_y = max(1, int(level.shape[0]) // _SAMPLE_PX)
    step_x = max(1, int(level.shape[1]) // _SAMPLE_PX)
    if step_y * step_x > 64:  # a huge single-level lazy image: one window instead of touching every chunk
        y, x = (int(n) // 2 for n in level.shape[:2])
        return np.asarray(level[y : y + _SAMPLE_PX, x : x + _SAMPLE_PX])
    return np.asarray(level[::step_y, ::step_x])


def _value_scale(sample: NDArray[Any], dtype: np.dtype[Any], name: str) -> tuple[float, tuple[str, ...]]:
    """The factor to 0..255 and what to tell the person about it."""
    if dtype == np.uint8:
        return 1.0, ()
    if dtype.kind not in "uif":
        raise InputError(f"'{name}' holds {dtype} values; an image of numbers (8-bit, 16-bit or float) is needed.")
    finite = sample[np.isfinite(sample)] if dtype.kind == "f" else sample
    if finite.size == 0:
        raise InputError(f"'{name}' holds only NaN or infinite values; open another image.")
    notes: tuple[str, ...] = ()
    if finite.size < sample.size:
        notes = ("Pixels without a number (NaN) are shown as white.",)
    low, high = float(finite.min()), float(finite.max())
    # Resampling lets float images overshoot their range a little; that is clipped and no reason to read 1.0 as black.
    slack = 1.1 if dtype.kind == "f" else 1.0
    ceilings = (1.0, 255.0, 65535.0) if dtype.kind == "f" else (255.0, 4095.0, 65535.0)
    for ceiling in ceilings:
        if high > ceiling * slack:
            continue
        if low < ceiling * (1.0 - slack):
            raise InputError(f"'{name}' holds negative values (down to {low:g}); rescale it to 0..1 or 0..255 first.")
        return 255.0 / ceiling, notes + (f"Values were read as 0 to {ceiling:g}.",)
    raise InputError(f"'{name}' holds values up to {high:g}; rescale it to 0..1, 0..255 or 0..65535 first.")


def _content_id(source: PixelSource, shape: tuple[int, int]) -> str:
    """Digest of the size and the RGB pixels: all of them up to 4 million, a grid of windows beyond.

    It depends on what is seen and not on how it is stored, so that an image file, a lazy array and an array in memory
    of the same pixels are known as one image.
    """
    digest = hashlib.sha256(f"{shape}".encode())
    whole = Box.of_shape(shape)
    for box in whole.tiles(_WINDOW_PX * 16) if whole.area <= _WHOLE_PIXELS else _windows(whole):
        digest.update(source.read(0, box).tobytes())
    return digest.hexdigest()[:32]


def _windows(whole: Box) -> Iterator[Box]:
    for row in range(_WINDOWS):
        for column in range(_WINDOWS):
            y = (2 * row + 1) * whole.height // (2 * _WINDOWS)
            x = (2 * column + 1) * whole.width // (2 * _WINDOWS)
            yield Box(y, x, y + _WINDOW_PX, x + _WINDOW_PX).intersect(whole)
