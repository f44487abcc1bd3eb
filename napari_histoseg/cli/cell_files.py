"""The instance map and the table of cells beside a label file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.io.cells import write_cells
from napari_histoseg.io.labels import write_instances

_READ_PX = 2048


def cell_paths(folder: Path, stem: str) -> tuple[Path, Path]:
    """Where the instance map and the table of an image go."""
    return folder / f"{stem}_instances.tif", folder / f"{stem}_cells.csv"


def write_cell_files(
    folder: Path, stem: str, instances: NDArray[np.int32], table: CellTable, *, schema: LabelSchema, mpp: float | None
) -> None:
    """Write both files, each whole or not at all."""
    map_path, table_path = cell_paths(folder, stem)
    write_instances(map_path, instances, mpp=mpp)
    write_cells(table_path, table, schema)


def write_found_cells(
    folder: Path, stem: str, probabilities: NDArray[np.float32], image: ImageRef, schema: LabelSchema
) -> CellTable:
    """Part the cells of a probability map, measure and write them.

    Parameters
    ----------
    folder : Path
    stem : str
        Of the image's file.
    probabilities : ndarray of float32, shape (C, H, W)
        Channel ``k`` for ``schema.classes[k]``, the first being background; a class named "boundary" parts cells.
    image : ImageRef
        With known µm per pixel.
    schema : LabelSchema
    """
    from napari_histoseg.inference.instances import (
        boundary_channel,
        cell_table,
        classes_of,
        instances_from_probabilities,
    )

    mpp = image.mpp or 1.0  # known: an image without it could not be predicted
    boundary = boundary_channel(schema.classes)
    instances = instances_from_probabilities(probabilities, mpp, boundary=boundary)
    channels, scores = classes_of(instances, probabilities, boundary=boundary)
    ids = np.array([c.id for c in schema.classes], np.uint8)
    table = cell_table(instances, mpp, class_ids=ids[channels], score=scores, haematoxylin=haematoxylin_of(image))
    write_cell_files(folder, stem, instances, table, schema=schema, mpp=image.mpp)
    return table


def haematoxylin_of(image: ImageRef) -> NDArray[np.float32]:
    """Amount of haematoxylin at every pixel (H, W) of an image, which is read piece by piece."""
    from napari_histoseg.inference.stain import haematoxylin

    amount = np.empty(image.shape, np.float32)
    for box in Box.of_shape(image.shape).tiles(_READ_PX):
        amount[box.slices] = haematoxylin(image.read(0, box))
    return amount
