"""From a folder to an open project: lock, version, journal, repairs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_histoseg.core.atomic import TEMPORARY_MARK, publish_folder, write_json
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.journal import Journal
from napari_histoseg.core.journal_tail import commits_in_log, lost_writes
from napari_histoseg.core.lock import FolderLock, user_name
from napari_histoseg.core.recovery import adopt_checkpoints, newest_checkpoint_seq, salvage_journal
from napari_histoseg.core.schema import LabelSchema

FORMAT_VERSION = 1
PROJECT_FILE = "project.json"
JOURNAL_FILE = "journal.sqlite"
LOCK_FILE = "lock"
CHECKPOINTS = "checkpoints"
REVISIONS = "revisions"

HEADER_KEY = "project"
"""Setting of the journal that holds a second copy of the header."""
CHANGES = "changes"
"""What was done to the classes since the project was made, in the header."""


@dataclass
class OpenFolder:
    """The parts of an open project folder.

    Parameters
    ----------
    path : Path
    header : dict
        Content of the project file.
    schema : LabelSchema
    journal : Journal
    lock : FolderLock or None
        None when the folder is open for reading only.
    entries : dict of str to ImageEntry
    notes : list of str
        What the person should know: repairs, why nothing can be written.
    """

    path: Path
    header: dict[str, Any]
    schema: LabelSchema
    journal: Journal
    lock: FolderLock | None
    entries: dict[str, ImageEntry]
    notes: list[str] = field(default_factory=list)
    copied_to: Path | None = None

    def close(self) -> None:
        self.journal.close()
        if self.lock is not None:
            self.lock.release()
        if self.copied_to is not None:
            shutil.rmtree(self.copied_to, ignore_errors=True)


def create_folder(path: Path, schema: LabelSchema) -> None:
    """Make an empty project; it appears at ``path`` by one rename.

    Raises
    ------
    ProjectError
        When something is there already or the place cannot be written.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        what = "is a project already; open it" if (path / PROJECT_FILE).exists() else "is not empty"
        raise ProjectError(f"'{path}' {what}, or give the new project another name.")
    temporary = path.with_name(f"{TEMPORARY_MARK}{path.name}")
    header = {"format": FORMAT_VERSION, "created_at": time.time(), "schema": schema.to_json()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        journal = Journal(temporary / JOURNAL_FILE)
        try:
            journal.put_setting(HEADER_KEY, header)
        finally:
            journal.close()
        write_json(temporary / PROJECT_FILE, header)
        publish_folder(temporary, path)
    except (OSError, sqlite3.Error) as error:
        raise ProjectError(
            f"No project could be created at '{path}' ({getattr(error, 'strerror', None) or error}); "
            "choose a folder you can write to, on a disk with free space."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_folder(path: Path, *, read_only: bool) -> OpenFolder:
    """Open a project folder, repairing what can be repaired.

    A folder that cannot be written is opened for reading only, with a note.

    Raises
    ------
    ProjectLockedError
        When another window has it open and ``read_only`` is False.
    ProjectError
        When it is no project, comes from a newer version, or is damaged beyond repair.
    """
    header = _header(path)
    if read_only:
        return _open_for_reading(path, header, [])
    try:
        lock = FolderLock(path / LOCK_FILE)
    except OSError as error:
        note = f"The project '{path}' cannot be written ({error.strerror}), so it is open for reading only."
        return _open_for_reading(path, header, [note])
    try:
        return _open_for_writing(path, header, lock)
    except BaseException:
        lock.release()
        raise


def _open_for_writing(path: Path, header: dict[str, Any] | None, lock: FolderLock) -> OpenFolder:
    try:
        notes: list[str] = []
        journal, is_repaired = _journal(path, notes)
        try:
            newest, schema = _newest_header(path, header, journal)
            _restore_header(path, header, newest, journal, notes)
            entries = _entries(journal, notes)
            written = newest_checkpoint_seq(path / CHECKPOINTS)
            if is_repaired or written > journal.last_seq():
                journal.skip_to(written)
                notes += adopt_checkpoints(journal, path / CHECKPOINTS, entries, user_name())
            journal.interrupt_runs()
            _clean(path)
        except BaseException:
            journal.close()
            raise
        return OpenFolder(path, newest, schema, journal, lock, entries, notes)
    except (OSError, sqlite3.Error) as error:
        raise ProjectError(
            f"The project '{path}' cannot be opened ({getattr(error, 'strerror', None) or error}); "
            "free some disk space, or open it for reading only."
        ) from error


def _open_for_reading(path: Path, header: dict[str, Any] | None, notes: list[str]) -> OpenFolder:
    source = path / JOURNAL_FILE
    if not source.is_file():
        raise ProjectError(
            f"The project '{path}' has lost its journal; open it for writing, so that it can be restored from its "
            "checkpoints."
        )
    copied_to: Path | None = None
    try:
        try:
            journal = Journal(source, read_only=True)
        except sqlite3.OperationalError:
            # SQLite must create files beside a journal that was not closed properly; in a folder that cannot be
            # written it reads a copy.
            copied_to = Path(tempfile.mkdtemp(prefix="napari-histoseg-"))
            for name in (JOURNAL_FILE, f"{JOURNAL_FILE}-wal"):
                if (path / name).exists():
                    shutil.copyfile(path / name, copied_to / name)
            journal = Journal(copied_to / JOURNAL_FILE, read_only=True)
    except (OSError, sqlite3.Error) as error:
        if copied_to is not None:
            shutil.rmtree(copied_to, ignore_errors=True)
        raise ProjectError(
            f"The journal of '{path}' cannot be read ({error}); copy the folder to a place you can write to and open "
            "it there, so that it can be repaired."
        ) from error
    newest, schema = _newest_header(path, header, journal)
    return OpenFolder(path, newest, schema, journal, None, _entries(journal, notes), notes, copied_to)


def _journal(path: Path, notes: list[str]) -> tuple[Journal, bool]:
    """The journal, and whether it had to be repaired or begun anew."""
    source = path / JOURNAL_FILE
    if not source.exists() or source.stat().st_size == 0:
        notes.append(f"The journal of '{path}' was missing; the history of its edits is lost.")
        return Journal(source), True
    try:
        commits = commits_in_log(source)
        journal = Journal(source)
        lost = lost_writes(source, commits)
        if lost:
            notes.append(
                f"The end of the journal of '{path}' was damaged: its last {lost} writes could not be read. What was "
                "done before them is whole."
            )
        return journal, False
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        notes.append(salvage_journal(source))
        return Journal(source), True


def _header(path: Path) -> dict[str, Any] | None:
    """Content of the project file; None when it is missing or damaged but the folder is a project's."""
    if not path.exists():
        raise ProjectError(f"There is no project at '{path}'; check the path or create a new project.")
    try:
        header = json.loads((path / PROJECT_FILE).read_bytes())
        version = int(header["format"])
    except (OSError, ValueError, KeyError, TypeError):
        if path.is_dir() and ((path / JOURNAL_FILE).exists() or (path / CHECKPOINTS).exists()):
            return None
        raise ProjectError(
            f"'{path}' is not a napari-histoseg project (it has no {PROJECT_FILE}); choose a project folder."
        ) from None
    if version > FORMAT_VERSION:
        raise ProjectError(
            f"The project '{path}' was written by a newer napari-histoseg (format {version}, this one reads up to "
            f"{FORMAT_VERSION}); update napari-histoseg to open it."
        )
    return dict(header)


def _newest_header(path: Path, header: dict[str, Any] | None, journal: Journal) -> tuple[dict[str, Any], LabelSchema]:
    """The header that has seen the most changes of classes, of the two that are kept, and its schema."""
    found: list[tuple[int, dict[str, Any], LabelSchema]] = []
    for candidate in (header, journal.setting(HEADER_KEY)):
        try:
            if candidate is not None:
                found.append((len(candidate.get(CHANGES, ())), candidate, LabelSchema.from_json(candidate["schema"])))
        except (InputError, KeyError, TypeError, AttributeError):
            continue
    if found:
        _, newest, schema = max(found, key=lambda one: one[0])
        return newest, schema
    raise ProjectError(
        f"The project '{path}' has lost its list of classes ({PROJECT_FILE}); put that file back from a backup, or "
        "copy it from another project with the same classes."
    )


def _restore_header(
    path: Path, header: dict[str, Any] | None, newest: dict[str, Any], journal: Journal, notes: list[str]
) -> None:
    """Keep the two copies of the header, in the project file and in the journal, alive through each other."""
    if header != newest:
        write_json(path / PROJECT_FILE, newest)
    if header is None:
        notes.append(f"The file {PROJECT_FILE} of '{path}' was missing or damaged and was written again.")
    if journal.setting(HEADER_KEY) != newest:
        journal.put_setting(HEADER_KEY, newest)


def _clean(path: Path) -> None:
    """Remove what a killed process left unfinished."""
    for leftover in list(path.rglob(f"{TEMPORARY_MARK}*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _entries(journal: Journal, notes: list[str]) -> dict[str, ImageEntry]:
    entries: dict[str, ImageEntry] = {}
    for image_id, data in journal.images().items():
        try:
            entries[image_id] = ImageEntry.from_json(data)
        except ProjectError as error:
            notes.append(str(error))
    return entries
