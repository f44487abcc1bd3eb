"""Writing so that a reader, or a power cut, meets either the old content or the new, never a mixture."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from napari_histoseg.core.json_text import json_text

TEMPORARY_MARK = ".incoming-"
"""Part of the name of everything unfinished; a folder's owner may delete such leftovers when opening it."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the content of ``path``; it is on the disk when this returns.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be written; the old content is untouched.
    """
    replace_bytes(path, data)
    sync_folder(path.parent)


def replace_bytes(path: Path, data: bytes) -> None:
    """As `write_bytes`, but after a power cut ``path`` may be back at the old content until `sync_folder`."""
    temporary = path.with_name(f"{TEMPORARY_MARK}{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` with ``value`` as indented JSON; see `write_bytes`."""
    write_bytes(path, f"{json_text(value)}\n".encode())


def publish_folder(temporary: Path, final: Path) -> None:
    """Make a finished folder visible under its name by one rename, after all of its files are on the disk.

    Raises
    ------
    OSError
        When ``final`` exists already and is not an empty folder.
    """
    for path in sorted(temporary.rglob("*")):
        sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(temporary)
    if final.is_dir():
        final.rmdir()
    temporary.rename(final)
    sync_folder(final.parent)


def sync_file(path: Path) -> None:
    """Return when the file's content is on the disk."""
    with path.open("rb") as file:
        # Windows can only flush handles opened for writing; there the rename that follows is the barrier.
        if os.name != "nt":
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the folder's entries are on the disk; nothing to do where folders cannot be synced."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
