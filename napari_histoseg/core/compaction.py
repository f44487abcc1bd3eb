"""Keeping a project small: the pixels of old edits go, what they led to and who made them when stays."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.bases import About, Base
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import NO_CELL, CellPatch
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.cell_runs import CellRuns
from napari_histoseg.core.edit import Patch, Record
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.journal import DamagedEditError, Journal
from napari_histoseg.core.opening import JOURNAL_FILE, OpenFolder
from napari_histoseg.core.planes import Chunked, Planes

_KEEP = "keep_days"
_DAY_S = 86_400.0
_NOTHING = Box(0, 0, 0, 0)


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Parameters
    ----------
    edits : int
        Number of edits that can no longer be taken back or done again.
    before_bytes, after_bytes : int
        Size of the journal.
    """

    edits: int
    before_bytes: int
    after_bytes: int


class Compacting(ABC):
    """The part of a project that forgets how old work was done; see `napari_histoseg.core.project.Project`."""

    _folder: OpenFolder
    _journal: Journal

    @property
    @abstractmethod
    def images(self) -> tuple[ImageEntry, ...]: ...

    @abstractmethod
    def planes(self, image_id: str) -> Planes: ...

    @abstractmethod
    def cells(self, image_id: str) -> Cells: ...

    @abstractmethod
    def checkpoint(self) -> None: ...

    @property
    def keep_days(self) -> float | None:
        """How many days back undo is to reach, as the project remembers; None, the default, for all the way."""
        days = self._journal.setting(_KEEP)
        return None if days is None else float(days)

    def set_keep_days(self, days: float | None) -> None:
        """Remember how far back undo is to reach; nothing is dropped before `compact`. Errors as there."""
        if days is not None and not days >= 0:
            raise InputError(f"{days} is no number of days; give 0 or more.")
        self._journal.put_setting(_KEEP, days)

    def is_compacted(self, seq: int) -> bool:
        """Whether the pixels of an edit were dropped, so that it can be neither taken back nor done again."""
        return self._journal.is_compacted(seq)

    def compacted(self, image_id: str, *, after: int = 0) -> tuple[Record, ...]:
        """The edits of an image from number ``after`` (exclusive) on whose pixels were dropped."""
        until = self._journal.compacted_until()
        seqs = [seq for seq in self._journal.seqs(image_id, after=after) if seq <= until]
        return tuple(self._journal.record(seq) for seq in seqs if self.is_compacted(seq))

    def compact(self, keep_days: float, *, now: float | None = None) -> Compacted:
        """Drop the pixels of edits that are older than ``keep_days`` days.

        Labels, cells and the list of who did what, when and where stay bit for bit what they are; undo stops at the
        oldest edit that kept its pixels.

        Parameters
        ----------
        keep_days : float
            0 drops all of them.
        now : float, optional
            Unix time in seconds that the days are counted back from.

        Raises
        ------
        InputError
            When the number of days is negative.
        ProjectError
            When the disk is full, the project is read-only, or its journal is damaged; nothing has changed then.
        """
        if not keep_days >= 0:
            raise InputError(f"{keep_days} is no number of days; give 0 or more.")
        self.checkpoint()
        limit = (time.time() if now is None else now) - keep_days * _DAY_S
        until = self._journal.last_seq_before(limit)
        before = self._journal_bytes()
        if until <= self._journal.compacted_until():
            return Compacted(0, before, before)
        dropped = self._journal.compact(until, list(self._bases(until)))
        self._journal.shrink()
        return Compacted(dropped, before, self._journal_bytes())

    def _bases(self, until: int) -> Iterator[Base]:
        """What edits up to number ``until`` led to, found by taking the later ones back."""
        for entry in self.images:
            if self._has_edits(entry, "labels", until):
                planes = self.planes(entry.id)
                then = Planes(np.zeros_like(planes.labels), planes.labels.copy(), planes.state.copy())
                yield self._base(entry, "labels", until, then, planes)
            if self._has_edits(entry, "cells", until):
                cells = self.cells(entry.id)
                yield self._base(entry, "cells", until, Cells(cells.instances.copy(), _rows(cells)), cells)

    def _has_edits(self, entry: ImageEntry, about: About, until: int) -> bool:
        return any(seq <= until for seq in self._journal.seqs(entry.id, about=about))

    def _base(self, entry: ImageEntry, about: About, until: int, then: Chunked, now: Chunked) -> Base:
        seqs = self._journal.seqs(entry.id, after=until, about=about)
        try:
            patches = [self._journal.edit(seq).patch for seq in seqs]
        except DamagedEditError as error:
            raise ProjectError(f"{error} A damaged journal is not compacted, since nothing more may be lost.") from None
        for patch in reversed(patches):
            then.apply(patch.reversed())
        base = Base(entry.id, about, until, _from_nothing(then))
        check: Chunked = Planes.empty(entry.shape) if about == "labels" else Cells.empty(entry.shape)
        for step in (base.patch, *patches):
            if step is not None:
                check.apply(step)
        if not _is_same(check, now):
            raise ProjectError(
                f"The journal of '{entry.name}' does not lead to its {about}, so it is not compacted; nothing changed."
            )
        return base

    def _journal_bytes(self) -> int:
        files = (self._folder.path / f"{JOURNAL_FILE}{ending}" for ending in ("", "-wal"))
        return sum(path.stat().st_size for path in files if path.exists())


def _rows(cells: Cells) -> NDArray[np.void]:
    """Rows by number, up to the highest number that was ever used."""
    rows = np.full(cells.next_id, NO_CELL)
    rows[cells.ids] = cells.rows(cells.ids)
    return rows


def _from_nothing(then: Chunked) -> Patch | CellPatch | None:
    """What leads from an empty image to labels, or to cells with all the numbers that were ever used."""
    if isinstance(then, Planes):
        return Planes.empty(then.shape).difference_patch(then.labels, then.state)
    if not isinstance(then, Cells):
        raise TypeError(f"Labels or cells are needed, not {type(then).__name__}.")
    patch = Cells.empty(then.shape).difference_patch(then)
    if patch is None:
        none = np.zeros(0, np.uint32)
        patch = CellPatch(_NOTHING, _NOTHING, CellRuns.none(), none, np.full(0, NO_CELL), np.full(0, NO_CELL))
    last = then.next_id - 1
    if last < 1 or last in patch.ids:
        return patch
    ids, gone = np.append(patch.ids, last).astype(np.uint32), np.full(1, NO_CELL)
    before, after = np.append(patch.before_rows, gone), np.append(patch.after_rows, gone)
    return replace(patch, ids=ids, before_rows=before, after_rows=after)


def _is_same(one: Chunked, other: Chunked) -> bool:
    if isinstance(one, Planes) and isinstance(other, Planes):
        return np.array_equal(one.labels, other.labels) and np.array_equal(one.state, other.state)
    if isinstance(one, Cells) and isinstance(other, Cells):
        return np.array_equal(one.instances, other.instances) and np.array_equal(_rows(one), _rows(other))
    return False
