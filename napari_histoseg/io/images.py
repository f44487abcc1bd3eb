"""Opening image files: pixels as RGB, lazily where they are many, and the µm per pixel the file really states."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

TIFF_SUFFIXES = (".tif", ".tiff", ".svs")
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp")
"""File name endings that ``open_image`` understands."""

IN_MEMORY_BYTES = 64 << 20
"""Images whose largest level is at most this large are decoded at once; others are read tile by tile."""

COARSEST_MPP = 20.0
"""A TIFF resolution coarser than this is that of a screen or a printer (1200 dpi is 21 µm), not of a microscope."""

# What tifffile and the codecs raise for damaged files; they have no common base.
_READ_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def open_image(path: str | Path, mpp: float | None = None) -> ImageRef:
    """Reference to the image in a file.

    TIFF (plain, tiled, pyramid, OME-TIFF, Aperio SVS), PNG, JPEG and BMP. Of a multi-page TIFF the first image counts,
    with its pyramid.

    Parameters
    ----------
    path : str or Path
    mpp : float, optional
        µm per pixel, in place of what the file states. PNG, JPEG and BMP state none: their dpi is that of a screen.

    Raises
    ------
    InputError
        For a missing, damaged, empty, unsupported or non-planar file, in one sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no image file '{path}'; check the name.")
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); check its permissions.") from error
    if not head:
        raise InputError(f"'{path}' is an empty file; copy or export it again.")
    if head[128:132] == b"DICM":
        raise InputError(f"'{path}' is a DICOM file, which is not supported; export it as TIFF or OME-TIFF.")
    ref = _open_tiff(path) if head[:4] in _TIFF_HEADS else _open_raster(path)
    return ref if mpp is None else ref.with_mpp(mpp)


_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class TiffLevel:
    """One level of a TIFF's first image as a lazy (Y, X) or (Y, X, S) array.

    It can be pickled and opens the file again where it is used.
    """

    path: str
    level: int
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[Any]:
        by_axis = {"Y": index[0], "X": index[1], "S": slice(None)}
        stored = tuple(by_axis.get(axis, slice(None)) for axis in self.axes)
        try:
            return _planar(np.asarray(_open_level(self.path, self.level)[stored]), self.axes)
        except _READ_ERRORS as error:
            raise _unreadable(Path(self.path), error) from error


@lru_cache(maxsize=16)
def _open_level(path: str, level: int) -> Any:
    import tifffile
    import zarr

    return zarr.open(tifffile.imread(path, aszarr=True, series=0, level=level), mode="r")


def _open_tiff(path: Path) -> ImageRef:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            if not tiff.series:
                raise InputError(f"'{path}' holds no image; open another file.")
            series = tiff.series[0]
            _check_planar(series, path)
            is_small = series.nbytes <= IN_MEMORY_BYTES
            levels = [_level(path, series, k, is_small) for k in range(len(series.levels))]
            mpp = _tiff_mpp(tiff)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    data: Any = levels if len(levels) > 1 else levels[0]
    return image_from_array(data, name=path.name, mpp=mpp, rgb="S" in series.axes, path=str(path))


def _level(path: Path, series: TiffPageSeries, level: int, is_small: bool) -> Any:
    found = series.levels[level]
    if is_small:
        return _planar(found.asarray(), found.axes)
    sizes = dict(zip(found.axes, found.shape, strict=True))
    shape = tuple(int(sizes[axis]) for axis in "YXS" if axis in sizes)
    return TiffLevel(str(path), level, found.axes, shape, np.dtype(found.dtype))


def _planar(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """The (Y, X) or (Y, X, S) array of one whose other axes have length 1."""
    order = [axes.index(axis) for axis in "YXS" if axis in axes]
    others = [k for k in range(len(axes)) if k not in order]
    return pixels.transpose(others + order).reshape([pixels.shape[k] for k in order])


def _check_planar(series: TiffPageSeries, path: Path) -> None:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    planes = {axis: n for axis, n in sizes.items() if axis not in "YXS" and n > 1}
    if planes:
        text = ", ".join(f"{n} {_AXIS_NAMES.get(axis, 'planes')}" for axis, n in planes.items())
        raise InputError(
            f"'{path}' holds {text}; a flat grey or RGB image is needed, so export one plane or an RGB rendering first."
        )


_AXIS_NAMES = {"Z": "depths", "T": "times", "C": "channels", "I": "images", "Q": "planes"}


def _tiff_mpp(tiff: TiffFile) -> float | None:
    """µm per pixel as OME-XML, Aperio, ImageJ or the resolution tags state it; None when none of them does."""
    page = tiff.pages.first
    stated = (_ome_mpp(tiff.ome_metadata) if tiff.is_ome else None) or _aperio_mpp(page.description or "")
    for mpp in (stated, _imagej_mpp(tiff, page), _resolution_mpp(page)):
        if mpp is not None and 0.01 <= mpp <= COARSEST_MPP:
            return mpp
    return None


def _ome_mpp(xml: str | None) -> float | None:
    pixels = re.search(r"<Pixels\b[^>]*>", xml or "")
    size = re.search(r'\bPhysicalSizeX="([0-9.eE+-]+)"', pixels.group()) if pixels else None
    if pixels is None or size is None:
        return None
    unit = re.search(r'\bPhysicalSizeXUnit="([^"]+)"', pixels.group())
    factor = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3}.get(unit.group(1) if unit else "µm")
    return None if factor is None else float(size.group(1)) * factor


def _aperio_mpp(description: str) -> float | None:
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description) if description.startswith("Aperio") else None
    return float(found.group(1)) if found else None


def _imagej_mpp(tiff: TiffFile, page: TiffPage) -> float | None:
    unit = str((tiff.imagej_metadata or {}).get("unit", "")) if tiff.is_imagej else ""
    per_unit = _x_resolution(page)
    if per_unit is None or unit.replace("\\u00B5", "µ").casefold() not in ("micron", "microns", "µm", "um"):
        return None
    return 1 / per_unit


def _resolution_mpp(page: TiffPage) -> float | None:
    unit = page.tags.valueof("ResolutionUnit", 2)
    um_per_unit = {2: 25_400.0, 3: 10_000.0}.get(int(unit))
    per_unit = _x_resolution(page)
    return None if um_per_unit is None or per_unit is None else um_per_unit / per_unit


def _x_resolution(page: TiffPage) -> float | None:
    value = page.tags.valueof("XResolution")
    if not value or not value[0] or not value[1]:
        return None
    return float(value[0]) / float(value[1])


def _open_raster(path: Path) -> ImageRef:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = _raster_pixels(image)
    except UnidentifiedImageError as error:
        raise InputError(
            f"'{path}' is no image this program can read; it reads {', '.join(IMAGE_SUFFIXES)}."
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(f"'{path}' is too large for its format; convert it to a tiled TIFF.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error
    return image_from_array(pixels, name=path.name, path=str(path))


def _raster_pixels(image: Any) -> NDArray[Any]:
    """Pixels of an opened PIL image: (H, W) for grey, (H, W, 3 or 4) for colour; palettes are resolved."""
    if image.mode in ("RGB", "RGBA", "L", "I;16", "I;16B", "I", "F"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    has_alpha = image.mode in ("LA", "PA") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    return InputError(f"'{path}' cannot be read as an image ({reason}); it may be damaged, so copy or export it again.")
