"""Data sets as training reads them: decoded once, one uncompressed array file per kind, mapped into memory.

A prepared set is a folder with ``images.npy`` and, where the set has them, ``labels.npy``, ``instances.npy`` and
``points.npy``, and ``index.json`` with one row of facts for each image. Images of one size are stored as one array
(N, H, W, ...); images of different sizes one after the other, with ``height`` and ``width`` among the facts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError

KINDS: dict[str, type[np.generic]] = {
    "images": np.uint8,
    "labels": np.uint8,
    "instances": np.int32,
    "points": np.float32,
}
"""Array files of a set with what they hold."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of a set with everything that is known of it; the arrays are read-only views of the files.

    Parameters
    ----------
    facts : dict
        At least ``key``, ``group`` (what must not be parted by a split) and ``split``.
    image : ndarray of uint8, shape (H, W, 3)
    labels : ndarray of uint8, shape (H, W), or None
        Class ids, 255 where unknown.
    instances : ndarray of int32, shape (H, W), or None
        0 for background, another number for each object.
    points : ndarray of float32, shape (P, 3), or None
        y and x in pixels from the centre of the first pixel, and class id.
    """

    facts: dict[str, Any]
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None
    instances: NDArray[np.int32] | None
    points: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Prepared:
    """The images of a prepared set, or some of them; ``set[i]`` reads one, ``set.images`` all when equal in size."""

    folder: Path
    items: tuple[dict[str, Any], ...]
    rows: tuple[int, ...]
    stores: dict[str, _Store]

    def where(self, **facts: Any) -> Prepared:
        """The items whose facts have these values."""
        chosen = [i for i, item in enumerate(self.items) if all(item.get(k) == v for k, v in facts.items())]
        return self.take(chosen)

    def take(self, indices: list[int]) -> Prepared:
        """The items at these positions, in this order."""
        items = tuple(self.items[i] for i in indices)
        return Prepared(self.folder, items, tuple(self.rows[i] for i in indices), self.stores)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        found = {kind: store[self.rows[index]] for kind, store in self.stores.items()}
        return Sample(
            self.items[index], found["images"], found.get("labels"), found.get("instances"), found.get("points")
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """All images (N, H, W, 3) in memory; ``InputError`` when their sizes differ."""
        return self._whole("images")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """All labels (N, H, W) in memory; ``InputError`` when the sizes differ or the set has none."""
        return self._whole("labels")

    @cached_property
    def instances(self) -> NDArray[np.int32]:
        """All instance maps (N, H, W) in memory; ``InputError`` when the sizes differ or the set has none."""
        return self._whole("instances")

    def _whole(self, kind: str) -> NDArray[Any]:
        if kind not in self.stores:
            raise InputError(f"The set in {self.folder} has no {kind}; it has {', '.join(self.stores)}.")
        arrays = [self.stores[kind][row] for row in self.rows]
        if not arrays:
            raise InputError(f"No image of the set in {self.folder} was chosen; look at its index.json for the facts.")
        if len({a.shape for a in arrays}) > 1:
            raise InputError(f"The images in {self.folder} differ in size; read them one at a time.")
        return np.stack(arrays)


@dataclass(frozen=True, eq=False)
class _Store:
    """One array file as a sequence of arrays, one for each image."""

    values: NDArray[Any]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]

    def __getitem__(self, row: int) -> NDArray[Any]:
        first, shape = self.offsets[row], self.shapes[row]
        return self.values[first : first + int(np.prod(shape))].reshape(shape)


def load(data: Path, name: str) -> Prepared:
    """The prepared set ``name`` in the folder ``data``; ``InputError`` when it is not there or not whole."""
    folder = check_prepared(data, name)
    items: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())
    stores = {kind: _open(folder, kind, items) for kind in KINDS if (folder / f"{kind}.npy").is_file()}
    if "images" not in stores:
        raise _not_whole(folder)
    return Prepared(folder, tuple(items), tuple(range(len(items))), stores)


def check_prepared(data: Path, name: str) -> Path:
    """The folder of the prepared set ``name`` in ``data``; ``InputError`` when it was not prepared there."""
    folder = data / name
    if not (folder / "index.json").is_file():
        raise InputError(
            f"{folder} holds no prepared set; run `python -m training prepare {name} SOURCE {data}` first."
        )
    return folder


def _open(folder: Path, kind: str, items: list[dict[str, Any]]) -> _Store:
    try:
        values = np.load(folder / f"{kind}.npy", mmap_mode="r")
        shapes = [_shape(kind, item, values) for item in items]
    except (ValueError, KeyError, TypeError):
        raise _not_whole(folder) from None
    offsets = (0, *itertools.accumulate(int(np.prod(shape)) for shape in shapes))
    if offsets[-1] != values.size or values.dtype != KINDS[kind]:
        raise _not_whole(folder)
    return _Store(values.reshape(-1), tuple(shapes), offsets[:-1])


def _shape(kind: str, item: dict[str, Any], values: NDArray[Any]) -> tuple[int, ...]:
    if kind == "points":
        return (int(item["points"]), 3)
    if values.ndim > 1:
        return tuple(values.shape[1:])
    size = (int(item["height"]), int(item["width"]))
    return (*size, 3) if kind == "images" else size


def _not_whole(folder: Path) -> InputError:
    return InputError(f"The set in {folder} is not whole or of another version; delete it and prepare it again.")
