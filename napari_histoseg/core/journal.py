"""The truth of a project: every edit in one SQLite file, committed before anything else happens.

Write-ahead logging with ``synchronous=FULL``: when `Journal.append` returns, the edit survives a killed process and a
power cut. (``NORMAL`` would save a few milliseconds per stroke and lose the last strokes when the power fails.)
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

from napari_histoseg.core.bases import BASES_TABLE, About, Base, drop_pixels, is_dropped, read_base, write_bases
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.edit import Edit, Kind, Patch, Record
from napari_histoseg.core.errors import ProjectError, sqlite_reason
from napari_histoseg.core.recent import RecentPatches
from napari_histoseg.core.run import Run
from napari_histoseg.core.stacks import push

JOURNAL_VERSION = 4
"""1: strokes. 2: also cells; ``edits.cells`` is the number of cells that an edit is about, NULL for a stroke. 3: cells
may have points, which stand at the end of a patch. 4: the pixels of old edits may be dropped; see `bases`."""

_TABLES = f"""{BASES_TABLE}
CREATE TABLE images (id TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE edits (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, image_id TEXT NOT NULL, at REAL NOT NULL, author TEXT NOT NULL,
    tool TEXT NOT NULL, kind TEXT NOT NULL, y0 INTEGER, x0 INTEGER, y1 INTEGER, x1 INTEGER,
    changed INTEGER NOT NULL, target INTEGER, patch BLOB, checksum INTEGER NOT NULL, cells INTEGER);
CREATE INDEX edits_by_image ON edits (image_id, seq);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image_id TEXT NOT NULL, model TEXT NOT NULL, revision TEXT,
    y0 INTEGER, x0 INTEGER, y1 INTEGER, x1 INTEGER, started_at REAL NOT NULL, ended_at REAL, state TEXT NOT NULL);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_MIGRATIONS = {1: "ALTER TABLE edits ADD COLUMN cells INTEGER;", 2: "", 3: BASES_TABLE}
_RECORD_COLUMNS = "seq, image_id, at, author, tool, kind, y0, x0, y1, x1, changed, target, checksum"


class DamagedEditError(ProjectError):
    """A row of the journal whose content no longer matches its checksum."""


class CompactedEditError(ProjectError):
    """A row of the journal whose pixels were dropped by compaction."""


class Journal:
    """Append-only edits of all images of a project, its image list, runs and settings.

    Parameters
    ----------
    path : Path
        The SQLite file; created when missing unless ``read_only``.
    read_only : bool
        Never write, and leave no traces beside the file.

    Raises
    ------
    ProjectError
        When the file comes from a newer version or cannot be opened.
    sqlite3.DatabaseError
        When the file is damaged; `napari_histoseg.core.recovery` saves what is whole.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._recent = RecentPatches()
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > JOURNAL_VERSION:
            raise ProjectError(
                f"The project '{self._path.parent}' was written by a newer napari-histoseg (journal version {version}, "
                f"this one reads up to {JOURNAL_VERSION}); update napari-histoseg to open it."
            )
        if not self._read_only:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            if version == 0:
                self._db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={JOURNAL_VERSION};COMMIT;")
        report = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if report != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed: {report}")
        if 0 < version < JOURNAL_VERSION and not self._read_only:
            steps = "".join(_MIGRATIONS[old] for old in range(version, JOURNAL_VERSION))
            self._db.executescript(f"BEGIN;{steps}PRAGMA user_version={JOURNAL_VERSION};COMMIT;")
        self._cells_column = "NULL" if version == 1 and self._read_only else "cells"
        self._records_query = f"SELECT {_RECORD_COLUMNS}, {self._cells_column} FROM edits"
        self._has_bases = version >= 4 or not self._read_only

    def close(self) -> None:
        self._db.close()

    # edits ---------------------------------------------------------------------------------------------------------

    def append(
        self, image_id: str, *, author: str, tool: str, kind: Kind, patch: Patch | CellPatch, target: int | None = None
    ) -> Edit:
        """Commit one edit; it is on the disk when this returns.

        Raises
        ------
        ProjectError
            When the disk is full or cannot be written; the journal is then as it was before.
        """
        at, box = time.time(), patch.box
        data = patch.encode() if target is None else None  # undo and redo point to the patch of their target
        cells = patch.cells if isinstance(patch, CellPatch) else None
        row = (image_id, at, author, tool, kind, *_corners(box), patch.changed, target)
        with self.together():
            cursor = self._db.execute(
                "INSERT INTO edits VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, data, _checksum(row, cells), cells),
            )
        seq = cast(int, cursor.lastrowid)
        self._recent.put(target or seq, patch.reversed() if kind == "undo" else patch)
        return Edit(seq, image_id, at, author, tool, kind, box, patch.changed, target, cells, patch)

    def edit(self, seq: int) -> Edit:
        """The edit of that number.

        Raises
        ------
        DamagedEditError
            When the row is missing or damaged.
        """
        record = self.record(seq)
        patch = self._recent.get(record.target or seq) or self._patch(record)
        return Edit(**vars(record), patch=patch.reversed() if record.kind == "undo" else patch)

    def _patch(self, record: Record) -> Patch | CellPatch:
        seq = record.seq
        data = self._db.execute("SELECT patch FROM edits WHERE seq = ?", (record.target or seq,)).fetchone()
        if data is None or data[0] is None:
            if self.is_compacted(record.target or seq):
                day = time.strftime("%Y-%m-%d", time.localtime(record.at))
                raise CompactedEditError(
                    f"What was done up to {day} cannot be taken back or done again: the project was compacted, and "
                    "only who did it and when was kept."
                )
            raise DamagedEditError(f"{self._damaged(seq)}: its pixels are missing.")
        try:
            return (Patch if record.cells is None else CellPatch).decode(data[0], record.box)
        except ValueError as error:
            raise DamagedEditError(f"{self._damaged(seq)}: {error}.") from None

    def record(self, seq: int) -> Record:
        """The edit of that number without its pixels, which takes far less time; errors as in `edit`."""
        row = self._db.execute(f"{self._records_query} WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise DamagedEditError(f"Edit {seq} is missing from the journal of '{self._path.parent}'.")
        return self._record(row)

    def records(self, image_id: str | None = None) -> tuple[list[Record], list[str]]:
        """All edits of an image, or of all, without their pixels, and a sentence for each that is damaged."""
        found: list[Record] = []
        damaged: list[str] = []
        query = f"{self._records_query} WHERE coalesce(? = image_id, 1) ORDER BY seq"
        for row in self._db.execute(query, (image_id,)):
            try:
                found.append(self._record(row))
            except DamagedEditError as error:
                damaged.append(str(error))
        return found, damaged

    def _record(self, row: tuple[Any, ...]) -> Record:
        seq, *fields, checksum, cells = row
        if _checksum(tuple(fields), cells) != checksum:
            raise DamagedEditError(f"{self._damaged(seq)}: its checksum is wrong.")
        image_id, at, author, tool, kind, y0, x0, y1, x1, changed, target = fields
        return Record(seq, image_id, at, author, tool, kind, Box(y0, x0, y1, x1), changed, target, cells)

    def edits(self, image_id: str | None = None, *, after: int = 0) -> Iterator[Edit]:
        """Edits in the order they were made, from ``after`` (exclusive) on; of all images by default.

        Those whose pixels were dropped are left out.

        Raises
        ------
        DamagedEditError
            On reaching a damaged row.
        """
        for seq in self.seqs(image_id, after=after):
            with contextlib.suppress(CompactedEditError):
                yield self.edit(seq)

    def seqs(
        self, image_id: str | None = None, *, after: int = 0, about: Literal["labels", "cells"] | None = None
    ) -> list[int]:
        """Numbers of the edits that `edits` would give, or only of those about labels or about cells."""
        query, values = "SELECT seq FROM edits WHERE seq > ?", [after, image_id]
        if image_id is not None:
            query += " AND image_id = ?"
        if about is not None:
            query += f" AND {self._cells_column} IS {'NULL' if about == 'labels' else 'NOT NULL'}"
        rows = self._db.execute(f"{query} ORDER BY seq", values if image_id is not None else values[:1])
        return [row[0] for row in rows]

    def base(self, image_id: str, about: About) -> Base | None:
        """What the replay of an image begins with; None where it begins with nothing.

        Raises
        ------
        DamagedEditError
            When it is damaged.
        """
        try:
            return read_base(self._db, image_id, about) if self._has_bases else None
        except ValueError as error:
            raise DamagedEditError(
                f"The beginning of the compacted journal of '{self._path.parent}' is damaged: {error}."
            ) from None

    def is_compacted(self, seq: int) -> bool:
        """Whether the pixels of an edit were dropped, so that it can be neither taken back nor done again."""
        return self._has_bases and is_dropped(self._db, seq)

    def compacted_until(self) -> int:
        """Number of the last edit that the newest compaction was about; 0 when there was none."""
        row = self._db.execute("SELECT max(seq) FROM bases").fetchone() if self._has_bases else (None,)
        return int(row[0] or 0)

    def compact(self, until: int, bases: Iterable[Base]) -> int:
        """Drop the pixels of edits up to number ``until`` for ``bases``, which say what those edits led to.

        It is one transaction; returns how many edits lost their pixels.
        """
        with self.together():
            write_bases(self._db, bases)
            dropped = drop_pixels(self._db, until)
        self._recent = RecentPatches()
        return dropped

    def shrink(self) -> None:
        """Give the room of what was dropped back to the disk.

        Raises
        ------
        ProjectError
            When the disk is full; the journal is whole all the same.
        """
        try:
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise ProjectError(f"{sqlite_reason(error)} The journal in '{self._path.parent}' kept its size.") from error

    def last_seq(self) -> int:
        """Highest number that an edit has had; 0 when there never was one."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'edits'").fetchone()
        return 0 if row is None else int(row[0])

    def skip_to(self, seq: int) -> None:
        """Number later edits from ``seq`` + 1 on, so that a number that was ever used is not used again."""
        with self.together():
            used = max(seq, self.last_seq())
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'edits'")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('edits', ?)", (used,))

    def last_seq_before(self, at: float) -> int:
        """Number of the edit up to which all were made before a moment (Unix time in seconds); 0 when none was."""
        row = self._db.execute("SELECT min(seq) FROM edits WHERE at >= ?", (at,)).fetchone()
        return self.last_seq() if row[0] is None else int(row[0]) - 1

    def last_at(self) -> float | None:
        """Unix time in seconds of the newest edit."""
        row = self._db.execute("SELECT at FROM edits ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def stacks(self, image_id: str) -> tuple[list[int], list[int]]:
        """Edits in force (last one first to undo at the end) and edits taken back (next to redo at the end)."""
        done: list[int] = []
        undone: list[int] = []
        rows = self._db.execute("SELECT seq, kind, target FROM edits WHERE image_id = ? ORDER BY seq", (image_id,))
        for seq, kind, target in rows:
            push(done, undone, seq, kind, target)
        return done, undone

    def kind(self, seq: int) -> str:
        """What kind of act an edit is, as its row says; `record` checks that."""
        return str(self._db.execute("SELECT kind FROM edits WHERE seq = ?", (seq,)).fetchone()[0])

    def _damaged(self, seq: int) -> str:
        return f"Edit {seq} in the journal of '{self._path.parent}' is damaged"

    # images, settings, runs ----------------------------------------------------------------------------------------

    def put_image(self, image_id: str, entry: dict[str, Any]) -> None:
        with self.together():
            self._db.execute("INSERT OR REPLACE INTO images VALUES (?, ?)", (image_id, json.dumps(entry)))

    def images(self) -> dict[str, dict[str, Any]]:
        return {row[0]: json.loads(row[1]) for row in self._db.execute("SELECT id, entry FROM images ORDER BY id")}

    def put_setting(self, key: str, value: Any) -> None:
        """Remember a JSON value; None forgets it."""
        with self.together():
            if value is None:
                self._db.execute("DELETE FROM settings WHERE key = ?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value)))

    def setting(self, key: str, default: Any = None) -> Any:
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def begin_run(self, image_id: str, *, model: str, revision: str | None, box: Box) -> int:
        with self.together():
            cursor = self._db.execute(
                "INSERT INTO runs (image_id, model, revision, y0, x0, y1, x1, started_at, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running')",
                (image_id, model, revision, *_corners(box), time.time()),
            )
        return cast(int, cursor.lastrowid)

    def end_run(self, run_id: int, state: str) -> None:
        with self.together():
            self._db.execute("UPDATE runs SET state = ?, ended_at = ? WHERE id = ?", (state, time.time(), run_id))

    def interrupt_runs(self) -> None:
        """Mark runs that an earlier process never ended."""
        with self.together():
            self._db.execute("UPDATE runs SET state = 'interrupted' WHERE state = 'running'")

    def runs(self, image_id: str | None = None) -> tuple[Run, ...]:
        columns = "id, image_id, model, revision, y0, x0, y1, x1, started_at, ended_at, state"
        rows = self._db.execute(
            f"SELECT {columns} FROM runs WHERE coalesce(? = image_id, 1) ORDER BY id", (image_id,)
        ).fetchall()
        return tuple(
            Run(number, image, model, revision, Box(y0, x0, y1, x1), started_at, ended_at, state)
            for number, image, model, revision, y0, x0, y1, x1, started_at, ended_at, state in rows
        )

    def has_run(self, run_id: int, image_id: str) -> bool:
        """Whether that run was begun on that image."""
        query = "SELECT 1 FROM runs WHERE id = ? AND image_id = ?"
        return self._db.execute(query, (run_id, image_id)).fetchone() is not None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Commit everything that is written inside at once or, when it fails, nothing of it; errors as in `append`.

        Inside another one it is a part of that.
        """
        if self._read_only:
            raise ProjectError(
                f"The project '{self._path.parent}' is open for reading only, so nothing can be changed in it; "
                "copy the folder to a place you can write to and open it there."
            )
        if not self._path.exists():
            raise ProjectError(
                f"The project '{self._path.parent}' was moved or deleted while it was open; put the folder back and "
                "open it again. The last step was not saved."
            )
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise ProjectError(
                f"{sqlite_reason(error)} The last step in '{self._path.parent}' was not saved."
            ) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _corners(box: Box) -> tuple[int, int, int, int]:
    """The corners as plain numbers; numpy's would be stored as bytes."""
    return int(box.y0), int(box.x0), int(box.y1), int(box.x1)


def _checksum(fields: tuple[Any, ...], cells: int | None) -> int:
    return zlib.crc32(repr(fields if cells is None else (*fields, cells)).encode())
