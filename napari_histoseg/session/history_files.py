"""The history of a project for other programs: one row for each edit, and how much work went into each image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.history import Effort, efforts
from napari_histoseg.core.json_text import json_text

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Record
    from napari_histoseg.core.project import Project

COLUMNS = ("edit", "at", "image", "author", "kind", "tool", "y0", "x0", "y1", "x1", "pixels", "cells", "of_edit")
"""Columns of the CSV; ``cells`` is empty for labels, ``of_edit`` for all but undo and redo."""


def history_document(project: Project, image_id: str | None = None) -> dict[str, Any]:
    """Edits and work of one image, or of all, as JSON.

    Returns
    -------
    dict
        ``images``: one object for each image with edits; ``edits``: one for each row of the journal, see `COLUMNS`;
        ``damaged``: a sentence for each row that cannot be read.
    """
    records, damaged = project.history()
    names = {entry.id: entry.name for entry in project.images}
    work = [effort for effort in efforts(records) if effort.image_id in names and image_id in (None, effort.image_id)]
    return {
        "images": [_effort(effort, names, project.edit_count(effort.image_id)) for effort in work],
        "edits": [_row(record, names) for record in records if image_id in (None, record.image_id)],
        "damaged": list(damaged),
    }


def history_table(edits: Iterable[Mapping[str, Any]]) -> str:
    """The edits of `history_document` as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(edits)
    return text.getvalue()


def write_history(path: Path, project: Project, image_id: str | None = None) -> None:
    """Write the history of one image, or of all, as CSV or JSON, by the ending of the name.

    Raises
    ------
    InputError
        When the name ends otherwise.
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    document = history_document(project, image_id)
    if path.suffix.lower() == ".csv":
        text = history_table(document["edits"])
    elif path.suffix.lower() == ".json":
        text = f"{json_text(document)}\n"
    else:
        raise InputError(f"'{path.name}' ends neither with .csv nor with .json; choose one of them.")
    try:
        write_bytes(path, text.encode())
    except OSError as error:
        raise ResourceError(f"'{path}' cannot be written ({error.strerror}); free space or permit it.") from error


def _row(record: Record, names: Mapping[str, str]) -> dict[str, Any]:
    box = record.box
    values = (record.seq, _time(record.at), names.get(record.image_id, record.image_id), record.author, record.kind)
    places = (record.tool, box.y0, box.x0, box.y1, box.x1, record.changed, record.cells, record.target)
    return dict(zip(COLUMNS, (*values, *places), strict=True))


def _effort(effort: Effort, names: Mapping[str, str], in_force: int) -> dict[str, Any]:
    return {
        "image": names.get(effort.image_id, effort.image_id),
        "id": effort.image_id,
        "edits": effort.edits,
        "undone": effort.undone,
        "in_force": in_force,
        "pixels": effort.pixels,
        "cells": effort.cells,
        "authors": list(effort.authors),
        "first_at": _time(effort.first_at),
        "last_at": _time(effort.last_at),
        "active_minutes": round(effort.active_s / 60, 1),
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
