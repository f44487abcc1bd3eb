"""``napari-histoseg project import``"""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.project import Project
from napari_histoseg.io.cell_import import GEOJSON_SUFFIXES
from napari_histoseg.io.labels import read_labels
from napari_histoseg.io.masks import WITHOUT_CLASS, Mask, read_mask
from napari_histoseg.session.importing import bring_mask, chosen_classes


def add_import(parser: argparse.ArgumentParser) -> None:
    """The arguments besides the project."""
    parser.add_argument("--image", required=True, metavar="NAME", help="name or id of an image of the project")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--labels", type=Path, metavar="FILE", help="TIFF or PNG of class numbers or colours, or GeoJSON of regions"
    )
    what.add_argument("--instances", type=Path, metavar="FILE", help="TIFF or PNG of cell numbers, or GeoJSON of cells")
    parser.add_argument("--classes", type=Path, metavar="CSV", help="columns id,class for the cells of --instances")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="VALUE=CLASS",
        help="class of a value, a colour (#rrggbb) or a name of the file, 'unknown' for none; give it once for each",
    )
    parser.add_argument("--verified", action="store_true", help="vouch for them, so that models learn from them")


def project_import(args: argparse.Namespace) -> int:
    """Bring a file of labels or cells in, as vouched-for truth or as a proposal."""
    from napari_histoseg.cli.projects import find_image

    if args.labels is not None and args.classes is not None:
        raise InputError("--classes names the classes of cells; use it with --instances.")
    with Project.open(args.project) as opened:
        entry = find_image(opened, args.image)
        if args.instances is not None:
            mask = read_mask(args.instances, entry.shape, "cells", args.classes)
            classes = chosen_classes(mask, opened.schema, args.map)
            if not args.map:
                _check_named(mask, classes, opened)
        elif args.map or args.labels.suffix.lower() in GEOJSON_SUFFIXES:
            mask = read_mask(args.labels, entry.shape, "regions")
            classes = chosen_classes(mask, opened.schema, args.map)
        else:
            print(_import_numbers(opened, entry, args.labels, verified=args.verified))
            return 0
        _, told = bring_mask(opened, entry.id, mask, classes, verified=args.verified)
    print(*told, sep="\n")
    return 0


def _import_numbers(opened: Project, entry: ImageEntry, path: Path, *, verified: bool) -> str:
    """Bring in labels whose values or colours are all of the project's classes."""
    labels = read_labels(path, opened.schema)
    if labels.shape != entry.shape:
        raise InputError(
            f"'{path}' is {labels.shape[0]} x {labels.shape[1]} px, but '{entry.name}' is "
            f"{entry.shape[0]} x {entry.shape[1]} px; labels of the same size are needed."
        )
    try:
        opened.schema.check(labels, f"'{path}'")
    except InputError as error:
        raise InputError(f"{error} Say with --map which class a value is.") from None
    edit = opened.import_labels(entry.id, labels, verified=verified)
    how = "as verified" if verified else "as a proposal that nobody has vouched for"
    count = "" if edit is None else f"{edit.changed} pixels of "
    return f"Brought {count}'{path}' in {how} for '{entry.name}'."


def _check_named(mask: Mask, classes: dict[str, int], opened: Project) -> None:
    """``InputError`` when the file names a class that the project does not have."""
    for kind in mask.kinds:
        if kind.key != WITHOUT_CLASS and kind.key not in classes:
            try:
                opened.schema.by_name(kind.key)
            except InputError as error:
                raise InputError(f"A cell has the class '{kind.key}'. {error} Or say it with --map.") from None
