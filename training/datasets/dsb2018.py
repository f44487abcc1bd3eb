"""Data Science Bowl 2018: nuclei in stained tissue; the fluorescence images of the set are left out."""

from __future__ import annotations

import csv
import io
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import split_groups
from training.writing import SetWriter, check_size

_ID_LENGTH = 16


def convert(source: Source, writer: SetWriter) -> None:
    """Add the colour images of ``ID/images/*.png`` with ``ID/masks/*.png``, or of ``images`` with ``instances``.

    Slide and patient are not published, so each image is a group of its own: no two of the tissue images overlap
    (no shift of one onto another correlates), but neighbours on one slide may fall in different splits.
    """
    folders = source.find("*/images/*.png")
    keys = [PurePosixPath(name) for name in folders or source.find("images/*.jpg") or source.need("*/images/*.png")]
    splits = split_groups(key.stem[:_ID_LENGTH] for key in keys)
    stains = _read_stains(source)
    masks: dict[PurePosixPath, list[str]] = {}
    for name in source.find("masks/*.png"):
        masks.setdefault(PurePosixPath(name).parent.parent, []).append(name)
    for key in keys:
        image = source.read_image(str(key))
        if not is_stained(image):
            continue
        size = (image.shape[0], image.shape[1])
        if folders:
            instances = _read_masks(source, masks.get(key.parent.parent, []), str(key), size)
        else:
            other = str(key.parent.parent / "instances" / f"{key.stem}.png")
            instances = source.read_mask(source.partner(str(key), [other], "instance map")).astype(np.int32)
        short = key.stem[:_ID_LENGTH]
        facts = {"key": short, "group": short, "split": splits[short], "mpp": None, "stain": stains.get(short, "")}
        writer.add(facts, image=image, labels=instances > 0, instances=instances)


def is_stained(image: NDArray[np.uint8]) -> bool:
    """Whether an image (H, W, 3) has colour; fluorescence and grey images of the set have three equal channels."""
    low, high = image.min(axis=-1).astype(np.int16), image.max(axis=-1).astype(np.int16)
    return bool((high - low).mean() > 5)


def _read_masks(source: Source, names: list[str], image: str, size: tuple[int, int]) -> NDArray[np.int32]:
    """One number for each mask file; a pixel of two masks goes to the smaller one."""
    if not names:
        raise InputError(f"{source.path / image} has no 'masks/*.png' beside its folder; {source.help}")
    masks = [source.read_image(name).max(axis=-1) > 0 for name in names]
    for name, mask in zip(names, masks, strict=True):
        check_size(mask, size, f"The mask '{name}'")
    instances = np.zeros(size, np.int32)
    for number, mask in enumerate(sorted(masks, key=np.count_nonzero, reverse=True), start=1):
        instances[mask] = number
    return instances


def _read_stains(source: Source) -> dict[str, str]:
    """Kind of stain by image, where the set's own table tells it."""
    tables = source.find("index.csv")
    if not tables:
        return {}
    rows = csv.DictReader(io.StringIO(source.read(tables[0]).decode()))
    return {row["id"]: row.get("stain", "") for row in rows}


DATASET = DataSet(
    name="dsb2018",
    title="Data Science Bowl 2018, stage 1: nuclei in the images of stained tissue (purple, few pink H&E)",
    licence="CC0 1.0 (Broad Bioimage Benchmark Collection BBBC038; Caicedo et al. 2019, Nature Methods 16)",
    source="https://bbbc.broadinstitute.org/BBBC038",
    layout="stage1_train.zip or its folder: ID/images/ID.png and ID/masks/*.png for each image",
    may_ship=True,
    convert=convert,
    archives=("stage1_train.zip", "dsb2018_tissue_nuclei.zip"),
)
