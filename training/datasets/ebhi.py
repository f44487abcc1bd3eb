"""EBHI-Seg: colorectal biopsies with outlined glands and neoplastic epithelium."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from napari_histoseg.core.errors import InputError
from training.prepared import open_archive, read_member, write_arrays

ARCHIVE = "ebhi_seg.zip"
MPP = 1.5
"""µm per pixel. The set does not state it; a model trained on it finds glands of a 0.62 µm/px set best at 1.55."""

SIDE_PX = 224
SMALLEST_EMPTY_PX = 200
BACKGROUND, OTHER_TISSUE, EPITHELIUM = 0, 1, 2

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Item:
    """One image of the set."""

    key: str
    case_id: str
    category: str
    split: Split


def read_index(archive: zipfile.ZipFile) -> list[Item]:
    """All images with their split: a fifth of the cases test, a tenth validation, chosen by a hash of the case id."""
    rows = list(csv.DictReader(io.StringIO(read_member(archive, "index.csv").decode())))
    splits = split_cases({row["case_id"] for row in rows})
    return [Item(row["key"], row["case_id"], row["category"], splits[row["case_id"]]) for row in rows]


def split_cases(case_ids: set[str]) -> dict[str, Split]:
    """Split of every case; all images of a case fall in one split, whatever the order they come in."""
    ranked = sorted(case_ids, key=lambda case_id: hashlib.sha256(case_id.encode()).hexdigest())
    tests, validations = round(len(ranked) / 5), round(len(ranked) / 10)
    splits: dict[str, Split] = {}
    for rank, case_id in enumerate(ranked):
        splits[case_id] = "test" if rank < tests else "validation" if rank < tests + validations else "train"
    return splits


def read_item(archive: zipfile.ZipFile, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (224, 224, 3) and labels (224, 224) of one image."""
    image = Image.open(io.BytesIO(read_member(archive, f"images/{item.key}.jpg"))).convert("RGB")
    mask = np.asarray(Image.open(io.BytesIO(read_member(archive, f"masks/{item.key}.png"))).convert("L")) > 0
    if image.size != (SIDE_PX, SIDE_PX) or mask.shape != (SIDE_PX, SIDE_PX):
        raise InputError(f"EBHI-Seg image '{item.key}' is {image.size}, not 224 x 224; download the set again.")
    labels = np.where(is_empty_glass(image), np.uint8(BACKGROUND), np.uint8(OTHER_TISSUE))
    labels[mask] = EPITHELIUM
    return np.asarray(image), labels


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


def prepare(src: Path, dst: Path) -> int:
    """Decode the archive into ``images.npy``, ``labels.npy`` and ``index.json``; returns the number of images."""
    with open_archive(src, ARCHIVE) as archive:
        items = read_index(archive)
        pairs = [read_item(archive, item) for item in items]
    write_arrays(dst, [image for image, _ in pairs], [labels for _, labels in pairs], [asdict(item) for item in items])
    return len(items)
