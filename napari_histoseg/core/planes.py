"""The three label planes of an image in memory, kept consistent by construction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import Patch, State
from napari_histoseg.core.schema import IGNORE

CHUNK_PX = 512
PLANES = ("proposal", "labels", "state")
FILL = {"proposal": IGNORE, "labels": IGNORE, "state": int(State.UNREVIEWED)}

T = TypeVar("T", bound=np.generic)

_COUNTED_PX = 2048  # counting needs room for its intermediate results

Chunk = tuple[str, int, int]
"""Plane name, row and column of a chunk of ``CHUNK_PX`` squared."""


class Chunked(ABC):
    """Arrays of an image of which it is known what changed since it was last written to the disk.

    Parameters
    ----------
    arrays : dict of str to ndarray, shape (H, W)
        Taken over, not copied.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self.dirty: set[Chunk] = set()

    @property
    def shape(self) -> tuple[int, int]:
        height, width = next(iter(self._arrays.values())).shape
        return height, width

    @property
    def is_dirty(self) -> bool:
        """Whether anything changed since it was last written."""
        return bool(self.dirty)

    def note(self) -> dict[str, Any]:
        """What belongs into the note of the checkpoint besides the arrays, as JSON."""
        return {}

    @abstractmethod
    def apply(self, patch: Any) -> None:
        """Set what changed to its values after the patch; doing it twice changes nothing more."""

    def chunk(self, chunk: Chunk) -> NDArray[Any]:
        """The pixels of a chunk, a view; smaller than ``CHUNK_PX`` squared at the far edges."""
        name, row, column = chunk
        y, x = row * CHUNK_PX, column * CHUNK_PX
        return self._arrays[name][y : y + CHUNK_PX, x : x + CHUNK_PX]

    def _touch(self, box: Box, *names: str) -> None:
        rows = range(box.y0 // CHUNK_PX, -(-box.y1 // CHUNK_PX))
        columns = range(box.x0 // CHUNK_PX, -(-box.x1 // CHUNK_PX))
        self.dirty |= {(name, row, column) for name in names for row in rows for column in columns}


class Planes(Chunked):
    """Model output, a person's labels, and how far the person vouched for each pixel.

    A pixel shows the person's label where its state is not unreviewed, and the model's proposal elsewhere.
    ``labels`` is ``IGNORE`` exactly where the state is unreviewed.

    Parameters
    ----------
    proposal, labels, state : ndarray of uint8, shape (H, W)
        The arrays are taken over, not copied.
    """

    def __init__(self, proposal: NDArray[np.uint8], labels: NDArray[np.uint8], state: NDArray[np.uint8]) -> None:
        super().__init__({"proposal": proposal, "labels": labels, "state": state})
        # Pixels of each class: shown at all, and painted by the person. Kept up to date edit by edit, because
        # counting 4096 x 4096 pixels anew after every stroke would take longer than the stroke.
        self._shown = np.zeros(256, np.int64)
        self._edited = np.zeros(256, np.int64)
        for part in Box.of_shape(state.shape).tiles(_COUNTED_PX):
            self._shown += _histogram(self.displayed(part))
            self._edited += _histogram(labels[part.slices], state[part.slices] == State.EDITED)

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Planes:
        return cls(*(np.full(shape, FILL[name], np.uint8) for name in PLANES))

    def array(self, name: str) -> NDArray[np.uint8]:
        """The live array of a plane itself, for handing it over to other planes."""
        return self._arrays[name]

    @property
    def proposal(self) -> NDArray[np.uint8]:
        """Latest model output, uint8 (H, W), ``IGNORE`` where there is none; a read-only view that stays live."""
        return read_only(self._arrays["proposal"])

    @property
    def labels(self) -> NDArray[np.uint8]:
        """What a person vouched for, uint8 (H, W), ``IGNORE`` elsewhere; a read-only view that stays live."""
        return read_only(self._arrays["labels"])

    @property
    def state(self) -> NDArray[np.uint8]:
        """`State` of each pixel, uint8 (H, W); a read-only view that stays live."""
        return read_only(self._arrays["state"])

    def displayed(self, box: Box | None = None) -> NDArray[np.uint8]:
        """What a person sees in ``box`` (default: everywhere), uint8 (h, w), a copy."""
        cut = (box or Box.of_shape(self.shape)).slices
        state = self._arrays["state"][cut]
        shown: NDArray[np.uint8] = np.where(state > 0, self._arrays["labels"][cut], self._arrays["proposal"][cut])
        return shown

    @property
    def edited_pixels(self) -> NDArray[np.int64]:
        """Number of pixels painted by the person, for each label value 0 to 255."""
        return self._edited.copy()

    @property
    def shown_pixels(self) -> NDArray[np.int64]:
        """Number of displayed pixels, for each label value 0 to 255."""
        return self._shown.copy()

    def edit_patch(self, box: Box, after: NDArray[np.uint8]) -> Patch | None:
        """What painting ``after`` (h, w) over ``box`` changes; None when it changes nothing.

        ``IGNORE`` in ``after`` takes the person's word back: the pixel becomes unreviewed.
        """
        mask = after != self.displayed(box)
        if (after == IGNORE).any():
            mask &= (after != IGNORE) | (self._arrays["state"][box.slices] > 0)
        return self._patch(box, mask, lambda cut: after[cut], State.EDITED)

    def accept_patch(self, box: Box) -> Patch | None:
        """What vouching for the untouched pixels of ``box`` changes; None when there are none with a class."""
        shown = self._arrays["proposal"][box.slices]
        mask = (self._arrays["state"][box.slices] == State.UNREVIEWED) & (shown != IGNORE)
        return self._patch(box, mask, lambda cut: shown[cut], State.VERIFIED)

    def import_patch(self, labels: NDArray[np.uint8]) -> Patch | None:
        """What taking ``labels`` (H, W) as verified truth changes; pixels with ``IGNORE`` stay as they are."""
        is_new = (self._arrays["labels"] != labels) | (self._arrays["state"] != State.VERIFIED)
        mask = (labels != IGNORE) & is_new
        return self._patch(Box.of_shape(self.shape), mask, lambda cut: labels[cut], State.VERIFIED)

    def difference_patch(self, labels: NDArray[np.uint8], state: NDArray[np.uint8]) -> Patch | None:
        """What leads from here to the planes ``labels`` and ``state`` (H, W); None when they are equal."""
        mask = (self._arrays["labels"] != labels) | (self._arrays["state"] != state)
        tight = Box.of_mask(mask)
        if tight.is_empty:
            return None
        own = mask[tight.slices]
        before_labels, before_state = (self._arrays[name][tight.slices][own] for name in ("labels", "state"))
        return Patch(tight, own, before_labels, before_state, labels[tight.slices][own], state[tight.slices][own])

    def apply(self, patch: Patch) -> None:
        """Set the changed pixels to their values after the patch; doing it twice changes nothing more."""
        labels, state = (self._arrays[name][patch.box.slices] for name in ("labels", "state"))
        proposal = self._arrays["proposal"][patch.box.slices][patch.mask]
        old_labels, old_state = labels[patch.mask], state[patch.mask]
        self._shown -= _histogram(np.where(old_state > 0, old_labels, proposal))
        self._shown += _histogram(np.where(patch.after_state > 0, patch.after_labels, proposal))
        self._edited -= _histogram(old_labels, old_state == State.EDITED)
        self._edited += _histogram(patch.after_labels, patch.after_state == State.EDITED)
        labels[patch.mask] = patch.after_labels
        state[patch.mask] = patch.after_state
        self._touch(patch.box, "labels", "state")

    def propose(self, box: Box, labels: NDArray[np.uint8]) -> None:
        """Put model output (h, w) into the proposal of ``box``."""
        self._shown -= _histogram(self.displayed(box))
        self._arrays["proposal"][box.slices] = labels
        self._shown += _histogram(self.displayed(box))
        self._touch(box, "proposal")

    def _patch(
        self, box: Box, mask: NDArray[np.bool_], values: Callable[[tuple[slice, slice]], NDArray[np.uint8]], to: State
    ) -> Patch | None:
        inner = Box.of_mask(mask)
        if inner.is_empty:
            return None
        mask = mask[inner.slices].copy()
        tight = inner.shift(int(box.y0), int(box.x0))
        after = values(inner.slices)[mask]
        return Patch(
            tight,
            mask,
            self._arrays["labels"][tight.slices][mask],
            self._arrays["state"][tight.slices][mask],
            after,
            np.where(after == IGNORE, State.UNREVIEWED, to).astype(np.uint8),
        )


def _histogram(values: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Number of (masked) pixels of each value; fast for the few classes that labels hold."""
    counts = np.zeros(256, np.int64)
    left = values.size if mask is None else int(np.count_nonzero(mask))
    for value in (IGNORE, *range(IGNORE)):
        if left == 0:
            break
        is_value = values == value
        counts[value] = np.count_nonzero(is_value if mask is None else is_value & mask)
        left -= int(counts[value])
    return counts


def read_only(array: NDArray[T]) -> NDArray[T]:
    """A view that stays live and cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view
