"""The patches of the newest edits, decoded, so that taking them back need not read them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_histoseg.core.cell_patch import CellPatch
    from napari_histoseg.core.edit import Patch

_MOST_BYTES = 96 << 20  # two changes of 20,000 cells take 74 MB


class RecentPatches:
    """Patches by number of their edit; those that were put first go when all take more than 96 MiB."""

    def __init__(self) -> None:
        self._patches: OrderedDict[int, Patch | CellPatch] = OrderedDict()
        self._bytes = 0

    def put(self, seq: int, patch: Patch | CellPatch) -> None:
        """Keep the patch of edit ``seq``, as it was made."""
        if seq in self._patches:
            self._bytes -= self._patches.pop(seq).nbytes
        self._patches[seq] = patch
        self._bytes += patch.nbytes
        while self._bytes > _MOST_BYTES:
            self._bytes -= self._patches.popitem(last=False)[1].nbytes

    def get(self, seq: int) -> Patch | CellPatch | None:
        """The patch of edit ``seq``; None when it is not kept."""
        return self._patches.get(seq)
