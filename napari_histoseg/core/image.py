"""References to images: what a project remembers and how a job reads pixels, without a window."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError

MIN_SIDE_PX = 16
"""Smaller images hold nothing to segment, and instance normalisation cannot take them."""

_SAMPLE_PX = 256


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
    if pixels.dtype == np.uint8 and scale == 1.0 and channels != 4:
        return np.ascontiguousarray(pixels)
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
    top = levels[0]
    channels = _channels(top, name, rgb)
    sample = _sample(levels[-1])
    scale, notes = _value_scale(sample, np.dtype(top.dtype), name)
    if channels == 4:
        notes += ("The alpha channel was laid over white.",)
    if channels == 1:
        notes += ("The image is grey; models trained on colour stains may do poorly.",)
    ref = ImageRef(
        content_id=_content_id(top, sample),
        name=name,
        levels=tuple((int(level.shape[0]), int(level.shape[1])) for level in levels),
        mpp=None,
        source=ArraySource(levels, scale, channels),
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
    if low < 0:
        raise InputError(f"'{name}' holds negative values (down to {low:g}); rescale it to 0..1 or 0..255 first.")
    ceilings = (1.0, 255.0, 65535.0) if dtype.kind == "f" else (255.0, 4095.0, 65535.0)
    for ceiling in ceilings:
        if high <= ceiling:
            return 255.0 / ceiling, notes + (f"Values were read as 0 to {ceiling:g}.",)
    raise InputError(f"'{name}' holds values up to {high:g}; rescale it to 0..1, 0..255 or 0..65535 first.")


def _content_id(top: Any, sample: NDArray[Any]) -> str:
    """Digest of shape, type and pixels: all of them up to 64 MB in memory, a sparse grid beyond."""
    digest = hashlib.sha256(f"{tuple(top.shape)}{np.dtype(top.dtype).str}".encode())
    whole = isinstance(top, np.ndarray) and top.nbytes <= 64 << 20
    digest.update(np.ascontiguousarray(top if whole else sample).tobytes())
    return digest.hexdigest()[:32]
