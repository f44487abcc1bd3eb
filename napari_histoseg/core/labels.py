"""The label planes of a project's images: loaded when needed, written back little by little."""

from __future__ import annotations

import contextlib
import time

from napari_histoseg.core.checkpoint import Checkpoint
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.opening import CHECKPOINTS, OpenFolder
from napari_histoseg.core.planes import PLANES, Planes
from napari_histoseg.core.recovery import replay

_EVERY_S = 5.0


class LabelStore:
    """Planes in memory, kept in step with their checkpoints on disk.

    Parameters
    ----------
    folder : OpenFolder
        An open project; its notes tell what could not be loaded.
    """

    def __init__(self, folder: OpenFolder) -> None:
        self._folder = folder
        self._planes: dict[str, Planes] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._last_update = time.monotonic()

    def planes(self, entry: ImageEntry) -> Planes:
        """Live planes of an image, loaded on first use."""
        if entry.id not in self._planes:
            self._planes[entry.id] = self._load(entry)
        return self._planes[entry.id]

    def write_if_due(self, budget_s: float) -> None:
        """Write for about ``budget_s`` seconds when a round is under way or one is due; see `write`."""
        is_under_way = any(checkpoint.is_under_way for checkpoint in self._checkpoints.values())
        if is_under_way or time.monotonic() - self._last_update > _EVERY_S:
            self.write(budget_s)

    def write(self, budget_s: float | None = None) -> bool:
        """Bring the disk up to date, at most for ``budget_s`` seconds and one chunk.

        Returns
        -------
        bool
            True when nothing is left to write.

        Raises
        ------
        ProjectError
            When the disk is full; a later call tries again.
        """
        self._last_update = time.monotonic()
        if self._folder.lock is None:
            return True
        seq = self._folder.journal.last_seq()
        try:
            for image_id, planes in self._planes.items():
                checkpoint = self._checkpoints[image_id]
                entry = self._folder.entries[image_id].to_json()
                while planes.dirty or checkpoint.is_under_way:
                    if not checkpoint.update(planes, seq, entry, budget_s=budget_s):
                        return False
        except OSError as error:
            raise ProjectError(
                f"The labels of '{self._folder.path.name}' could not be written to their checkpoint "
                f"({error.strerror}); free some disk space. Every edit is safe in the journal."
            ) from error
        return True

    def _load(self, entry: ImageEntry) -> Planes:
        checkpoint = Checkpoint(self._folder.path / CHECKPOINTS, entry.id, entry.shape)
        stored, seq, damaged = checkpoint.load()
        empty = Planes.empty(entry.shape)
        planes = Planes(*(stored.get(name, empty.array(name)) for name in PLANES)) if stored else empty
        if "proposal" in damaged:
            self._folder.notes.append(f"The model output for '{entry.name}' was damaged; press Segment again.")
        self._folder.notes += replay(self._folder.journal, planes, entry.id, after=seq)
        if self._folder.lock is not None:
            # Now, while an image is being opened, and not in the middle of painting. A full disk is told when it is
            # time to write.
            with contextlib.suppress(OSError):
                checkpoint.begin()
        self._checkpoints[entry.id] = checkpoint
        return planes
