"""``napari-histoseg project import --instances`` and the cells of ``project export``"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from napari_histoseg.cli.cell_files import cell_paths
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.io.cell_export import ImageCells, write_cell_features, write_coco
from napari_histoseg.io.cell_import import FoundCells, read_found_cells
from napari_histoseg.io.cells import write_cells
from napari_histoseg.io.labels import write_instances

BACKGROUND = "background"
COCO = "coco.json"
CELL_FORMATS = frozenset({"tif", "csv", "geojson", "coco"})
"""Formats of an export that know cells."""


def import_cells(opened: Project, entry: ImageEntry, path: Path, classes: Path | None, *, verified: bool) -> list[str]:
    """Bring the cells of a file in, as one edit; returns what to tell the person."""
    found = read_found_cells(path, entry.shape, classes)
    class_ids, notes = _class_ids(found, opened.schema)
    cells = opened.cells(entry.id)
    before = len(cells)
    stay = 0 if verified else len(cells.persons_ids)
    edit = opened.replace_cells(
        entry.id, found.instances, class_ids, tool="import", origin=Origin.IMPORT, verified=verified
    )
    if edit is None:
        return [f"'{entry.name}' has the cells of '{path}' already.", *found.notes, *notes]
    how = "as verified" if verified else "which nobody has vouched for"
    replaced = f", in place of {before - stay}" if before > stay else ""
    brought = len(cells) - stay
    told = [f"Brought {brought} cells of '{path}' in for '{entry.name}'{replaced}, {how}."]
    if stay:
        told.append(
            f"Cells that a person placed or vouched for and that stay: {stay}; "
            f"cells of the file that mostly lie on them, left out: {found.count - brought}."
        )
    return [*told, *found.notes, *notes]


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


def _class_ids(found: FoundCells, schema: LabelSchema) -> tuple[dict[int, int], list[str]]:
    """Class id by number of the cell, from names or ids; where a schema has one class of cells, that one."""
    ids = {name: _class_id(name, schema) for name in set(found.names.values())}
    given = {number: ids[name] for number, name in found.names.items()}
    missing = found.count - len(given)
    kinds = [c for c in schema.classes if c.name.casefold() != BACKGROUND]
    if not missing:
        return given, []
    if len(kinds) == 1:
        numbers = np.unique(found.instances)
        return dict.fromkeys(numbers[numbers > 0].tolist(), kinds[0].id) | given, []
    return given, [f"Cells without a class: {missing}; name it in a CSV with id,class (--classes), or set it by hand."]


def _class_id(name: str, schema: LabelSchema) -> int:
    text = name.strip()
    if text.isdigit() and int(text) in schema:
        return int(text)
    try:
        return schema.by_name(text).id
    except InputError as error:
        raise InputError(f"A cell has the class '{text}'. {error}") from None
