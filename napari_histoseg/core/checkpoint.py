"""Label planes and cells of an image on disk as zarr arrays, so that opening need not replay the whole journal.

A checkpoint says which edit it reflects. It is written chunk by chunk while the person works, so a chunk may already
hold later edits; replaying those is harmless, because an edit sets pixels to values instead of changing them by some
amount. Whatever is damaged or missing here is rebuilt from the journal.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.atomic import replace_bytes, sync_folder, write_json
from napari_histoseg.core.planes import CHUNK_PX, FILL, Chunk, Chunked

_COMPRESSION = 1


@dataclass(frozen=True)
class Layout:
    """What a checkpoint holds.

    Parameters
    ----------
    fill : mapping of str to int
        Arrays of the zarr group and their value where nothing was written.
    dtype : str
        Of all of them.
    journalled : tuple of str
        Arrays that reflect an edit of the journal; they come together or not at all.
    suffix : str
        Of the note's name.
    """

    fill: Mapping[str, int]
    dtype: str
    journalled: tuple[str, ...]
    suffix: str = ""


LABELS = Layout(FILL, "|u1", ("labels", "state"))
CELLS = Layout({"instances": 0}, "<u4", ("instances",), ".cells")


@dataclass(frozen=True)
class Stored:
    """What `Checkpoint.load` found.

    Parameters
    ----------
    arrays : dict of str to ndarray, shape (H, W)
        Those that are whole; the journalled ones come together or not at all.
    seq : int
        The edit that the journalled arrays reflect; 0 when they are absent.
    damaged : tuple of str
        Names of arrays that could not be read.
    note : dict
    """

    arrays: dict[str, NDArray[Any]]
    seq: int
    damaged: tuple[str, ...]
    note: dict[str, Any] = field(default_factory=dict)


class Checkpoint:
    """The arrays of a layout in the zarr group ``<image id>.zarr``, and the note ``<image id><suffix>.json`` beside it.

    Parameters
    ----------
    folder : Path
        Where both lie; created at the first write.
    image_id : str
    shape : (int, int)
        (height, width) of the image in pixels.
    layout : Layout
    """

    def __init__(self, folder: Path, image_id: str, shape: tuple[int, int], layout: Layout) -> None:
        self._group = folder / f"{image_id}.zarr"
        self._note_path = folder / f"{image_id}{layout.suffix}.json"
        self._shape = shape
        self._layout = layout
        self._begun: set[str] = set()
        self._stored: set[Chunk] = set()
        self._unusable: set[str] = set()
        self._unsynced: set[Path] = set()
        self._round: list[Chunk] = []
        self._round_seq: int | None = None

    def load(self) -> Stored:
        """What is on disk."""
        names = tuple(self._layout.fill)
        note = read_note(self._note_path)
        if note is None or note["shape"] != list(self._shape):
            self._stored, self._unusable = set(), set(names)
            return Stored({}, 0, tuple(name for name in names if (self._group / name).exists()))
        self._stored = {(name, row, column) for name, row, column in note["chunks"]}
        arrays = {name: array for name in names if (array := self._read(name)) is not None}
        damaged = tuple(name for name in names if name not in arrays)
        seq = int(note["seq"])
        if set(damaged) & set(self._layout.journalled):
            arrays = {name: array for name, array in arrays.items() if name not in self._layout.journalled}
            seq = 0
        self._unusable = set(names) - set(arrays)
        self._stored = {chunk for chunk in self._stored if chunk[0] in arrays}
        return Stored(arrays, seq, damaged, note)

    def update(self, planes: Chunked, seq: int, entry: dict[str, Any], *, budget_s: float | None = None) -> bool:
        """Bring the disk up to date with ``planes``, which reflect the journal up to ``seq``.

        Parameters
        ----------
        planes : Chunked
            With the arrays of the layout.
        seq : int
        entry : dict
            The project's entry of the image, kept in the note so that a lost journal does not lose the image.
        budget_s : float, optional
            Stop after the chunk that exceeds this many seconds; the next call goes on. By default finish.

        Returns
        -------
        bool
            True when everything that was dirty at the beginning of the round is on disk.

        Raises
        ------
        OSError
            When the disk is full or cannot be written; nothing is lost, a later call tries again.
        """
        deadline = None if budget_s is None else time.monotonic() + budget_s
        if self._round_seq is None:
            self._round_seq = seq
            self._round = sorted(planes.dirty)
        while self._round:
            self._write(planes, self._round[-1])
            planes.dirty.discard(self._round.pop())
            if deadline is not None and time.monotonic() > deadline:
                return False
        for folder in self._unsynced:
            sync_folder(folder)
        self._unsynced.clear()
        _write_note(self._note_path, self._round_seq, self._shape, entry, self._stored, planes.note())
        self._round_seq = None
        return True

    @property
    def is_under_way(self) -> bool:
        """Whether a round has begun and not ended."""
        return self._round_seq is not None

    def _read(self, name: str) -> NDArray[Any] | None:
        import zarr

        folder = self._group / name
        listed = [_chunk_path(folder, chunk) for chunk in self._stored if chunk[0] == name]
        if not listed and not (folder / "zarr.json").is_file():
            return filled(self._shape, self._layout, name)
        if not all(path.is_file() for path in listed):
            return None
        try:
            array = zarr.open_array(store=str(folder), mode="r")
            if array.shape != self._shape or array.dtype != np.dtype(self._layout.dtype):
                return None
            return np.asarray(array[:])
        except (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, zlib.error):
            return None

    def _write(self, planes: Chunked, chunk: Chunk) -> None:
        """Put one chunk on the disk.

        The file is written here and not by zarr, which would hand the work to a thread of its own and make the window
        wait for it while a model trains; and gzip carries a checksum.
        """
        name = chunk[0]
        self._begin(name)
        full = filled((CHUNK_PX, CHUNK_PX), self._layout, name)
        pixels = planes.chunk(chunk)
        full[: pixels.shape[0], : pixels.shape[1]] = pixels
        path = _chunk_path(self._group / name, chunk)
        # Not all parents: a project folder that was deleted meanwhile must not come back as a shell.
        path.parent.parent.mkdir(exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        replace_bytes(path, gzip.compress(full.tobytes(), _COMPRESSION))
        self._stored.add(chunk)
        self._unsynced.add(path.parent)

    def begin(self) -> None:
        """Make the zarr arrays that are missing or cannot be used, so that `update` need not; errors as there."""
        for name in self._layout.fill:
            self._begin(name)

    def _begin(self, name: str) -> None:
        if name in self._begun:
            return
        import zarr
        from zarr.codecs import GzipCodec

        folder = self._group / name
        if name in self._unusable or not (folder / "zarr.json").is_file():
            zarr.open_group(store=str(self._group), mode="a", zarr_format=3)
            zarr.create_array(
                store=str(folder),
                shape=self._shape,
                chunks=(CHUNK_PX, CHUNK_PX),
                dtype=self._layout.dtype,
                fill_value=self._layout.fill[name],
                compressors=GzipCodec(level=_COMPRESSION),
                overwrite=True,
            )
            self._unusable.discard(name)
        self._begun.add(name)


def read_note(path: Path) -> dict[str, Any] | None:
    """The note of a checkpoint, or None when it is missing or damaged."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(note, dict) and {"seq", "shape", "entry", "chunks"} <= set(note)
    return note if is_whole else None


def notes_in(folder: Path, layout: Layout) -> Iterator[tuple[str, dict[str, Any]]]:
    """Image ids and notes of all checkpoints of a layout in a folder."""
    for path in sorted(folder.glob("*.json")):
        image_id, _, kind = path.stem.partition(".")
        note = read_note(path) if kind == layout.suffix.removeprefix(".") else None
        if note is not None:
            yield image_id, note


def note_entry(folder: Path, image_id: str, shape: tuple[int, int], entry: dict[str, Any]) -> None:
    """Write an image's entry into the note of its checkpoint, which is begun when there is none.

    Raises
    ------
    OSError
        When the disk is full or cannot be written.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{image_id}.json"
    note = read_note(path)
    if note is None:
        _write_note(path, 0, shape, entry, (), {})
    else:
        write_json(path, {**note, "entry": entry})


def filled(shape: tuple[int, int], layout: Layout, name: str) -> NDArray[Any]:
    """An array of a layout as it is before anything was written."""
    if layout.fill[name] == 0:
        return np.zeros(shape, layout.dtype)  # takes no memory until it is written
    return np.full(shape, layout.fill[name], layout.dtype)


def _write_note(
    path: Path,
    seq: int,
    shape: tuple[int, int],
    entry: dict[str, Any],
    chunks: Iterable[Chunk],
    more: dict[str, Any],
) -> None:
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"format": 1, "seq": seq, "shape": shape, "entry": entry, "chunks": sorted(chunks), **more})


def _chunk_path(folder: Path, chunk: Chunk) -> Path:
    return folder / "c" / str(chunk[1]) / str(chunk[2])
