"""The numbers that an image file stores, whatever they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError


def read_array(path: Path) -> NDArray[Any]:
    """Values of a TIFF, PNG or BMP as they are stored; a palette is not resolved, and axes of length 1 are dropped.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    read = _read_tiff if path.suffix.lower() in (".tif", ".tiff") else _read_raster
    try:
        return read(path)
    except (OSError, SyntaxError, ValueError, RuntimeError, LookupError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); export it again.") from error


def _read_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    return np.squeeze(np.asarray(tifffile.imread(path, series=0, level=0)))


def _read_raster(path: Path) -> NDArray[Any]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)
