"""The cells of ``napari-histoseg project export``"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from napari_histoseg.cli.cell_files import cell_paths
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.project import Project
from napari_histoseg.io.cell_export import ImageCells, write_cell_features, write_coco
from napari_histoseg.io.cells import write_cells
from napari_histoseg.io.labels import write_instances

COCO = "coco.json"
CELL_FORMATS = frozenset({"tif", "csv", "geojson", "coco"})
"""Formats of an export that know cells."""


def export_cells(opened: Project, stems: Mapping[str, str], formats: Iterable[str], out: Path) -> int:
    """Write the cells of all images that have any, in those of the formats that know cells.

    Parameters
    ----------
    opened : Project
    stems : mapping of str to str
        File stem by image id.
    formats : iterable of str
    out : Path

    Returns
    -------
    int
        Number of images whose cells were written.
    """
    chosen = [entry for entry in opened.images if len(opened.cells(entry.id))]
    for entry in chosen:
        stem = stems[entry.id]
        cells = _image_cells(opened, entry)
        map_path, table_path = cell_paths(out, stem)
        if "tif" in formats:
            write_instances(map_path, cells.instances.astype(np.int32), mpp=entry.mpp)
        if "csv" in formats:
            write_cells(table_path, cells.table, opened.schema)
        if "geojson" in formats:
            write_cell_features(out / f"{stem}_cells.geojson", cells, opened.schema)
    if "coco" in formats:
        write_coco(out / COCO, (_image_cells(opened, entry) for entry in opened.images), opened.schema)
    return len(chosen) if CELL_FORMATS & set(formats) else 0


def _image_cells(opened: Project, entry: ImageEntry) -> ImageCells:
    cells = opened.cells(entry.id)
    return ImageCells(entry.name, cells.instances, cells.table(entry.mpp))
