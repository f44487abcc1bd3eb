"""The label planes and cells of a project's images: loaded when needed, written back little by little."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.checkpoint import CELLS, LABELS, Checkpoint
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.opening import CHECKPOINTS, OpenFolder
from napari_histoseg.core.planes import PLANES, Chunked, Planes
from napari_histoseg.core.recovery import replay
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schema_change import successors

_EVERY_S = 5.0


class LabelStore:
    """Planes and cells in memory, kept in step with their checkpoints on disk.

    Parameters
    ----------
    folder : OpenFolder
        An open project; its notes tell what could not be loaded.
    """

    def __init__(self, folder: OpenFolder) -> None:
        self._folder = folder
        self._planes: dict[str, Planes] = {}
        self._cells: dict[str, Cells] = {}
        self._live: list[tuple[str, Chunked, Checkpoint]] = []
        self._last_update = time.monotonic()

    def planes(self, entry: ImageEntry) -> Planes:
        """Live planes of an image, loaded on first use."""
        if entry.id not in self._planes:
            self._planes[entry.id] = self._load_planes(entry)
        return self._planes[entry.id]

    def cells(self, entry: ImageEntry) -> Cells:
        """Live cells of an image, loaded on first use."""
        if entry.id not in self._cells:
            self._cells[entry.id] = self._load_cells(entry)
        return self._cells[entry.id]

    def write_if_due(self, budget_s: float) -> None:
        """Write for about ``budget_s`` seconds when a round is under way or one is due; see `write`."""
        is_under_way = any(checkpoint.is_under_way for _, _, checkpoint in self._live)
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
            for image_id, live, checkpoint in self._live:
                entry = self._folder.entries[image_id].to_json()
                while live.is_dirty or checkpoint.is_under_way:
                    if not checkpoint.update(live, seq, entry, budget_s=budget_s):
                        return False
        except OSError as error:
            raise ProjectError(
                f"The labels of '{self._folder.path.name}' could not be written to their checkpoint "
                f"({error.strerror}); free some disk space. Every edit is safe in the journal."
            ) from error
        return True

    def _load_planes(self, entry: ImageEntry) -> Planes:
        checkpoint = Checkpoint(self._folder.path / CHECKPOINTS, entry.id, entry.shape, LABELS)
        stored = checkpoint.load()
        codes = successors(self._folder.schema)
        if codes is not None and "proposal" in stored.arrays:  # it may be older than the list of classes
            stored.arrays["proposal"] = codes[stored.arrays["proposal"]]
        empty = Planes.empty(entry.shape)
        planes = Planes(*(stored.arrays.get(name, empty.array(name)) for name in PLANES)) if stored.arrays else empty
        if "proposal" in stored.damaged:
            self._folder.notes.append(f"The model output for '{entry.name}' was damaged; press Segment again.")
        self._folder.notes += replay(self._folder.journal, planes, entry.id, after=stored.seq)
        self._keep(entry, planes, checkpoint)
        return planes

    def _load_cells(self, entry: ImageEntry) -> Cells:
        checkpoint = Checkpoint(self._folder.path / CHECKPOINTS, entry.id, entry.shape, CELLS)
        stored = checkpoint.load()
        restored = Cells.restored(stored)
        cells, seq = (Cells.empty(entry.shape), 0) if restored is None else (restored, stored.seq)
        self._folder.notes += replay(self._folder.journal, cells, entry.id, after=seq)
        self._keep(entry, cells, checkpoint)
        return cells

    def _keep(self, entry: ImageEntry, live: Chunked, checkpoint: Checkpoint) -> None:
        if self._folder.lock is not None:
            # Now, while an image is being opened, and not in the middle of painting. A full disk is told when it is
            # time to write.
            with contextlib.suppress(OSError):
                checkpoint.begin()
        self._live.append((entry.id, live, checkpoint))


def checked_labels(
    entry: ImageEntry, schema: LabelSchema, box: Box, labels: NDArray[Any], where: str
) -> NDArray[np.uint8]:
    """``labels`` as uint8, of the size of the box, with known values only.

    Raises
    ------
    InputError
        Otherwise; ``where`` says what the labels are.
    """
    values = entry.fitted(box, labels, np.uint8, where, "values outside 0 to 255; label values must be class ids")
    is_known = np.zeros(256, bool)
    is_known[[*schema.ids, IGNORE]] = True
    if not is_known[values].all():
        schema.check(values, where)
    return values
