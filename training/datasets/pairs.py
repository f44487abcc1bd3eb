"""A plain folder of images and label images in the colours of a palette, such as cancer and stroma."""

from __future__ import annotations

import csv
import io
import json
from pathlib import PurePosixPath

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.palettes import get_palette
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.core.schemas import CANCER_STROMA
from napari_histoseg.io.colors import RGB, labels_from_colors
from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import split_groups
from training.writing import SetWriter, check_size

_LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
_IMAGES = (*_LOSSLESS, ".jpg", ".jpeg")


def convert(source: Source, writer: SetWriter) -> None:
    """Add ``images/NAME.*`` with ``labels/NAME.png`` (or tif, bmp).

    ``palette.json`` gives the colours as ``{"background": "#000000", "cancer": "#ff0000", ...}`` in the order of the
    class numbers; without it they are black, red, green for background, cancer, stroma. ``groups.csv`` with the
    columns image and group keeps the images of a slide or patient in one split: 70 % train, 15 % validate, 15 % test.
    """
    palette = _read_palette(source)
    groups = _read_groups(source)
    images = [PurePosixPath(n) for n in source.need("images/*") if n.lower().endswith(_IMAGES)]
    splits = split_groups((groups.get(i.stem, i.stem) for i in images), test=0.15, validation=0.15)
    for path in images:
        beside = path.parent.parent / "labels"
        name = source.partner(str(path), [str(beside / f"{path.stem}{end}") for end in _LOSSLESS], "label image")
        image, colors = source.read_image(str(path)), source.read_image(name)
        check_size(colors[..., 0], (image.shape[0], image.shape[1]), f"The labels '{name}'")
        group = groups.get(path.stem, path.stem)
        facts = {"key": path.stem, "group": group, "split": splits[group], "mpp": None}
        writer.add(facts, image=image, labels=labels_from_colors(colors, palette, f"{source.path / name}"))


def _read_palette(source: Source) -> dict[RGB, int]:
    """Class id of every colour."""
    found = source.find("palette.json")
    if not found:
        return {c.rgb: c.id for c in get_palette("cancer-stroma").apply(CANCER_STROMA).classes}
    where = source.path / found[0]
    try:
        colors = json.loads(source.read(found[0]))
        return {LabelClass(k, name, color).rgb: k for k, (name, color) in enumerate(colors.items())}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f'{where} is no palette ({error}); write it as {{"background": "#000000", "cancer": "#ff0000"}}.'
        ) from None


def _read_groups(source: Source) -> dict[str, str]:
    found = source.find("groups.csv")
    if not found:
        return {}
    rows = list(csv.DictReader(io.StringIO(source.read(found[0]).decode())))
    if not rows or not {"image", "group"} <= rows[0].keys():
        raise InputError(f"{source.path / found[0]} needs the columns image and group.")
    return {PurePosixPath(row["image"]).stem: row["group"] for row in rows}


DATASET = DataSet(
    name="pairs",
    title="Your own images with label images in the colours of a palette",
    licence="yours",
    source="your own disk",
    layout="a folder with images/NAME.png (or tif, bmp, jpg) and labels/NAME.png, and, if it is not black, red, green "
    "for background, cancer, stroma, a palette.json",
    may_ship=False,
    convert=convert,
)
