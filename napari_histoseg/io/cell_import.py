"""Cells from elsewhere: instance maps with a table of classes, and the GeoJSON of QuPath."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.io.maps import read_cell_classes, read_instances

GEOJSON_SUFFIXES = (".geojson", ".json")


@dataclass(frozen=True, eq=False)
class FoundCells:
    """Cells of a file.

    Parameters
    ----------
    instances : ndarray of int64, shape (H, W)
        Number of the cell at each pixel, 0 for none.
    names : dict of int to str
        Class by number, of those cells that have one.
    count : int
        Number of cells.
    notes : tuple of str
        What is odd about them, for the person.
    """

    instances: NDArray[np.int64]
    names: dict[int, str]
    count: int
    notes: tuple[str, ...]


def read_found_cells(path: Path, shape: tuple[int, int], classes: Path | None = None) -> FoundCells:
    """The cells of an instance map (TIFF, PNG, BMP) or of the objects of a GeoJSON.

    Parameters
    ----------
    path : Path
    shape : (int, int)
        (height, width) of the image in pixels; an instance map must have it, objects beyond it are left out.
    classes : Path, optional
        CSV with the columns ``id`` and ``class`` for an instance map.

    Raises
    ------
    InputError
        When a file cannot be read, has another size, or holds no cells.
    """
    if not path.is_file():
        raise InputError(f"There is no file of cells '{path}'; check the name.")
    if path.suffix.lower() in GEOJSON_SUFFIXES:
        if classes is not None:
            raise InputError(f"'{path}' names the classes itself; leave '{classes}' out, or give an instance map.")
        instances, names, notes = _drawn(path, shape)
    else:
        instances, names, notes = _numbered(path, shape, classes)
    numbers = np.unique(instances)
    numbers = numbers[numbers > 0]
    if not numbers.size:
        raise InputError(f"'{path}' holds no cells; give a map of their numbers, or their outlines as GeoJSON.")
    names = {number: names[number] for number in numbers.tolist() if number in names}
    return FoundCells(instances, names, len(numbers), (*notes, *_shape_notes(instances, numbers)))


def _numbered(
    path: Path, shape: tuple[int, int], classes: Path | None
) -> tuple[NDArray[np.int64], dict[int, str], list[str]]:
    instances = read_instances(path)
    if instances.shape != shape:
        raise InputError(
            f"'{path}' is {instances.shape[0]} x {instances.shape[1]} px, but the image is {shape[0]} x {shape[1]} px; "
            "an instance map of the same size is needed."
        )
    if int(instances.max(initial=0)) >= 1 << 32:
        raise InputError(f"'{path}' holds the number {int(instances.max())}; numbers below {1 << 32} are needed.")
    names = {} if classes is None else read_cell_classes(classes)
    absent = len(names) - int(np.isin(np.unique(instances), np.array(list(names), np.int64)).sum())
    notes = [f"Rows of '{classes}' about cells that '{path}' does not have: {absent}."] if absent else []
    return instances, names, notes


def _drawn(path: Path, shape: tuple[int, int]) -> tuple[NDArray[np.int64], dict[int, str], list[str]]:
    """Objects that are filled one after the other; the first keeps a pixel that two of them claim."""
    instances = np.zeros(shape, np.int64)
    names: dict[int, str] = {}
    number = hidden = shared = other = 0
    for index, feature in enumerate(_features(path), start=1):
        polygons = _polygons(feature, f"Object {index} of '{path}'")
        if not polygons:
            other += 1
            continue
        y, x = _filled(polygons, shape)
        is_free = instances[y, x] == 0
        shared += int(np.count_nonzero(~is_free))
        if not is_free.any():
            hidden += 1
            continue
        number += 1
        instances[y[is_free], x[is_free]] = number
        name = _class_name(feature)
        if name:
            names[number] = name
    notes = []
    if other:
        notes.append(f"Objects without an area (points, lines), left out: {other}.")
    if hidden:
        notes.append(f"Objects outside the image or wholly on others, left out: {hidden}.")
    if shared:
        notes.append(f"Pixels of more than one object: {shared}; each went to the first of them.")
    return instances, names, notes


def _features(path: Path) -> list[Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as GeoJSON ({error}); export the objects again.") from error
    features = data.get("features", [data]) if isinstance(data, dict) else data
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise InputError(f"'{path}' is no GeoJSON of objects; export them from QuPath as GeoJSON.")
    return features


def _polygons(feature: dict[str, Any], where: str) -> list[list[NDArray[np.float64]]]:
    """Rings (n, 2) as (x, y) of each polygon of an object; none for points and lines."""
    geometry = feature.get("geometry") or {}
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        return []
    try:
        given = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
        found = [[np.array(ring, np.float64)[:, :2] for ring in polygon] for polygon in given if polygon]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{where} has an outline that cannot be read; export it again.") from error
    if not all(
        len(ring) >= 3 and ring.shape[1] == 2 and np.isfinite(ring).all() for polygon in found for ring in polygon
    ):
        raise InputError(f"{where} has an outline that is no polygon; export it again.")
    return found


def _filled(
    polygons: list[list[NDArray[np.float64]]], shape: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels whose middle lies in one of the polygons and not in a hole of it; the middle of the first is 0.5."""
    from skimage.draw import polygon

    corners = np.concatenate([ring for rings in polygons for ring in rings])
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)), 0).astype(np.int64)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)), (shape[1], shape[0])).astype(np.int64)
    mask = np.zeros((max(0, int(y1 - y0)), max(0, int(x1 - x0))), bool)
    for rings in polygons:
        part = np.zeros_like(mask)
        for ring in rings:
            inside = polygon(ring[:, 1] - 0.5 - y0, ring[:, 0] - 0.5 - x0, mask.shape)
            part[inside] ^= True
        mask |= part
    y, x = np.nonzero(mask)
    return y + y0, x + x0


def _class_name(feature: dict[str, Any]) -> str | None:
    classification = (feature.get("properties") or {}).get("classification")
    if not isinstance(classification, dict):
        return None
    name = classification.get("name") or ": ".join(map(str, classification.get("names") or ()))
    return str(name) or None


def _shape_notes(instances: NDArray[np.int64], numbers: NDArray[np.int64]) -> Iterator[str]:
    """Sentences about cells in several pieces or with holes, which are kept as they are."""
    from scipy import ndimage

    compact = np.searchsorted(np.append(0, numbers), instances).astype(np.int32)
    scattered = pierced = 0
    for number, cut in enumerate(ndimage.find_objects(compact), start=1):
        cell = np.pad(compact[cut] == number, 1)
        scattered += ndimage.label(cell, np.ones((3, 3)))[1] > 1
        pierced += ndimage.label(~cell)[1] > 1
    if scattered:
        yield f"Cells in several pieces: {scattered}; each was kept as one cell."
    if pierced:
        yield f"Cells with holes: {pierced}; they were kept."
