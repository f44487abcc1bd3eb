"""Label files: class ids in and out, in the formats other programs read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.arrays import read_array
from napari_histoseg.io.colors import labels_in_colors

LABEL_FORMATS = ("tif", "ome-zarr", "png", "geojson")
"""Formats of ``write_labels``."""

_SUFFIXES = {"tif": ".tif", "ome-zarr": ".ome.zarr", "png": ".png", "geojson": ".geojson"}
_TILE_PX = 512


def read_labels(path: str | Path, schema: LabelSchema | None = None) -> NDArray[np.uint8]:
    """Label values of a TIFF, PNG or BMP mask; a palette is not resolved, since its indices are the values.

    Parameters
    ----------
    path : path
    schema : LabelSchema, optional
        Classes whose colours, its own or those of a published palette, a colour image is read by.

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    InputError
        For colour images without a schema or in other colours, values above 255, fractions and files that cannot be
        read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no label file '{path}'; check the name.")
    values = read_array(path)
    if schema is not None and values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8:
        return labels_in_colors(values, schema, f"'{path}'")
    if values.ndim != 2:
        raise InputError(
            f"'{path}' has shape {values.shape}; a label file holds one number per pixel, so export class numbers "
            "instead of colours."
        )
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    with np.errstate(invalid="ignore"):  # NaN is told below
        whole = values.astype(np.uint8)
    if not np.array_equal(whole, values):
        raise InputError(f"'{path}' holds values that are no class numbers; whole numbers from 0 to 255 are needed.")
    return whole


def label_path(folder: Path, stem: str, file_format: str) -> Path:
    """Where ``write_labels`` puts the labels of an image in a format."""
    return folder / f"{stem}{_SUFFIXES[file_format]}"


def write_labels(
    path: Path, labels: NDArray[np.uint8], *, file_format: str, schema: LabelSchema, mpp: float | None
) -> None:
    """Write class ids whole or not at all: under another name first, then renamed.

    Parameters
    ----------
    path : Path
        File, or folder for OME-Zarr; replaced when it exists.
    labels : ndarray of uint8, shape (H, W)
        Class ids; 255 where there is none.
    file_format : {"tif", "ome-zarr", "png", "geojson"}
    schema : LabelSchema
        Names and colours of the classes.
    mpp : float or None
        µm per pixel, written where the format has room for it.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    _whole_or_not(path, lambda part: _WRITERS[file_format](part, labels, schema, mpp))


def write_probabilities(
    path: Path, probabilities: NDArray[np.float32], *, schema: LabelSchema, mpp: float | None
) -> None:
    """Write class probabilities as a TIFF, channel ``k`` for ``schema.classes[k]``; errors as in `write_labels`.

    Parameters
    ----------
    path : Path
    probabilities : ndarray of float32, shape (C, H, W)
        Stored as float16.
    """
    values = probabilities.astype(np.float16)
    _whole_or_not(path, lambda part: _write_tiff(part, values, schema, mpp))


def write_instances(path: Path, instances: NDArray[np.int32], *, mpp: float | None) -> None:
    """Write an instance map as a TIFF; errors as in `write_labels`.

    Parameters
    ----------
    path : Path
    instances : ndarray of int32, shape (H, W)
        Number of each object, 0 where there is none; stored as uint32.
    mpp : float or None
        µm per pixel.
    """
    values = instances.astype(np.uint32)
    _whole_or_not(path, lambda part: _write_tiff(part, values, None, mpp))


def _whole_or_not(path: Path, write: Callable[[Path], None]) -> None:
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        write(part)
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    except OSError as error:
        raise ResourceError(
            f"'{path}' cannot be written ({error.strerror or error}); free space or permit it."
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _write_tiff(path: Path, pixels: NDArray[Any], schema: LabelSchema | None, mpp: float | None) -> None:
    import tifffile

    resolution = {} if mpp is None else {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack",
        compression="zlib",
        tile=(_TILE_PX, _TILE_PX),
        description=None if schema is None else json.dumps(schema.to_json()),
        metadata=None,
        software="napari-histoseg",
        **resolution,
    )


def _write_png(path: Path, labels: NDArray[np.uint8], schema: LabelSchema, _mpp: float | None) -> None:
    from PIL import Image

    palette = np.zeros((256, 3), np.uint8)
    for c in schema.classes:
        palette[c.id] = c.rgb
    image = Image.fromarray(labels)
    image.putpalette(palette.tobytes())
    image.save(path, format="PNG", transparency=IGNORE)


def _write_geojson(path: Path, labels: NDArray[np.uint8], schema: LabelSchema, _mpp: float | None) -> None:
    from napari_histoseg.io.polygons import feature_collection

    path.write_text(json.dumps(feature_collection(labels, schema)), encoding="utf-8")


def _write_ome_zarr(path: Path, labels: NDArray[np.uint8], schema: LabelSchema, mpp: float | None) -> None:
    """OME-NGFF 0.4 label image, a pyramid by taking every second pixel so that no new values arise."""
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    datasets: list[dict[str, Any]] = []
    level, size = labels, mpp or 1.0
    while True:
        k = len(datasets)
        chunks = (min(_TILE_PX, level.shape[0]), min(_TILE_PX, level.shape[1]))
        array = group.create_array(
            str(k),
            shape=level.shape,
            dtype=np.uint8,
            chunks=chunks,
            fill_value=IGNORE,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        array[:] = level
        scale = {"type": "scale", "scale": [size * 2**k, size * 2**k]}
        datasets.append({"path": str(k), "coordinateTransformations": [scale]})
        if max(level.shape) <= _TILE_PX:
            break
        level = level[::2, ::2]
    unit = {} if mpp is None else {"unit": "micrometer"}
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "name": path.name,
            "type": "nearest",
            "axes": [{"name": "y", "type": "space", **unit}, {"name": "x", "type": "space", **unit}],
            "datasets": datasets,
        }
    ]
    group.attrs["image-label"] = {
        "version": "0.4",
        "colors": [{"label-value": c.id, "rgba": [*c.rgb, 255]} for c in schema.classes],
        "properties": [{"label-value": c.id, "class": c.name} for c in schema.classes],
    }


_WRITERS: dict[str, Callable[[Path, NDArray[np.uint8], LabelSchema, float | None], None]] = {
    "tif": _write_tiff,
    "png": _write_png,
    "geojson": _write_geojson,
    "ome-zarr": _write_ome_zarr,
}
