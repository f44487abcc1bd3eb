"""``napari-histoseg project schema``"""

from __future__ import annotations

import argparse

from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schema_steps import AddClass, AlterClass, RemoveClass, SchemaStep
from napari_histoseg.io.cells import UNKNOWN

KEEP = "keep"


def add_schema(parser: argparse.ArgumentParser) -> None:
    """The arguments besides the project."""
    parser.add_argument(
        "--add", action="append", default=[], metavar="NAME[:COLOUR[:KEY]]", help="a new class, e.g. mitosis:#aa00ff:h"
    )
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="call a class otherwise")
    parser.add_argument("--colour", action="append", default=[], metavar="NAME=#rrggbb", help="give a class a colour")
    parser.add_argument("--key", action="append", default=[], metavar="NAME=LETTER", help="give a class a key")
    parser.add_argument("--delete", action="append", default=[], metavar="NAME", help="take a class out of the list")
    parser.add_argument(
        "--to",
        metavar=f"OTHER|{UNKNOWN}|{KEEP}",
        help=f"what pixels and cells of deleted classes become; with '{KEEP}' a class that they carry stays",
    )
    add_json(parser)


def project_schema(args: argparse.Namespace) -> int:
    """Change the classes of a project, or only tell them."""
    is_change = bool(args.add or args.rename or args.colour or args.key or args.delete)
    if args.delete and args.to is None:
        raise InputError(
            f"Say with --to what pixels and cells of '{args.delete[0]}' become: a class, {UNKNOWN} or {KEEP}."
        )
    with Project.open(args.project, read_only=not is_change) as opened:
        outcome = opened.change_schema(_steps(args, opened.schema)) if is_change else None
        schema = opened.schema
        names = {entry.id: entry.name for entry in opened.images}
        notes = opened.schema_notes
    moved = [
        {"image": names[edit.image_id], "pixels": 0 if edit.cells else edit.changed, "cells": edit.cells or 0}
        for edit in (outcome.edits if outcome else ())
    ]
    if args.json:
        done = list(outcome.told) if outcome else []
        print_json({"schema": schema.to_json(), "done": done, "changed": moved, "history": [vars(n) for n in notes]})
        return 0
    for sentence in outcome.told if outcome else ():
        print(sentence if sentence.endswith(".") else f"{sentence}.")
    for change in moved:
        amount = f"{change['cells']} cells" if change["cells"] else f"{change['pixels']} pixels"
        print(f"{change['image']}: {amount} got another class; undo on this image takes that back.")
    print_table(("ID", "CLASS", "COLOUR", "KEY"), [(c.id, c.name, c.color, c.key or "") for c in schema.classes])
    return 0


def _steps(args: argparse.Namespace, schema: LabelSchema) -> list[SchemaStep]:
    steps: list[SchemaStep] = []
    for text in args.add:
        name, color, key = (*text.split(":"), "", "")[:3]
        steps.append(AddClass(name, color or None, key or None))
    for text in args.rename:
        old, new = _parted(text, "OLD=NEW")
        steps.append(AlterClass(schema.by_name(old).id, name=new))
    for text in args.colour:
        name, color = _parted(text, "NAME=#rrggbb")
        steps.append(AlterClass(schema.by_name(name).id, color=color))
    for text in args.key:
        name, key = _parted(text, "NAME=LETTER")
        steps.append(AlterClass(schema.by_name(name).id, key=key))
    to = None if args.to in (None, KEEP) else IGNORE if args.to == UNKNOWN else schema.by_name(args.to).id
    steps += [RemoveClass(schema.by_name(name).id, to) for name in args.delete]
    return steps


def _parted(text: str, form: str) -> tuple[str, str]:
    left, sign, right = text.partition("=")
    if not sign:
        raise InputError(f"'{text}' is not of the form {form}.")
    return left.strip(), right.strip()
