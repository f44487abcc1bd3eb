"""GlaS: colorectal glands seen by another scanner at another magnification; for evaluation only."""

from __future__ import annotations

import csv
import io
from pathlib import PurePosixPath

import numpy as np

from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import split_groups
from training.writing import SetWriter

MPP = 0.62


def convert(source: Source, writer: SetWriter) -> None:
    """Add ``train_1.bmp`` with ``train_1_anno.bmp``, or ``images/*.jpg`` with ``instances/*.png``.

    The published split is kept: ``testA_`` and ``testB_`` images test, with their ``part`` among the facts. A tenth of
    the patients of the training images, where ``Grade.csv`` tells the patients, validates.
    """
    published = [name for name in source.find("*.bmp") if not name.casefold().endswith("_anno.bmp")]
    keys = [PurePosixPath(name) for name in published or source.find("images/*.jpg") or source.need("train_*.bmp")]
    grades = _read_grades(source)
    groups = {key.stem: grades.get(key.stem, {}).get("patient ID", "") or key.stem for key in keys}
    training = {group for stem, group in groups.items() if not stem.startswith("test")}
    splits = split_groups(training, test=0.0, validation=0.1)
    for key in keys:
        beside = key.with_name(f"{key.stem}_anno.bmp")
        other = beside if published else key.parent.parent / "instances" / f"{key.stem}.png"
        instances = source.read_mask(source.partner(str(key), [str(other)], "annotation")).astype(np.int32)
        part, group = key.stem.partition("_")[0], groups[key.stem]
        facts = {"key": key.stem, "group": group, "part": part, "mpp": MPP}
        facts["split"] = "test" if part.startswith("test") else splits[group]
        facts["grade"] = grades.get(key.stem, {}).get("grade (GlaS)", "")
        writer.add(facts, image=source.read_image(str(key)), labels=instances > 0, instances=instances)


def _read_grades(source: Source) -> dict[str, dict[str, str]]:
    """Rows of ``Grade.csv`` by image, with patient and grade."""
    tables = source.find("Grade.csv")
    if not tables:
        return {}
    rows = csv.DictReader(io.StringIO(source.read(tables[0]).decode("utf-8-sig")), skipinitialspace=True)
    return {row["name"]: {name: (value or "").strip() for name, value in row.items()} for row in rows}


DATASET = DataSet(
    name="glas",
    title="GlaS (Warwick-QU): H&E images of colorectal glands from another scanner, 0.62 µm/px",
    licence="research only (Sirinukunwattana et al. 2017, Medical Image Analysis 35)",
    source="https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest",
    layout="the Warwick QU folder or archive with train_1.bmp, train_1_anno.bmp, ..., testB_20.bmp and Grade.csv",
    may_ship=False,
    convert=convert,
    archives=("warwick_qu_dataset_released_2016_07_08.zip", "glas_train_subset.zip"),
)
