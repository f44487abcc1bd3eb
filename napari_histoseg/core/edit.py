"""What was done to the labels and cells of an image, small enough to be kept for ever."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box

if TYPE_CHECKING:
    from napari_histoseg.core.cell_patch import CellPatch

Kind = Literal["edit", "accept", "undo", "redo", "import", "run"]
"""A person's change, a person's word for what is there, taking back, doing again, labels or cells from elsewhere, cells
that a program found."""

COMPRESSION = 3
"""Level of zlib: a stroke must be on the disk within a frame of the screen."""


class State(IntEnum):
    """How far a person has vouched for a pixel."""

    UNREVIEWED = 0
    EDITED = 1
    VERIFIED = 2


@dataclass(frozen=True, eq=False)
class Patch:
    """The changed pixels of a box, before and after.

    Parameters
    ----------
    box : Box
        The smallest box around the changed pixels, in pixels of the image.
    mask : ndarray of bool, shape (h, w)
        Which pixels of the box changed; n of them.
    before_labels, before_state, after_labels, after_state : ndarray of uint8, shape (n,)
        Values of the changed pixels, row by row.
    """

    box: Box
    mask: NDArray[np.bool_]
    before_labels: NDArray[np.uint8]
    before_state: NDArray[np.uint8]
    after_labels: NDArray[np.uint8]
    after_state: NDArray[np.uint8]

    @property
    def changed(self) -> int:
        """Number of changed pixels."""
        return int(self.before_labels.size)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.mask.nbytes + 4 * self.changed

    def reversed(self) -> Patch:
        """The patch that takes this one back."""
        return Patch(self.box, self.mask, self.after_labels, self.after_state, self.before_labels, self.before_state)

    def encode(self) -> bytes:
        """Compressed bytes with a checksum; a brush stroke takes a few hundred."""
        parts = [pack_mask(self.mask)]
        for values in (self.before_labels, self.before_state, self.after_labels, self.after_state):
            is_constant = bool(values.size) and bool((values == values[0]).all())
            parts.append(bytes([1, int(values[0])]) if is_constant else b"\0" + values.tobytes())
        return zlib.compress(b"".join(parts), COMPRESSION)

    @classmethod
    def decode(cls, data: bytes, box: Box) -> Patch:
        """The patch that `encode` turned into ``data``.

        Raises
        ------
        ValueError
            When the bytes are damaged or cannot be of this box.
        """
        try:
            raw = np.frombuffer(zlib.decompress(data), np.uint8)
        except zlib.error as error:
            raise ValueError(f"damaged patch: {error}") from None
        mask, cut = unpack_mask(raw, box)
        if raw.size < cut + 4:
            raise ValueError(f"patch of {raw.size} bytes is too short for {box}")
        count = int(np.count_nonzero(mask))
        values: list[NDArray[np.uint8]] = []
        for _ in range(4):
            size = 1 if raw[cut : cut + 1].any() else count
            part = raw[cut + 1 : cut + 1 + size]
            if part.size != size:
                raise ValueError(f"patch is cut short in {box}")
            values.append(np.full(count, part[0], np.uint8) if raw[cut] else part)
            cut += 1 + size
        if cut != raw.size:
            raise ValueError(f"patch does not fit {box}")
        return cls(box, mask, *values)


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """The bits of a mask (h, w), each row as its difference to the one above, which compresses well."""
    packed = np.packbits(mask, axis=1)
    # Neighbouring rows of a brush stroke are nearly equal: their difference is nearly all zeros.
    packed[1:] ^= packed[:-1].copy()
    return packed.tobytes()


def unpack_mask(raw: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.bool_], int]:
    """The mask of a box that `pack_mask` put at the beginning of ``raw``, and the number of bytes it took.

    Raises
    ------
    ValueError
        When ``raw`` is too short.
    """
    width_bytes = -(-box.width // 8)
    size = box.height * width_bytes
    if raw.size < size:
        raise ValueError(f"patch of {raw.size} bytes is too short for {box}")
    rows = np.bitwise_xor.accumulate(raw[:size].reshape(box.height, width_bytes), axis=0)
    return np.unpackbits(rows, axis=1, count=box.width).astype(bool), size


@dataclass(frozen=True)
class Record:
    """Who did what, when and where: a row of the journal without its pixels.

    Parameters
    ----------
    seq : int
        Position in the journal, rising over all images of a project.
    image_id : str
    at : float
        Unix time in seconds.
    author, tool : str
        Who did it and with what ("paint", "fill", "polygon", "accept", "class", "split", ...).
    kind : {"edit", "accept", "undo", "redo", "import", "run"}
    box : Box
        Smallest box around what changed.
    changed : int
        Number of changed pixels, of the labels or of the cells.
    target : int or None
        For undo and redo, the ``seq`` of the edit that was taken back or done again.
    cells : int or None
        Number of changed cells; None when it was about labels.
    """

    seq: int
    image_id: str
    at: float
    author: str
    tool: str
    kind: Kind
    box: Box
    changed: int
    target: int | None
    cells: int | None


@dataclass(frozen=True)
class Edit(Record):
    """One committed row of the journal.

    Parameters
    ----------
    patch : Patch or CellPatch
        What happened to the labels or to the cells; for an undo already reversed.
    """

    patch: Patch | CellPatch = field(repr=False, compare=False)
