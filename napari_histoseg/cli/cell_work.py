"""``napari-histoseg project cells``"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_histoseg.cli.console import print_json
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.project import Project

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.session import CellWork, Session

Act = tuple[str, Callable[["Session", str], tuple[str, ...]]]
"""What it is called, and what does it to an image and returns sentences about it."""


def add_cell_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", required=True, metavar="NAME", help="name or id of an image of the project")
    parser.add_argument("--points", type=Path, metavar="CSV", help="grow cells from points: columns x,y,class")
    parser.add_argument(
        "--mode",
        choices=("marker", "contour"),
        help="grow nuclei from the points, or outline them first and give each to the nearest point",
    )
    parser.add_argument("--from-regions", type=_words, metavar="CLASS,...", help="make each region of these a cell")
    parser.add_argument("--similar-to", type=_numbers, metavar="ID,...", help="one to five cells to find the like of")
    parser.add_argument("--count", type=int, metavar="N", help="how many of the most similar get the class")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="class for them and the similar ones")
    parser.add_argument("--delete-smaller", type=float, metavar="UM2", help="remove cells of less area, in µm²")
    parser.add_argument("--grow", type=float, metavar="UM", help="move all outlines outwards, or inwards if negative")
    parser.add_argument("--smooth", action="store_true", help="smooth all outlines")
    parser.add_argument("--fill-holes", action="store_true", help="fill what a cell encloses")
    parser.add_argument("--to-regions", action="store_true", help="paint the cells into the labels")
    add_json(parser)


def project_cells(args: argparse.Namespace) -> int:
    """Change the cells of an image, each act one step of undo, in the order in which the help lists the options."""
    from napari_histoseg.cli.projects import find_image
    from napari_histoseg.session import Session

    session = Session()
    try:
        session.work_on(Project.open(args.project))
        project = session.need_project()
        image_id = find_image(project, args.image).id
        acts = [_done(session, image_id, act) for act in _acts(args, project.schema)]
        counts = project.cells(image_id).counts()
        names = {c.id: c.name for c in project.schema.classes}
    finally:
        session.close()
    per_class = {names.get(class_id, "unknown"): count for class_id, count in counts.items()}
    if args.json:
        print_json({"acts": acts, "cells": sum(counts.values()), "per_class": per_class})
        return 0
    for act in acts:
        changed = f"{act['cells_changed']} cells" if act["cells_changed"] else f"{act['pixels_changed']} pixels"
        print(f"{act['act'].capitalize()}: {changed} changed.")
        for note in act["notes"]:
            print(f"  {note}")
    told = ", ".join(f"{count} {name}" for name, count in per_class.items())
    print(f"The image has {sum(counts.values())} cells now{told and f': {told}'}.")
    return 0


def _done(session: Session, image_id: str, act: Act) -> dict[str, Any]:
    """Do one act to its end, and what it did; ``HistosegError`` of a job comes through."""
    name, begin = act
    edits: list[Edit] = []
    told: list[tuple[str, str]] = []
    session.edited.connect(edits.append)
    session.message.connect(lambda level, text: told.append((level, text)))
    notes = begin(session, image_id)
    session.wait()
    session.edited.disconnect(edits.append)
    failed = [text for level, text in told if level == "error"]
    if failed:
        raise HistosegError(failed[0])
    cells = sum(edit.cells or 0 for edit in edits)
    pixels = sum(edit.changed for edit in edits)
    return {
        "act": name,
        "cells_changed": cells,
        "pixels_changed": pixels,
        "notes": [*notes, *(text for _, text in told)],
    }


def _acts(args: argparse.Namespace, schema: LabelSchema) -> list[Act]:
    """What is asked for, in order; ``InputError`` when that is nothing, or half of something."""
    acts = [*_points(args), *_regions(args, schema), *_similar(args, schema)]
    if args.delete_smaller is not None:
        acts.append(_plain("delete smaller", lambda cells, image: cells.delete_smaller(image, args.delete_smaller)))
    if args.grow is not None:
        acts.append(_plain("grow", lambda cells, image: cells.grow(image, None, args.grow)))
    if args.smooth:
        acts.append(_plain("smooth", lambda cells, image: cells.smooth(image, None)))
    if args.fill_holes:
        acts.append(_plain("fill holes", lambda cells, image: cells.fill_holes(image, None)))
    if args.to_regions:
        acts.append(_plain("to regions", lambda cells, image: cells.to_regions(image, None)))
    if not acts:
        raise InputError("There is nothing to do; name an act, for instance --delete-smaller 15 or --smooth.")
    return acts


def _plain(name: str, change: Callable[[CellWork, str], object]) -> Act:
    """An act of which nothing more is to be said."""

    def act(session: Session, image_id: str) -> tuple[str, ...]:
        change(session.cells, image_id)
        return ()

    return name, act


def _points(args: argparse.Namespace) -> list[Act]:
    if args.points is None:
        if args.mode is not None:
            raise InputError("--mode says how points grow; name the file of points with --points.")
        return []

    def act(session: Session, image_id: str) -> tuple[str, ...]:
        if args.mode is not None:
            session.points.mode = args.mode
        return session.points.import_csv(image_id, args.points)

    return [("points", act)]


def _regions(args: argparse.Namespace, schema: LabelSchema) -> list[Act]:
    if args.from_regions is None:
        return []
    class_ids = [schema.by_name(name).id for name in args.from_regions]
    return [_plain("from regions", lambda cells, image: cells.from_regions(image, class_ids))]


def _similar(args: argparse.Namespace, schema: LabelSchema) -> list[Act]:
    given = (args.similar_to, args.count, args.class_name)
    if given == (None, None, None):
        return []
    if None in given:
        raise InputError("--similar-to, --count and --class belong together; give all three.")
    class_id = schema.by_name(args.class_name).id

    def act(session: Session, image_id: str) -> tuple[str, ...]:
        session.similar.find(image_id, args.similar_to)
        session.wait()
        session.similar.apply(image_id, args.count, class_id)
        left_out = session.similar.left_out(image_id)
        return (f"{left_out} cells that somebody vouched for were left as they are.",) if left_out else ()

    return [("similar", act)]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_numbers.__name__ = "list of cell numbers"  # argparse names the type of a wrong value
