"""The end of a journal that SQLite leaves out without a word, because it was damaged after the program had died."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_PAGE_BYTES = {1 << power for power in range(9, 17)}


def commits_in_log(journal: Path) -> tuple[int, ...]:
    """Which frames of a journal's write-ahead log, counted from 1, ended a transaction; to be called before SQLite.

    The layout of the log is that of https://www.sqlite.org/fileformat2.html#walformat. Frames of an earlier round,
    which SQLite writes over, do not count.
    """
    log = journal.with_name(f"{journal.name}-wal")
    if not log.is_file():
        return ()
    with log.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        page_bytes = int.from_bytes(header[8:12], "big")
        if page_bytes not in _PAGE_BYTES:
            return ()
        step = _FRAME_HEADER_BYTES + page_bytes
        found: list[int] = []
        for number in range(1, (log.stat().st_size - _HEADER_BYTES) // step + 1):
            file.seek(_HEADER_BYTES + (number - 1) * step)
            frame = file.read(_FRAME_HEADER_BYTES)
            if frame[8:16] == header[16:24] and any(frame[4:8]):
                found.append(number)
    return tuple(found)


def lost_writes(journal: Path, commits: tuple[int, ...]) -> int:
    """How many of the transactions that `commits_in_log` saw could not be read; to be called once SQLite has begun.

    One alone does not count: it is the act in flight when the program died, as far as anybody can tell.
    """
    if len(commits) < 2:
        return 0
    with closing(sqlite3.connect(journal)) as database:
        readable = int(database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    lost = sum(number > readable for number in commits)
    return lost if lost > 1 else 0
