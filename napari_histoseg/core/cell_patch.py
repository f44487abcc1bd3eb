"""What was done to the cells of an image: outlines as pixels of the instance map, the rest as rows of a table."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_runs import CellRuns, occurring
from napari_histoseg.core.edit import COMPRESSION, pack_mask, unpack_mask
from napari_histoseg.core.schema import IGNORE

ROW = np.dtype(
    [
        ("class_id", "u1"),
        ("origin", "u1"),
        ("verified", "u1"),
        ("score", "<f4"),
        ("point_y", "<f4"),
        ("point_x", "<f4"),
    ]
)
"""What is known about a cell besides its pixels; the point is that which a person placed in it, in pixels."""

NO_POINT = -1.0
"""``point_y`` and ``point_x`` of a cell in which nobody placed a point; no NaN, since rows are compared."""

NO_CELL = np.array((IGNORE, 0, 0, 0.0, NO_POINT, NO_POINT), ROW)
"""The row of a number that no cell has."""

_BYTES = ("class_id", "origin", "verified")
_POINT = ("point_y", "point_x")

_HEAD = struct.Struct("<6I")
_SIZES = {1: "<u1", 2: "<u2", 4: "<u4"}
_CONSTANT = 0x80


class Origin(IntEnum):
    """Who drew the outline of a cell: a person by hand, a model, a file, or a program around a person's point."""

    PERSON = 0
    MODEL = 1
    IMPORT = 2
    POINT = 3


@dataclass(frozen=True, eq=False)
class CellPatch:
    """Changed pixels of the instance map and changed rows of the table, before and after.

    Parameters
    ----------
    box : Box
        Around the changed pixels and the cells whose rows changed: what must be drawn again.
    pixels : Box
        The smallest box around the changed pixels; empty when no outline changed.
    runs : CellRuns
        What became of the pixels of ``pixels``.
    ids : ndarray of uint32, shape (k,)
        Numbers of the cells whose rows changed, ascending.
    before_rows, after_rows : ndarray of `ROW`, shape (k,)
        ``NO_CELL`` where the cell does not exist.
    """

    box: Box
    pixels: Box
    runs: CellRuns
    ids: NDArray[np.uint32]
    before_rows: NDArray[np.void]
    after_rows: NDArray[np.void]

    @property
    def changed(self) -> int:
        """Number of changed pixels."""
        return self.runs.changed

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which pixels (h, w) of ``pixels`` changed; n of them."""
        return self.runs.mask()

    @property
    def before(self) -> NDArray[np.uint32]:
        """Numbers (n,) of the cells at the changed pixels, row by row; 0 is background."""
        return np.repeat(self.runs.before, self.runs.lengths)

    @property
    def after(self) -> NDArray[np.uint32]:
        """Numbers (n,) of the cells at the changed pixels after it, as `before`."""
        return np.repeat(self.runs.after, self.runs.lengths)

    @property
    def reshaped_ids(self) -> NDArray[np.int64]:
        """Numbers of the cells whose pixels changed, ascending."""
        numbers = occurring(self.runs.before, self.runs.after)
        return numbers[numbers > 0]

    @property
    def touched_ids(self) -> NDArray[np.int64]:
        """Numbers of the cells that were made, changed or removed, ascending."""
        numbers = occurring(self.runs.before, self.runs.after, self.ids)
        return numbers[numbers > 0]

    @property
    def cells(self) -> int:
        """Number of cells that were made, changed or removed."""
        return len(self.touched_ids)

    @property
    def largest_id(self) -> int:
        """The highest number that occurs; 0 when none does."""
        return max(int(numbers.max(initial=0)) for numbers in (self.ids, self.runs.before, self.runs.after))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        runs = (self.runs.starts, self.runs.lengths, self.runs.before, self.runs.after)
        return sum(part.nbytes for part in (*runs, self.ids, self.before_rows, self.after_rows))

    def reversed(self) -> CellPatch:
        """The patch that takes this one back."""
        return CellPatch(self.box, self.pixels, self.runs.reversed(), self.ids, self.after_rows, self.before_rows)

    def encode(self) -> bytes:
        """Compressed bytes with a checksum; the class of one cell takes about forty.

        Points are written only where a row has one, so that other patches are what the version before points wrote.
        """
        lengths, before, after = self.runs.stretches()
        corners = (self.pixels.y0, self.pixels.x0, self.pixels.y1, self.pixels.x1)
        steps = np.diff(self.ids, prepend=np.uint32(0))
        parts = [_HEAD.pack(*corners, lengths.size, self.ids.size), pack_mask(self.mask)]
        parts += [_pack(values) for values in (lengths, before, after, steps)]
        for rows in (self.before_rows, self.after_rows):
            parts += [_pack(rows[name]) for name in _BYTES]
            parts.append(_pack_floats(rows["score"]))
        sides = (self.before_rows, self.after_rows)
        if any((rows["point_y"] != NO_POINT).any() for rows in sides):
            parts += [_pack_floats(rows[name]) for rows in sides for name in _POINT]
        return zlib.compress(b"".join(parts), COMPRESSION)

    @classmethod
    def decode(cls, data: bytes, box: Box) -> CellPatch:
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
        if raw.size < _HEAD.size:
            raise ValueError(f"patch of {raw.size} bytes is too short for {box}")
        *corners, run_count, row_count = _HEAD.unpack(raw[: _HEAD.size].tobytes())
        pixels = Box(*corners)
        if not pixels.is_empty and not box.contains(pixels):
            raise ValueError(f"patch of {pixels} does not fit {box}")
        mask, cut = unpack_mask(raw[_HEAD.size :], pixels)
        reader = _Reader(raw[_HEAD.size + cut :])
        lengths, before, after = (reader.take(run_count) for _ in range(3))
        if int(lengths.sum(dtype=np.int64)) != np.count_nonzero(mask) or not lengths.all():
            raise ValueError(f"patch does not fit {box}")
        ids = np.cumsum(reader.take(row_count), dtype=np.uint32)
        before_rows, after_rows = sides = [reader.take_rows(row_count) for _ in range(2)]
        if not reader.is_at_end:
            for rows in sides:
                for name in _POINT:
                    rows[name] = reader.take_floats(row_count)
        if not reader.is_at_end:
            raise ValueError("patch has too many bytes")
        return cls(box, pixels, CellRuns.of_mask(mask, lengths, before, after), ids, before_rows, after_rows)


class _Reader:
    """Takes apart what `_pack` put together."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int) -> NDArray[np.uint32]:
        tag = int(self._raw[self._at]) if self._at < self._raw.size else 0
        size = tag & ~_CONSTANT
        stored = 1 if tag & _CONSTANT else count
        end = self._at + 1 + size * stored
        if size not in _SIZES or end > self._raw.size:
            raise ValueError("patch is cut short")
        values = self._raw[self._at + 1 : end].view(_SIZES[size]).astype(np.uint32)
        self._at = end
        return np.full(count, values[0], np.uint32) if tag & _CONSTANT else values

    def take_floats(self, count: int) -> NDArray[np.float32]:
        return self.take(count).astype("<u4").view("<f4")

    def take_rows(self, count: int) -> NDArray[np.void]:
        rows = np.full(count, NO_CELL)
        for name in _BYTES:
            rows[name] = self.take(count)
        rows["score"] = self.take_floats(count)
        return rows

    @property
    def is_at_end(self) -> bool:
        return self._at == self._raw.size


def _pack_floats(values: NDArray[np.float32]) -> bytes:
    return _pack(np.ascontiguousarray(values).view("<u4"))


def _pack(values: NDArray[np.unsignedinteger]) -> bytes:
    """Numbers in as few bytes as hold the largest; one alone where all are equal."""
    largest = int(values.max(initial=0))
    size = next(size for size in _SIZES if largest < 1 << 8 * size)
    if values.size and (values == values[0]).all():
        return bytes([_CONSTANT | size]) + values[:1].astype(_SIZES[size]).tobytes()
    return bytes([size]) + values.astype(_SIZES[size]).tobytes()
