"""Cells for other programs: GeoJSON as QuPath reads it, and COCO."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.errors import ResourceError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.polygons import Ring, object_polygons

_UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class ImageCells:
    """The cells of one image.

    Parameters
    ----------
    name : str
        Of the image's file.
    instances : ndarray of uint32, shape (H, W)
    table : CellTable
        A row for each cell in ``instances``.
    """

    name: str
    instances: NDArray[np.uint32]
    table: CellTable


def write_cell_features(path: Path, cells: ImageCells, schema: LabelSchema) -> None:
    """Write one GeoJSON feature for each cell, with its QuPath classification; whole or not at all.

    Coordinates are pixel corners, x before y. A cell of unknown class has no classification.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    table = cells.table
    outlines = object_polygons(cells.instances)
    classes = {c.id: {"name": c.name, "color": list(c.rgb)} for c in schema.classes}
    features = []
    columns = (table.ids, table.class_ids, table.area_um2, table.score)
    for number, class_id, area, score in zip(*(column.tolist() for column in columns), strict=True):
        measured = {} if math.isnan(area) else {"Area µm^2": round(area, 3)}
        properties: dict[str, Any] = {
            "objectType": "cell",
            "name": str(number),
            "measurements": {**measured, "Score": round(score, 4)},
        }
        if class_id in classes:
            properties["classification"] = classes[class_id]
        features.append({"type": "Feature", "geometry": _geometry(outlines[number]), "properties": properties})
    _write(path, {"type": "FeatureCollection", "features": features})


def write_coco(path: Path, images: Iterable[ImageCells], schema: LabelSchema) -> None:
    """Write the cells of images as one COCO file; errors as in `write_cell_features`.

    Categories are the classes by id, with ``unknown`` where cells have none. A cell of one piece without holes is a
    polygon along pixel edges, any other an uncompressed run-length code; both are exact. ``cell_id`` is its number in
    the project.
    """
    described: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, cells in enumerate(images, start=1):
        height, width = cells.instances.shape
        described.append({"id": index, "file_name": cells.name, "height": height, "width": width})
        for annotation in _annotations(cells):
            annotations.append({"id": len(annotations) + 1, "image_id": index, "iscrowd": 0, **annotation})
    names = {c.id: c.name for c in schema.classes}
    used = {annotation["category_id"] for annotation in annotations}
    names |= {class_id: _UNKNOWN if class_id == IGNORE else f"class {class_id}" for class_id in used - names.keys()}
    categories = [{"id": class_id, "name": name, "supercategory": "cell"} for class_id, name in names.items()]
    _write(path, {"images": described, "categories": categories, "annotations": annotations})


def _annotations(cells: ImageCells) -> Iterable[dict[str, Any]]:
    outlines = object_polygons(cells.instances)
    for number, class_id, score in zip(
        *(column.tolist() for column in (cells.table.ids, cells.table.class_ids, cells.table.score)), strict=True
    ):
        rings = [np.array(ring) for polygon in outlines[number] for ring in polygon]
        (x0, y0), (x1, y1) = np.concatenate(rings).min(axis=0), np.concatenate(rings).max(axis=0)
        mask = cells.instances[y0:y1, x0:x1] == number
        is_simple = len(rings) == 1
        yield {
            "category_id": class_id,
            "segmentation": [rings[0][:-1].ravel().tolist()]
            if is_simple
            else _run_lengths(mask, int(y0), int(x0), cells.instances.shape),
            "area": int(mask.sum()),
            "bbox": [int(x0), int(y0), int(x1 - x0), int(y1 - y0)],
            "score": round(score, 4),
            "cell_id": number,
        }


def _run_lengths(mask: NDArray[np.bool_], y0: int, x0: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """COCO's code of a mask in an image: lengths of background and cell in turn, column by column."""
    x, y = np.nonzero(mask.T)
    places = (x + x0) * shape[0] + y + y0
    is_end = np.append(np.diff(places) > 1, True)
    is_begin = np.append(True, is_end[:-1])
    edges = np.stack([places[is_begin], places[is_end] + 1], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [shape[0] * shape[1]]]))
    return {"counts": counts.tolist(), "size": [shape[0], shape[1]]}


def _geometry(polygons: list[list[Ring]]) -> dict[str, Any]:
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        write_bytes(path, json.dumps(document, ensure_ascii=False).encode())
    except OSError as error:
        raise ResourceError(f"'{path}' cannot be written ({error.strerror}); free space or permit it.") from error
