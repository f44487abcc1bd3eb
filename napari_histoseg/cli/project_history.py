"""``napari-histoseg project history``"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from datetime import UTC, datetime
from typing import Any

from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.core.edit import Record
from napari_histoseg.core.history import Effort, efforts
from napari_histoseg.core.project import Project

COLUMNS = ("edit", "at", "image", "author", "kind", "tool", "y0", "x0", "y1", "x1", "pixels", "cells", "of_edit")
"""Columns of the CSV; ``cells`` is empty for labels, ``of_edit`` for all but undo and redo."""


def add_history(parser: argparse.ArgumentParser) -> None:
    """The arguments besides the project."""
    parser.add_argument("--image", metavar="NAME", help="name or id of an image (default: all)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    form.add_argument("--csv", action="store_true", help="print one line for each edit and nothing else")


def project_history(args: argparse.Namespace) -> int:
    """Tell who did what, when and where, and how much work went into each image."""
    from napari_histoseg.cli.projects import find_image

    with Project.open(args.project, read_only=True) as opened:
        chosen = None if args.image is None else find_image(opened, args.image).id
        records, damaged = opened.history()
        names = {entry.id: entry.name for entry in opened.images}
        in_force = {entry.id: opened.edit_count(entry.id) for entry in opened.images}
    shown = [record for record in records if chosen in (None, record.image_id)]
    work = [effort for effort in efforts(records) if chosen in (None, effort.image_id)]
    for sentence in damaged:
        print(f"napari-histoseg: {sentence}", file=sys.stderr)
    if args.json:
        images = [_effort(effort, names, in_force) for effort in work]
        print_json({"images": images, "edits": [_row(record, names) for record in shown], "damaged": damaged})
    elif args.csv:
        print(_table(shown, names), end="")
    else:
        _print(shown, work, names, in_force)
    return 0


def _print(shown: list[Record], work: list[Effort], names: dict[str, str], in_force: dict[str, int]) -> None:
    columns = ("at", "image", "author", "kind", "tool", "pixels", "cells")
    rows = [_row(record, names) for record in shown]
    lines = [tuple("" if row[name] is None else row[name] for name in columns) for row in rows]
    print_table(tuple(name.upper() for name in columns), lines)
    for effort in work:
        told = _effort(effort, names, in_force)
        print(
            f"{told['image']}: {told['edits']} edits, {told['in_force']} in force, {told['active_minutes']} minutes, "
            f"by {', '.join(effort.authors)}."
        )


def _row(record: Record, names: dict[str, str]) -> dict[str, Any]:
    box = record.box
    values = (record.seq, _time(record.at), names.get(record.image_id, record.image_id), record.author, record.kind)
    places = (record.tool, box.y0, box.x0, box.y1, box.x1, record.changed, record.cells, record.target)
    return dict(zip(COLUMNS, (*values, *places), strict=True))


def _effort(effort: Effort, names: dict[str, str], in_force: dict[str, int]) -> dict[str, Any]:
    return {
        "image": names.get(effort.image_id, effort.image_id),
        "id": effort.image_id,
        "edits": effort.edits,
        "undone": effort.undone,
        "in_force": in_force.get(effort.image_id, 0),
        "pixels": effort.pixels,
        "cells": effort.cells,
        "authors": list(effort.authors),
        "first_at": _time(effort.first_at),
        "last_at": _time(effort.last_at),
        "active_minutes": round(effort.active_s / 60, 1),
    }


def _table(shown: list[Record], names: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(record, names) for record in shown)
    return text.getvalue()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
