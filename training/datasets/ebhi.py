"""EBHI-Seg: colorectal biopsies with outlined glands and neoplastic epithelium."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from napari_histoseg.core.errors import InputError
from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import Split, split_groups
from training.writing import SetWriter

MPP = 1.5
"""µm per pixel. The set does not state it; a model trained on it finds glands of a 0.62 µm/px set best at 1.55."""

SIDE_PX = 224
SMALLEST_EMPTY_PX = 200
BACKGROUND, OTHER_TISSUE, EPITHELIUM = 0, 1, 2


@dataclass(frozen=True)
class Item:
    """One image of the set; ``image`` and ``mask`` are the paths of its files."""

    key: str
    case_id: str
    category: str
    split: Split
    image: str
    mask: str


def read_index(source: Source) -> list[Item]:
    """All images with their split: a fifth of the cases test, a tenth validation, chosen by a hash of the case id."""
    published = [PurePosixPath(name) for name in source.find("image/*.png")]
    if published:  # CATEGORY/image/CASE-…-NUMBER.png with CATEGORY/label/ beside it
        folders = [path.parent.parent for path in published]
        keys = [f"{folder.name}/{path.stem}" for folder, path in zip(folders, published, strict=True)]
        masks = [str(folder / "label" / path.name) for folder, path in zip(folders, published, strict=True)]
        splits = split_groups(_case(key) for key in keys)
        return [
            Item(key, _case(key), folder.name, splits[_case(key)], str(path), mask)
            for key, folder, path, mask in zip(keys, folders, published, masks, strict=True)
        ]
    tables = source.find("index.csv") or source.need("image/*.png")
    index = PurePosixPath(tables[0])
    rows = list(csv.DictReader(io.StringIO(source.read(str(index)).decode())))
    splits = split_groups(row["case_id"] for row in rows)
    return [
        Item(
            row["key"],
            row["case_id"],
            row["category"],
            splits[row["case_id"]],
            str(index.parent / "images" / f"{row['key']}.jpg"),
            str(index.parent / "masks" / f"{row['key']}.png"),
        )
        for row in rows
    ]


def _case(key: str) -> str:
    """``GT2001837`` of ``Adenocarcinoma/GT2001837-1-400-001``."""
    return key.rpartition("/")[2].partition("-")[0]


def read_item(source: Source, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (224, 224, 3) and labels (224, 224) of one image."""
    image = source.read_image(item.image)
    mask = source.read_image(item.mask).max(axis=-1) > 0
    if image.shape[:2] != (SIDE_PX, SIDE_PX) or mask.shape != (SIDE_PX, SIDE_PX):
        raise InputError(f"EBHI-Seg image '{item.key}' is {image.shape[:2]}, not 224 x 224; download the set again.")
    glass = is_empty_glass(Image.fromarray(image))
    labels = np.where(glass, np.uint8(BACKGROUND), np.uint8(OTHER_TISSUE))
    labels[mask] = EPITHELIUM
    return image, labels


def is_empty_glass(image: Image.Image) -> NDArray[np.bool_]:
    """Where nothing but light is seen: near the image's own white level and without colour.

    The white level is the brightest of the smoothed image, since some images of the set are dim or tinted.
    """
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)), np.float32)
    white = max(140.0, float(np.percentile(smooth.max(axis=2), 99.5)))
    lightest, darkest = smooth.max(axis=2) / white, smooth.min(axis=2) / white
    empty = (darkest > 0.80) & (lightest - darkest < 0.18)
    pieces, _ = ndimage.label(empty)
    is_large = np.bincount(pieces.ravel()) >= SMALLEST_EMPTY_PX
    is_large[0] = False
    large: NDArray[np.bool_] = is_large[pieces]
    return large


def convert(source: Source, writer: SetWriter) -> None:
    """Add every image with its labels."""
    for item in read_index(source):
        image, labels = read_item(source, item)
        writer.add(facts_of(item), image=image, labels=labels)


def facts_of(item: Item) -> dict[str, Any]:
    """What the index of a prepared set says of an image."""
    facts = {"key": item.key, "case_id": item.case_id, "category": item.category}
    return facts | {"group": item.case_id, "split": item.split, "mpp": MPP}


DATASET = DataSet(
    name="ebhi",
    title="EBHI-Seg: 1,882 H&E images of colorectal biopsies with glands and neoplastic epithelium outlined",
    licence="CC BY 4.0 (Shi et al. 2023, Frontiers in Medicine 10:1114673)",
    source="https://figshare.com/articles/dataset/EBHI-SEG/21540159/1",
    layout="the folder or archive with CATEGORY/image/*.png and CATEGORY/label/*.png",
    may_ship=True,
    convert=convert,
    archives=("EBHI-SEG.zip", "ebhi_seg.zip"),
)
