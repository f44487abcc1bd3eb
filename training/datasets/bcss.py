"""BCSS: tissue regions of breast cancer, outlined by pathologists; in five groups or all published classes."""

from __future__ import annotations

import csv
import functools
import io
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.grouping import BCSS_OUTSIDE, apply_groups, bcss_classes, bcss_groups
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS22
from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import split_groups
from training.writing import SetWriter

MPP = 0.25
_TEST = 46 / 151
_VALIDATION = 21 / 151
_IMAGE_FOLDERS = ("rgbs_colorNormalized", "images", "rgbs")


def convert(source: Source, writer: SetWriter, *, table: NDArray[np.uint8]) -> None:
    """Add every mask of ``masks`` with the image of the same name, its codes turned to classes by ``table``.

    All regions of a patient fall in one split; of 151 patients 84 train, 21 validate and 46 test. How many pixels
    each published code has stays among the facts.
    """
    masks = [PurePosixPath(name) for name in source.find("masks/*.tif") or source.need("masks/*.png")]
    _check_codes(source)
    splits = split_groups((_patient(mask.stem) for mask in masks), test=_TEST, validation=_VALIDATION)
    for mask in masks:
        around = mask.parent.parent
        candidates = [str(around / folder / mask.name) for folder in _IMAGE_FOLDERS]
        image = source.read_image(source.partner(str(mask), candidates, "image"))
        codes = source.read_mask(str(mask))
        patient = _patient(mask.stem)
        mpp = re.search(r"MPP-(\d+\.\d+)", mask.stem)
        facts = {"key": mask.stem, "group": patient, "split": splits[patient], "mpp": float(mpp[1]) if mpp else MPP}
        labels = apply_groups(codes, table, f"{source.path / str(mask)}")
        facts["codes"] = _counts(codes)
        writer.add(facts, image=image, labels=labels)


def _counts(codes: NDArray[Any]) -> list[int]:
    """Pixels of each published code from 0 on; those that are 255 are outside as well."""
    counts = np.bincount(codes.ravel(), minlength=IGNORE + 1)
    counts[BCSS_OUTSIDE] += counts[IGNORE]
    published: list[int] = counts[: max(BCSS22.ids) + 1].tolist()
    return published


def _check_codes(source: Source) -> None:
    """Refuse masks of a version with another table of codes than the published one."""
    known = {c.name: c.id for c in BCSS22.classes} | {"outside_roi": BCSS_OUTSIDE}
    for name in source.find("gtruth_codes.tsv"):
        for row in csv.DictReader(io.StringIO(source.read(name).decode()), delimiter="\t"):
            if known.get(row["label"]) != int(row["GT_code"]):
                raise InputError(
                    f"{source.path / name} gives '{row['label']}' the code {row['GT_code']}, which differs from the "
                    "published table; get the published version of the set."
                )


def _patient(stem: str) -> str:
    """``TCGA-A1-A0SK`` of ``TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500``."""
    return "-".join(stem.split("-")[:3])


def _dataset(name: str, title: str, table: NDArray[np.uint8]) -> DataSet:
    return DataSet(
        name=name,
        title=f"BCSS: tissue regions in 151 H&E slides of breast cancer, {title}",
        licence="CC0 1.0 (Amgad et al. 2019, Bioinformatics 35)",
        source="https://github.com/PathologyDataScience/BCSS",
        layout="the folder with masks/*.png, rgbs_colorNormalized/*.png of the same names and meta/gtruth_codes.tsv",
        may_ship=True,
        convert=functools.partial(convert, table=table),
    )


DATASETS = (
    _dataset("bcss", "five groups", bcss_groups()),
    _dataset(
        "bcss_strict", "five groups, excluded and undetermined regions left out", bcss_groups(exclude_to_ignore=True)
    ),
    _dataset("bcss22", "all published classes", bcss_classes()),
)
