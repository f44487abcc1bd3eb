"""``napari-histoseg cells``"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.cli.cell_files import cell_paths, write_cell_files
from napari_histoseg.cli.console import print_json
from napari_histoseg.cli.parser import add_json, mpp_value
from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import LabelClass, LabelSchema
from napari_histoseg.core.schemas import SCHEMAS, get_schema
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.io.cells import read_points
from napari_histoseg.io.images import open_image
from napari_histoseg.io.labels import label_path, write_labels

_MOST_PX = 1 << 27
_COLORS = ("#D55E00", "#009E73", "#0072B2", "#56B4E9", "#F0E442", "#CC79A7", "#E69F00")


def add_cells(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=cells)
    parser.add_argument("image", type=Path, metavar="IMAGE", help="H&E image")
    parser.add_argument(
        "--points", type=Path, required=True, metavar="CSV", help="columns x,y,class in pixels, the first being 0"
    )
    parser.add_argument(
        "--mode",
        choices=("marker", "contour"),
        default="marker",
        help="grow nuclei from the points, or outline them first and give each to the nearest point (default: marker)",
    )
    parser.add_argument(
        "--unlabelled",
        choices=("background", "ignore"),
        default="background",
        help="what nuclei without a point become; 'ignore' when not all are marked (default: background)",
    )
    parser.add_argument("--schema", metavar="NAME", help=f"classes: {', '.join(SCHEMAS)} (default: those of the CSV)")
    parser.add_argument("--mpp", type=mpp_value, metavar="X", help="µm per pixel, where unknown or wrong")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_json(parser)


def cells(args: argparse.Namespace) -> int:
    """Grow points into cells: a class map, an instance map and a table."""
    from napari_histoseg.inference.points import PointRules, Points, cells_from_points

    image = open_image(args.image, args.mpp)
    if image.mpp is None:
        raise InputError(f"The µm per pixel of '{image.name}' is not known; say it with --mpp.")
    if image.shape[0] * image.shape[1] > _MOST_PX:
        raise ResourceError(f"'{image.name}' is too large to grow cells in as a whole; cut out the part with points.")
    given = read_points(args.points)
    schema = _schema_of(given.names) if args.schema is None else get_schema(args.schema)
    points = Points.of(given.y, given.x, _class_ids(given.names, schema))
    stem = Path(image.name).stem
    target = label_path(args.out, stem, "tif")
    _refuse_overwriting(image, (target, *cell_paths(args.out, stem)))
    pixels = image.read(0, Box.of_shape(image.shape))
    found = cells_from_points(pixels, points, image.mpp, rules=PointRules(args.mode, args.unlabelled))
    args.out.mkdir(parents=True, exist_ok=True)
    write_labels(target, found.labels, file_format="tif", schema=schema, mpp=image.mpp)
    write_cell_files(args.out, stem, found.instances, found.table, schema=schema, mpp=image.mpp)
    counts = {c.name: int((found.table.class_ids == c.id).sum()) for c in schema.classes if c.id}
    outputs = [target.name, *(path.name for path in cell_paths(args.out, stem))]
    result = {
        "points": len(points),
        "cells": len(found.table),
        "outside": found.outside,
        "doubled": found.doubled,
        "per_class": counts,
        "outputs": outputs,
    }
    if args.json:
        print_json(result)
        return 0
    print(f"{len(found.table)} cells of {len(points)} points: {', '.join(f'{n} {name}' for name, n in counts.items())}")
    if found.outside or found.doubled:
        print(f"Left out: {found.outside} points outside the image, {found.doubled} on another point.")
    print(f"Written to {args.out}: {', '.join(outputs)}.")
    return 0


def _schema_of(names: Sequence[str]) -> LabelSchema:
    """The classes in the order in which they first occur, after background."""
    unique = [name for name in dict.fromkeys(names) if name != "background"]
    if len(unique) > 254:
        raise InputError(f"The points have {len(unique)} classes; at most 254 can be told apart, so check the column.")
    colored = [LabelClass(k + 1, name, _COLORS[k % len(_COLORS)]) for k, name in enumerate(unique)]
    return LabelSchema("points", "Classes of the points", (LabelClass(0, "background", "#999999"), *colored))


def _class_ids(names: Sequence[str], schema: LabelSchema) -> NDArray[np.uint8]:
    ids = {c.name: c.id for c in schema.classes}
    for name in names:
        if name not in ids:
            hint = suggestion(name, ids, otherwise="it has")
            raise InputError(f"A point has the class '{name}', which schema '{schema.id}' does not have; {hint}")
    return np.array([ids[name] for name in names], np.uint8)


def _refuse_overwriting(image: ImageRef, targets: Sequence[Path]) -> None:
    for target in targets:
        if image.path is not None and target.resolve() == Path(image.path).resolve():
            raise InputError(f"The result would replace the image '{target}'; choose another folder with --out.")
