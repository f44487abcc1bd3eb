"""One writer per project folder, across processes and windows."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from napari_histoseg.core.errors import ProjectLockedError

# Windows locks are mandatory: the locked byte lies behind the text, so that others can read who holds it.
_LOCKED_BYTE = 1 << 20


class FolderLock:
    """An exclusive lock that the operating system drops when the process ends, however it ends.

    Parameters
    ----------
    path : Path
        The lock file; created when missing, and left in place on release.

    Raises
    ------
    ProjectLockedError
        When somebody else holds it; the sentence says who, where known.
    OSError
        When the file cannot be written, or the disk knows no locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = path.open("r+b") if path.exists() else path.open("w+b")
        try:
            _lock(self._file)
        except (BlockingIOError, PermissionError):
            holder = _describe(self._file.read(4096))
            self._file.close()
            raise ProjectLockedError(
                f"The project '{path.parent}' is open in another window ({holder}); close it there, "
                "or open it here for reading only."
            ) from None
        except OSError:
            self._file.close()
            raise
        self._write({"pid": os.getpid(), "host": socket.gethostname(), "user": user_name(), "since": time.time()})

    def release(self) -> None:
        """Give the lock back; calling it again does nothing."""
        if self._file is None:
            return
        self._write({})
        _unlock(self._file)
        self._file.close()
        self._file = None

    def _write(self, holder: dict[str, object]) -> None:
        """Note the holder for others to read; a courtesy that a full disk may not turn into a failure."""
        file = self._file
        if file is None:
            return
        text = json.dumps(holder).encode()
        try:
            file.seek(0)
            file.write(text.ljust(512))
            file.flush()
        except OSError:
            return


def user_name() -> str:
    """Login name of the person, or "unknown" where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _describe(text: bytes) -> str:
    try:
        holder = json.loads(text)
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(holder["since"])))
        return f"user {holder['user']}, computer {holder['host']}, process {holder['pid']}, since {since}"
    except (ValueError, KeyError, TypeError):
        return "holder unknown"


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(0)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
