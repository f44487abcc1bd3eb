"""Masks from elsewhere before anybody said what their values, colours or names mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.palettes import PALETTES
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.arrays import read_array
from napari_histoseg.io.cell_import import GEOJSON_SUFFIXES, read_found_cells

About = Literal["regions", "cells"]

MOST_KINDS = 40
"""So many values or colours of a file are told; what is rarer is left without a class."""

WITHOUT_CLASS = "no class"
"""Stands for cells and regions of which the file names no class."""


@dataclass(frozen=True)
class Kind:
    """One value, colour or class name of a file.

    Parameters
    ----------
    key : str
        As the file has it: "3", "#ff00aa", "Tumor".
    amount : int
        Pixels of it; cells where the mask is about cells.
    color : str or None
        ``#rrggbb`` as the file shows it.
    name : str or None
        Class name, where the file tells one.
    """

    key: str
    amount: int
    color: str | None = None
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Mask:
    """What a file holds.

    Parameters
    ----------
    path : Path
    about : {"regions", "cells"}
    kinds : tuple of Kind
        The most frequent first.
    codes : ndarray of int16, shape (H, W)
        Index into ``kinds`` of each pixel, -1 where the file has nothing; empty for cells.
    instances : ndarray of int64, shape (H, W)
        Number of the cell at each pixel, 0 for none; empty for regions.
    of_cell : dict of int to int
        Index into ``kinds`` by number of the cell.
    notes : tuple of str
        What is odd about it, for the person.
    """

    path: Path
    about: About
    kinds: tuple[Kind, ...]
    codes: NDArray[np.int16]
    instances: NDArray[np.int64]
    of_cell: dict[int, int]
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        height, width = (self.codes if self.about == "regions" else self.instances).shape
        return height, width

    def labels(self, classes: Mapping[str, int]) -> NDArray[np.uint8]:
        """Class id of each pixel (H, W) of regions, given those of the kinds by key; ``IGNORE`` elsewhere."""
        table = np.array([*(classes.get(kind.key, IGNORE) for kind in self.kinds), IGNORE], np.uint8)
        return table[self.codes]

    def class_ids(self, classes: Mapping[str, int]) -> dict[int, int]:
        """Class id by number of the cell, given those of the kinds by key; without those that have none."""
        found = {number: classes.get(self.kinds[k].key, IGNORE) for number, k in self.of_cell.items()}
        return {number: class_id for number, class_id in found.items() if class_id != IGNORE}


def read_mask(path: Path, shape: tuple[int, int], about: About | None = None, classes: Path | None = None) -> Mask:
    """What a label image (TIFF, PNG, BMP) or a GeoJSON of QuPath holds.

    Parameters
    ----------
    path : Path
    shape : (int, int)
        (height, width) of the image in pixels.
    about : {"regions", "cells"}, optional
        Whether the values are classes or numbers of cells; by default what they look like.
    classes : Path, optional
        CSV with the columns ``id`` and ``class`` for numbered cells.

    Raises
    ------
    InputError
        When the file cannot be read, has another size than the image, or holds nothing.
    """
    if not path.is_file():
        raise InputError(f"There is no file '{path}'; check the name.")
    if path.suffix.lower() in GEOJSON_SUFFIXES:
        return _drawn(path, shape, about or _about_drawn(path))
    values = read_array(path)
    if values.shape[:2] != shape:
        raise InputError(
            f"'{path.name}' is {values.shape[0]} x {values.shape[1]} px, but the image is {shape[0]} x {shape[1]} px; "
            "a mask of the same size is needed."
        )
    if (about or _about_numbers(values)) == "cells":
        return _cells(path, shape, classes)
    return _regions(path, values)


def guessed_classes(mask: Mask, schema: LabelSchema) -> dict[str, int]:
    """Class id by key of those kinds whose class is clear: by name, by colour, or because the value is its number."""
    palettes = [{c.color.lower(): c.id for c in palette.apply(schema).classes} for palette in PALETTES]
    colors = {kind.color for kind in mask.kinds if kind.color is not None}
    by_color = max(palettes, key=lambda palette: len(colors & palette.keys()))
    found: dict[str, int] = {}
    for kind in mask.kinds:
        own = [c.id for c in schema.classes if kind.name is not None and _is_called(kind.name, c.name, *c.former)]
        if not own and kind.key.isdigit() and int(kind.key) in schema:
            own = [int(kind.key)]
        if not own and kind.color in by_color:
            own = [by_color[kind.color]]
        if own:
            found[kind.key] = own[0]
    kinds = [c.id for c in schema.classes if c.name.casefold() != "background"]
    if mask.about == "cells" and len(kinds) == 1 and WITHOUT_CLASS in {kind.key for kind in mask.kinds}:
        found.setdefault(WITHOUT_CLASS, kinds[0])
    return found


def _is_called(name: str, *names: str) -> bool:
    return name.strip().casefold() in {known.casefold() for known in names}


def _about_numbers(values: NDArray[Any]) -> About:
    """More than a byte, or more values than a person tells apart: numbers of cells."""
    if values.ndim != 2 or values.dtype == np.bool_:
        return "regions"
    return "cells" if values.max(initial=0) > IGNORE or len(np.unique(values)) > MOST_KINDS else "regions"


def _about_drawn(path: Path) -> About:
    """What QuPath says of its objects; it draws regions as annotations."""
    try:
        head = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read as GeoJSON ({error}); export the objects again.") from error
    cells = sum(head.count(f'"{word}"') for word in ("detection", "cell", "tile"))
    return "cells" if cells > head.count('"annotation"') else "regions"


def _drawn(path: Path, shape: tuple[int, int], about: About) -> Mask:
    mask = _cells(path, shape, None)
    if about == "cells":
        return mask
    table = np.full(int(mask.instances.max()) + 1, -1, np.int16)
    table[list(mask.of_cell)] = list(mask.of_cell.values())
    codes = table[mask.instances]
    counts = np.bincount(codes[codes >= 0], minlength=len(mask.kinds)).tolist()
    kinds = tuple(replace(kind, amount=count) for kind, count in zip(mask.kinds, counts, strict=True))
    return Mask(path, about, kinds, codes, np.zeros((0, 0), np.int64), {})


def _cells(path: Path, shape: tuple[int, int], classes: Path | None) -> Mask:
    found = read_found_cells(path, shape, classes)
    names = sorted(set(found.names.values())) + ([WITHOUT_CLASS] if len(found.names) < found.count else [])
    place = {name: k for k, name in enumerate(names)}
    numbers = np.unique(found.instances)
    of_cell = {number: place[found.names.get(number, WITHOUT_CLASS)] for number in numbers[numbers > 0].tolist()}
    counts = np.bincount(list(of_cell.values()), minlength=len(names)).tolist()
    kinds = tuple(
        Kind(name, count, name=None if name == WITHOUT_CLASS else name)
        for name, count in zip(names, counts, strict=True)
    )
    return Mask(path, "cells", kinds, np.zeros((0, 0), np.int16), found.instances, of_cell, found.notes)


def _regions(path: Path, values: NDArray[Any]) -> Mask:
    if values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8:
        packed = values[..., 0].astype(np.int32) << 16 | values[..., 1].astype(np.int32) << 8 | values[..., 2]
        numbers = packed if values.shape[2] == 3 else np.where(values[..., 3] == 0, -1, packed)
        keys = {int(n): f"#{int(n):06x}" for n in np.unique(numbers) if n >= 0}
        return _coded(path, numbers, {n: Kind(key, 0, key) for n, key in keys.items()}, "colours")
    if values.ndim != 2:
        raise InputError(f"'{path}' has shape {values.shape}; a mask holds one number or colour per pixel.")
    with np.errstate(invalid="ignore"):  # NaN is told below
        numbers = values.astype(np.int64)
    if not np.array_equal(numbers, values) or numbers.min(initial=0) < 0:
        raise InputError(f"'{path}' holds values that are no class numbers; whole numbers from 0 on are needed.")
    colors, names = _palette(path), _names(path)
    kinds = {int(n): Kind(str(n), 0, colors.get(int(n)), names.get(int(n))) for n in np.unique(numbers)}
    return _coded(path, numbers, kinds, "values")


def _coded(path: Path, numbers: NDArray[Any], kinds: dict[int, Kind], what: str) -> Mask:
    """The mask of the most frequent kinds, each with the number of its pixels."""
    present, counts = np.unique(numbers[numbers >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = present[order[:MOST_KINDS]]
    codes = np.full(numbers.shape, -1, np.int16)
    for k, number in enumerate(kept.tolist()):
        codes[numbers == number] = k
    told = tuple(
        replace(kinds[n], amount=count)
        for n, count in zip(kept.tolist(), counts[order[:MOST_KINDS]].tolist(), strict=True)
    )
    rest = counts[order[MOST_KINDS:]]
    notes = (
        (f"Pixels in {len(rest)} rarer {what}: {int(rest.sum())}; they get no class. The mask may have been smoothed.",)
        if len(rest)
        else ()
    )
    return Mask(path, "regions", told, codes, np.zeros((0, 0), np.int64), {}, notes)


def _palette(path: Path) -> dict[int, str]:
    """Colours of the values of a PNG or BMP with a palette."""
    from PIL import Image

    if path.suffix.lower() in (".tif", ".tiff"):
        return {}
    with Image.open(path) as image:
        parts = image.getpalette() if image.mode == "P" else None
    colors = np.array(parts or (), np.uint8).reshape(-1, 3)
    return {k: "#{:02x}{:02x}{:02x}".format(*color) for k, color in enumerate(colors.tolist())}


def _names(path: Path) -> dict[int, str]:
    """Class names of the values, where the mask was written by ``io.labels.write_labels``."""
    import tifffile

    if path.suffix.lower() not in (".tif", ".tiff"):
        return {}
    try:
        with tifffile.TiffFile(path) as file:
            schema = LabelSchema.from_json(json.loads(file.pages.first.description))
    except (OSError, ValueError, TypeError, KeyError, HistosegError):
        return {}
    return {c.id: c.name for c in schema.classes}
