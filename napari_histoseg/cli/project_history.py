"""``napari-histoseg project history``"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.core.project import Project
from napari_histoseg.session.history_files import history_document, history_table


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
        told = history_document(opened, None if args.image is None else find_image(opened, args.image).id)
    for sentence in told["damaged"]:
        print(f"napari-histoseg: {sentence}", file=sys.stderr)
    if args.json:
        print_json(told)
    elif args.csv:
        print(history_table(told["edits"]), end="")
    else:
        _print(told)
    return 0


def _print(told: dict[str, Any]) -> None:
    columns = ("at", "image", "author", "kind", "tool", "pixels", "cells")
    lines = [tuple("" if row[name] is None else row[name] for name in columns) for row in told["edits"]]
    print_table(tuple(name.upper() for name in columns), lines)
    for work in told["images"]:
        print(
            f"{work['image']}: {work['edits']} edits, {work['in_force']} in force, {work['active_minutes']} minutes, "
            f"by {', '.join(work['authors'])}."
        )
