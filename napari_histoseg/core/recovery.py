"""Saving what is whole of a damaged project, and saying so."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from napari_histoseg.core.atomic import TEMPORARY_MARK, sync_file, sync_folder
from napari_histoseg.core.bases import Base
from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.checkpoint import CELLS, LABELS, Checkpoint, Stored, notes_in
from napari_histoseg.core.edit import Patch
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.journal import DamagedEditError, Journal
from napari_histoseg.core.planes import Chunked, Planes

_TABLES = ("images", "settings", "runs", "bases", "edits")


def salvage_journal(path: Path) -> str:
    """Replace a damaged journal by a new one with every row that can still be read.

    The damaged file is kept beside it as ``journal.damaged-N.sqlite``.

    Returns
    -------
    str
        What was saved, for the person.
    """
    damaged = _free_name(path)
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy2(source, damaged.with_name(damaged.name + suffix))
    fresh = path.with_name(f"{TEMPORARY_MARK}{path.name}")
    _remove_database(fresh)
    Journal(fresh).close()
    counts = _copy_rows(damaged, fresh)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    sync_file(fresh)
    fresh.replace(path)
    sync_folder(path.parent)
    return (
        f"The journal of '{path.parent}' was damaged; {counts['edits']} of its edits could be read and were kept. "
        f"The damaged file is '{damaged.name}'."
    )


def adopt_checkpoints(journal: Journal, folder: Path, entries: dict[str, ImageEntry], author: str) -> tuple[str, ...]:
    """Bring back from the checkpoints what the journal has lost, as edits of kind "import".

    Parameters
    ----------
    journal : Journal
    folder : Path
        Where the checkpoints lie.
    entries : dict
        Images by id; those that only a checkpoint knows are added to it and to the journal.
    author : str
        Written into the new edits.

    Returns
    -------
    tuple of str
        What was brought back, for the person.
    """
    said: list[str] = []
    for layout in (LABELS, CELLS):
        for image_id, note in notes_in(folder, layout):
            if image_id not in entries:
                try:
                    entries[image_id] = ImageEntry.from_json(note["entry"])
                except ProjectError:
                    continue
                journal.put_image(image_id, note["entry"])
                said.append(f"'{entries[image_id].name}' was restored from its last checkpoint.")
            entry = entries[image_id]
            stored = Checkpoint(folder, image_id, entry.shape, layout).load()
            patch = (_lost_labels if layout is LABELS else _lost_cells)(journal, stored, entry)
            if patch is not None:
                journal.append(image_id, author=author, tool="recovered", kind="import", patch=patch)
                what = f"{patch.cells} cells" if isinstance(patch, CellPatch) else f"{patch.changed} labelled pixels"
                said.append(f"{what} of '{entry.name}' came back from its last checkpoint.")
    return tuple(said)


def _lost_labels(journal: Journal, stored: Stored, entry: ImageEntry) -> Patch | None:
    """What a checkpoint knows of labels and the journal does not."""
    if "labels" not in stored.arrays:
        return None
    saved = Planes(Planes.empty(entry.shape).proposal, stored.arrays["labels"], stored.arrays["state"])
    replay(journal, saved, entry.id, after=stored.seq)
    replayed = Planes.empty(entry.shape)
    replay(journal, replayed, entry.id, after=0)
    return replayed.difference_patch(saved.labels, saved.state)


def _lost_cells(journal: Journal, stored: Stored, entry: ImageEntry) -> CellPatch | None:
    """What a checkpoint knows of cells and the journal does not."""
    saved = Cells.restored(stored)
    if saved is None:
        return None
    replay(journal, saved, entry.id, after=stored.seq)
    replayed = Cells.empty(entry.shape)
    replay(journal, replayed, entry.id, after=0)
    return replayed.difference_patch(saved)


def replay(journal: Journal, target: Chunked, image_id: str, *, after: int) -> tuple[str, ...]:
    """Apply the edits of an image that follow ``after`` to its labels or to its cells.

    Returns
    -------
    tuple of str
        A sentence for each damaged edit, which is left out.
    """
    damaged: list[str] = []
    is_labels = isinstance(target, Planes)
    try:
        base = journal.base(image_id, "labels" if is_labels else "cells")
        if base is not None and after < base.seq:
            _go_to(target, base)
            after = base.seq
    except DamagedEditError as error:
        damaged.append(f"{error} What was done before is lost.")
    for seq in journal.seqs(image_id, after=after, about="labels" if is_labels else "cells"):
        try:
            target.apply(journal.edit(seq).patch)
        except DamagedEditError as error:
            lost = "Its stroke is lost; paint it again." if is_labels else "Its change of cells is lost; make it again."
            damaged.append(f"{error} {lost}")
    return tuple(damaged)


def _go_to(target: Chunked, base: Base) -> None:
    """Bring labels or cells, whatever they hold, to where a compacted journal begins."""
    patch: Patch | CellPatch | None = None
    if isinstance(target, Planes):
        planes = Planes.empty(target.shape)
        if isinstance(base.patch, Patch):
            planes.apply(base.patch)
        patch = target.difference_patch(planes.labels, planes.state)
    elif isinstance(target, Cells):
        cells = Cells.empty(target.shape)
        if isinstance(base.patch, CellPatch):
            cells.apply(base.patch)
        patch = target.difference_patch(cells)
    for step in (patch, base.patch):  # the second adds only the numbers of cells that are gone
        if step is not None:
            target.apply(step)


def newest_checkpoint_seq(folder: Path) -> int:
    """The highest edit number that any checkpoint reflects; 0 without checkpoints."""
    notes = itertools.chain(notes_in(folder, LABELS), notes_in(folder, CELLS))
    return max((int(note["seq"]) for _, note in notes), default=0)


def _copy_rows(damaged: Path, fresh: Path) -> dict[str, int]:
    counts = dict.fromkeys(_TABLES, 0)
    source = sqlite3.connect(damaged)
    target = sqlite3.connect(fresh)
    try:
        for table in _TABLES:
            width = len(target.execute(f"PRAGMA table_info({table})").fetchall())
            marks = ", ".join("?" * width)
            for row in _rows(source, table):
                whole = (*row, *[None] * (width - len(row)))  # an older version wrote fewer columns
                counts[table] += target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", whole).rowcount
        target.commit()
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        source.close()
        target.close()
    return counts


def _rows(source: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Rows from both ends of a table, up to the damage."""
    key = {"images": "id", "settings": "key", "runs": "id", "bases": "image_id", "edits": "seq"}[table]
    for order in ("ASC", "DESC"):
        try:
            yield from _whole(table, source.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY {key} {order}"))
        except sqlite3.Error:
            continue


def _whole(table: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows whose JSON can be read; damage inside a page shows only there."""
    for row in rows:
        if table in ("images", "settings"):
            try:
                json.loads(row[1])
            except (ValueError, TypeError):
                continue
        yield row


def _free_name(path: Path) -> Path:
    number = 1
    while path.with_name(f"{path.stem}.damaged-{number}{path.suffix}").exists():
        number += 1
    return path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
