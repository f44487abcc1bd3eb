"""``napari-histoseg project new|info|import|export|history|schema|compact``"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_histoseg.cli.cell_work import add_cell_work, project_cells
from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.cli.parser import add_json, mpp_value
from napari_histoseg.cli.project_cells import export_cells
from napari_histoseg.cli.project_compact import add_compact, project_compact
from napari_histoseg.cli.project_history import add_history, project_history
from napari_histoseg.cli.project_import import add_import, project_import
from napari_histoseg.cli.project_schema import add_schema, project_schema
from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.core.schemas import SCHEMAS, get_schema
from napari_histoseg.io.images import open_image
from napari_histoseg.io.labels import LABEL_FORMATS, label_path, write_labels

EXPORT_FORMATS = (*LABEL_FORMATS, "coco", "csv")


def add_project(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, handler: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(handler=handler)
        sub.add_argument("project", type=Path, metavar="DIR", help="project folder")
        return sub

    new = action("new", project_new, "make a project of some images")
    new.add_argument("--schema", required=True, metavar="NAME|FILE", help=f"{', '.join(SCHEMAS)}, or a JSON file")
    new.add_argument("--mpp", type=mpp_value, metavar="X", help="µm per pixel, where the files do not state it")
    new.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    info = action("info", project_info, "what is in a project")
    add_json(info)
    add_cell_work(action("cells", project_cells, "change all cells of an image at once"))
    add_import(action("import", project_import, "bring labels or cells into a project"))
    export = action("export", project_export, "write labels and cells of all images to files")
    export.add_argument("--format", type=_formats, required=True, metavar="F,F", help=", ".join(EXPORT_FORMATS))
    export.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_history(action("history", project_history, "who did what, when and where"))
    add_compact(action("compact", project_compact, "drop the pixels of old edits, so that the folder stays small"))
    add_schema(action("schema", project_schema, "the classes of a project: tell, add, rename, take out"))


def project_new(args: argparse.Namespace) -> int:
    """Make a project folder with images; nothing is made when one of them cannot be opened."""
    refs = [open_image(path) for path in args.images]
    with Project.create(args.project, _schema(args.schema)) as opened:
        for ref in refs:
            opened.add_image(ref if ref.mpp is not None or args.mpp is None else ref.with_mpp(args.mpp))
        unknown = [entry.name for entry in opened.images if entry.mpp is None]
        print(f"Made {opened.path} with {len(opened.images)} images and the classes {_names(opened.schema)}.")
        if unknown:
            print(f"The µm per pixel of {', '.join(unknown)} is not known; the window will ask for it, or use --mpp.")
    return 0


def project_info(args: argparse.Namespace) -> int:
    """Tell images, labels and revisions of a project."""
    with Project.open(args.project, read_only=True) as opened:
        info = _info(opened)
    if args.json:
        print_json(info)
        return 0
    print(f"{info['path']}: classes {', '.join(c['name'] for c in info['schema']['classes'])}")
    rows = [
        (image["name"], f"{image['shape'][0]} x {image['shape'][1]}", image["mpp"] or "unknown", image["edits"])
        for image in info["images"]
    ]
    print_table(("IMAGE", "SIZE", "MPP", "EDITS"), rows)
    for revision in info["revisions"]:
        print(f"{revision['id']} of {revision['model']}: {revision['reason']}")
    return 0


def project_export(args: argparse.Namespace) -> int:
    """Write what is displayed of every image."""
    with Project.open(args.project, read_only=True) as opened:
        args.out.mkdir(parents=True, exist_ok=True)
        stems = _stems(opened.images)
        for entry, stem in zip(opened.images, stems, strict=True):
            labels = opened.planes(entry.id).displayed()
            for file_format in args.format:
                if file_format in LABEL_FORMATS:
                    path = label_path(args.out, stem, file_format)
                    write_labels(path, labels, file_format=file_format, schema=opened.schema, mpp=entry.mpp)
        if "csv" in args.format:
            write_bytes(args.out / "classes.csv", _class_table(opened, stems).encode())
        by_id = {entry.id: stem for entry, stem in zip(opened.images, stems, strict=True)}
        with_cells = export_cells(opened, by_id, args.format, args.out)
        if set(args.format) == {"coco"}:
            told = f"cells of {with_cells} images"
        else:
            told = f"labels of {len(stems)} images" + (f" and the cells of {with_cells}" if with_cells else "")
        print(f"Wrote the {told} to {args.out}.")
    return 0


def find_image(opened: Project, name: str) -> ImageEntry:
    """The image of that name or id; ``InputError`` when there is none or more than one."""
    found = [entry for entry in opened.images if name in (entry.id, entry.name, Path(entry.name).stem)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{entry.name} ({entry.id})" for entry in opened.images) or "none"
    what = "no image" if not found else "more than one image"
    raise InputError(f"The project has {what} '{name}'; its images are {known}.")


def _info(opened: Project) -> dict[str, Any]:
    return {
        "path": str(opened.path),
        "name": opened.name,
        "schema": opened.schema.to_json(),
        "images": [
            {
                "id": entry.id,
                "name": entry.name,
                "path": entry.path,
                "shape": list(entry.shape),
                "mpp": entry.mpp,
                "edits": opened.edit_count(entry.id),
                "cells": {_class_name(opened.schema, k): n for k, n in opened.cells(entry.id).counts().items()},
                "shares": {opened.schema.by_id(k).name: share for k, share in opened.class_shares(entry.id).items()},
                "edited_pixels": {opened.schema.by_id(k).name: n for k, n in opened.counts(entry.id).items()},
            }
            for entry in opened.images
        ],
        "revisions": [
            {
                "id": revision.id,
                "model": revision.model_id,
                "parent": revision.parent,
                "verdict": revision.verdict,
                "reason": revision.reason,
                "active": opened.revisions.active(revision.model_id) == revision.id,
            }
            for revision in opened.revisions.list()
        ],
        "saved_at": opened.last_saved_at,
        "notes": list(opened.notes),
    }


def _class_table(opened: Project, stems: list[str]) -> str:
    """Pixels and area of each class of each image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "class_id", "class", "pixels", "share", "area_um2"))
    for entry, stem in zip(opened.images, stems, strict=True):
        pixels = opened.planes(entry.id).shown_pixels
        shares = opened.class_shares(entry.id)
        for c in opened.schema.classes:
            area = "" if entry.mpp is None else round(int(pixels[c.id]) * entry.mpp**2, 2)
            writer.writerow((stem, c.id, c.name, int(pixels[c.id]), round(shares[c.id], 6), area))
    return text.getvalue()


def _stems(entries: tuple[ImageEntry, ...]) -> list[str]:
    """File stems of the images; two of the same name are told apart by their id."""
    stems = [Path(entry.name).stem for entry in entries]
    return [
        f"{stem}_{entry.id[:8]}" if stems.count(stem) > 1 else stem for stem, entry in zip(stems, entries, strict=True)
    ]


def _schema(name: str) -> LabelSchema:
    if not name.endswith(".json"):
        return get_schema(name)
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The label schema '{name}' cannot be read as JSON ({error}); correct the file.") from error
    if not isinstance(data, dict):
        raise InputError(f"The label schema '{name}' is not a JSON object with an id and classes; correct the file.")
    return LabelSchema.from_json(data)


def _class_name(schema: LabelSchema, class_id: int) -> str:
    return schema.by_id(class_id).name if class_id in schema else "unknown"


def _names(schema: LabelSchema) -> str:
    return ", ".join(c.name for c in schema.classes)


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in chosen:
        if name not in EXPORT_FORMATS:
            raise argparse.ArgumentTypeError(f"there is no format '{name}'; choose from {', '.join(EXPORT_FORMATS)}")
    return chosen
