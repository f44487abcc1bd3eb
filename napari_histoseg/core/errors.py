"""The family of errors whose text is meant for the person at the microscope."""

from __future__ import annotations

import sqlite3


class HistosegError(Exception):
    """Base of every expected failure.

    The message is one sentence or two that say what is wrong, where, and what to do. It is shown as it is,
    in the window and on standard error, without a traceback.
    """


class InputError(HistosegError):
    """An image, label file or argument that cannot be used."""


class ProjectError(HistosegError):
    """A project folder that cannot be opened, read or written."""


class ProjectLockedError(ProjectError):
    """The project is open in another window or process."""


class WeightsError(HistosegError):
    """A weights file that is damaged, foreign or does not fit its model."""


class ModelError(HistosegError):
    """A model that does not exist or cannot take the input it was given."""


class ResourceError(HistosegError):
    """Memory, disk or device ran out."""


def sqlite_reason(error: sqlite3.Error) -> str:
    """Why SQLite could not write, and what to do, as a sentence."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "The disk is full; free some space and repeat the step."
    if name.startswith("SQLITE_IOERR"):
        return "The disk cannot be written (it may be full or disconnected); free some space and repeat the step."
    if name.startswith("SQLITE_READONLY"):
        return "The project folder cannot be written; check its permissions and open it again."
    if name.startswith("SQLITE_BUSY"):
        return "Another program holds the journal; close it and repeat the step."
    return f"The journal cannot be written ({error}); close and reopen the project to repair it."
