"""Data sets as training reads them: arrays of equal size that are decoded once and kept in memory."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images (N, H, W, 3) and labels (N, H, W), uint8, with one row of facts for each."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    items: tuple[dict[str, Any], ...]

    def where(self, **facts: Any) -> Prepared:
        """The items whose facts have these values."""
        chosen = [i for i, item in enumerate(self.items) if all(item[k] == v for k, v in facts.items())]
        return Prepared(self.images[chosen], self.labels[chosen], tuple(self.items[i] for i in chosen))

    def __len__(self) -> int:
        return len(self.items)


def open_archive(src: Path, name: str) -> zipfile.ZipFile:
    """The archive at ``src``, or of that name in the folder ``src``."""
    path = src / name if src.is_dir() else src
    if not path.is_file():
        raise InputError(f"There is no {name} at {src}; `python -m training datasets` says where to get it.")
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise InputError(f"{path} is not a whole zip archive; copy or download it again.") from None


def write_arrays(
    dst: Path, images: list[NDArray[np.uint8]], labels: list[NDArray[np.uint8]], items: list[dict[str, Any]]
) -> None:
    """Write a prepared set; the index comes last, so that a set with an index is whole."""
    dst.mkdir(parents=True, exist_ok=True)
    np.save(dst / "images.npy", np.stack(images))
    np.save(dst / "labels.npy", np.stack(labels))
    (dst / "index.json").write_text(json.dumps(items, indent=1))


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of an archive; ``InputError`` says which is missing or damaged."""
    try:
        return archive.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive.filename} has no whole '{name}' ({error}); get the archive again.") from None


def check_prepared(data: Path, name: str) -> Path:
    """The folder of the prepared set ``name`` in ``data``; ``InputError`` when it was not prepared there."""
    folder = data / name
    if not (folder / "index.json").is_file():
        raise InputError(
            f"{folder} holds no prepared set; run `python -m training prepare {name} SOURCE {data}` first."
        )
    return folder


def load(data: Path, name: str) -> Prepared:
    """The prepared set ``name`` in the folder ``data``."""
    folder = check_prepared(data, name)
    items = tuple(json.loads((folder / "index.json").read_text()))
    return Prepared(np.load(folder / "images.npy"), np.load(folder / "labels.npy"), items)
