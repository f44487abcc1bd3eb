"""Where the replay of a compacted journal begins: what the edits led to whose pixels were dropped."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.edit import Patch

About = Literal["labels", "cells"]

BASES_TABLE = """
CREATE TABLE IF NOT EXISTS bases (
    image_id TEXT NOT NULL, about TEXT NOT NULL, seq INTEGER NOT NULL, y0 INTEGER, x0 INTEGER, y1 INTEGER, x1 INTEGER,
    patch BLOB, checksum INTEGER NOT NULL, PRIMARY KEY (image_id, about)) WITHOUT ROWID;
"""


@dataclass(frozen=True, eq=False)
class Base:
    """Labels or cells of an image at a moment.

    Parameters
    ----------
    image_id : str
    about : {"labels", "cells"}
    seq : int
        Number of the last edit that it holds.
    patch : Patch, CellPatch or None
        What leads there from an empty image; None when nothing does.
    """

    image_id: str
    about: About
    seq: int
    patch: Patch | CellPatch | None


def read_base(db: sqlite3.Connection, image_id: str, about: About) -> Base | None:
    """The base of an image; None when its journal is whole.

    Raises
    ------
    ValueError
        When it is damaged.
    """
    query = "SELECT seq, y0, x0, y1, x1, patch, checksum FROM bases WHERE image_id = ? AND about = ?"
    row = db.execute(query, (image_id, about)).fetchone()
    if row is None:
        return None
    seq, *corners, data, checksum = row
    if _checksum(image_id, about, seq, corners, data) != checksum:
        raise ValueError("its checksum is wrong")
    if data is None:
        return Base(image_id, about, seq, None)
    return Base(image_id, about, seq, (Patch if about == "labels" else CellPatch).decode(data, Box(*corners)))


def write_bases(db: sqlite3.Connection, bases: Iterable[Base]) -> None:
    """Put bases in the place of those there were."""
    for base in bases:
        box = Box(0, 0, 0, 0) if base.patch is None else base.patch.box
        corners = [int(corner) for corner in (box.y0, box.x0, box.y1, box.x1)]
        data = None if base.patch is None else base.patch.encode()
        checksum = _checksum(base.image_id, base.about, base.seq, corners, data)
        values = (base.image_id, base.about, base.seq, *corners, data, checksum)
        db.execute("INSERT OR REPLACE INTO bases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def drop_pixels(db: sqlite3.Connection, until: int) -> int:
    """Drop the pixels of edits up to number ``until``, except those that a later undo or redo points to; how many."""
    later = "SELECT target FROM edits WHERE seq > ? AND target IS NOT NULL"
    query = f"UPDATE edits SET patch = NULL WHERE seq <= ? AND patch IS NOT NULL AND seq NOT IN ({later})"
    return int(db.execute(query, (until, until)).rowcount)


def is_dropped(db: sqlite3.Connection, seq: int) -> bool:
    """Whether an edit lost its pixels to `drop_pixels`, and not to damage."""
    query = (
        "SELECT 1 FROM edits, bases WHERE edits.seq = ? AND edits.patch IS NULL AND edits.target IS NULL "
        "AND bases.seq >= edits.seq AND bases.image_id = edits.image_id"
    )
    return db.execute(query, (seq,)).fetchone() is not None


def _checksum(image_id: str, about: str, seq: int, corners: list[int], data: bytes | None) -> int:
    return zlib.crc32(data or b"", zlib.crc32(repr((image_id, about, seq, *corners)).encode()))
