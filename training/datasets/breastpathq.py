"""BreastPathQ: patches of breast cancer with the share of tumour cells, and regions with classed cell centres."""

from __future__ import annotations

import csv
import io
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import CELLULARITY
from training.datasets.dataset import DataSet
from training.datasets.points import label_points
from training.datasets.source import Source
from training.datasets.splits import Split, split_groups
from training.writing import SetWriter, check_points

MPP = 0.5
_PARTS = {"train": "train_labels.csv", "validation": "val_labels.csv"}
_KINDS = {
    "lymphocyte": ("til-e", "til-s", "lymphocyte"),
    "normal": ("normal", "udh", "adh"),
    "malignant": ("idc", "ilc", "muc c", "dcis 1", "dcis 2", "dcis 3", "mc- e", "mc - c", "mc - m", "malignant"),
}
_CLASS_OF = {text: CELLULARITY.by_name(kind).id for kind, texts in _KINDS.items() for text in texts}


def convert_patches(source: Source, writer: SetWriter) -> None:
    """Add ``train/SLIDE_REGION.tif`` and ``validation/SLIDE_REGION.tif`` with their ``score``.

    The published validation patches test. A tenth of the slides of the training patches validates. Where two
    pathologists scored a patch, ``scores`` keeps both and ``score`` is their mean.
    """
    parts = {part: _read_scores(source, table) for part, table in _PARTS.items()}
    splits = split_groups((slide for slide, _ in parts["train"]), test=0.0)
    for part, scores in parts.items():
        files = {PurePosixPath(name).stem: name for name in source.need(f"{part}/*.tif")}
        for (slide, region), values in scores.items():
            name = files.get(f"{slide}_{region}")
            if name is None:
                raise InputError(f"{source.path} holds no patch '{part}/{slide}_{region}.tif'; {source.help}")
            split: Split = "test" if part == "validation" else splits[slide]
            facts = {"key": f"{part}/{slide}_{region}", "group": slide, "split": split, "mpp": MPP}
            facts |= {"score": float(np.mean(values)), "scores": values}
            writer.add(facts, image=source.read_image(name))


def convert_cells(source: Source, writer: SetWriter) -> None:
    """Add ``cells/N_Region M_crop.tif`` with the points of ``N_Region M_key.xml``; all regions of a slide in one split.

    Points grow to nuclei by a watershed. Of 154 regions about 8 in a hundred validate, as in the cellularity regression
    paper; none tests. Cells of kinds that the paper does not use have the class 255, and so have dark pixels without
    a point.
    """
    images = [PurePosixPath(name) for name in source.need("cells/*_crop.tif")]
    slides = {path: path.stem.partition("_")[0] for path in images}
    splits = split_groups(slides.values(), test=0.0, validation=0.08)
    for path in images:
        stem = path.stem.removesuffix("_crop")
        name = source.partner(str(path), [str(path.with_name(f"{stem}_key.xml"))], "file of cell centres")
        image, points = source.read_image(str(path)), read_cells(source.read(name), f"{source.path / name}")
        check_points(points, (image.shape[0], image.shape[1]), f"'{stem}'")
        labels, instances = label_points(image, points, MPP, unlabelled="ignore")
        facts = {"key": stem, "group": slides[path], "split": splits[slides[path]], "mpp": MPP}
        writer.add(facts, image=image, labels=labels, instances=instances, points=points)


def read_cells(xml: bytes, where: str) -> NDArray[np.float32]:
    """Points (P, 3) of y, x and class of `CELLULARITY`, 255 for cells of other kinds.

    Raises
    ------
    InputError
        When the file is no Sedeen session of points.
    """
    points = []
    try:
        for graphic in ElementTree.fromstring(xml).iter("graphic"):
            class_id = _CLASS_OF.get(graphic.get("description", "").strip().casefold(), IGNORE)
            for point in graphic.iter("point"):
                x, y = map(float, (point.text or "").split(","))
                points.append((y, x, class_id))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{where} is no whole list of cell centres ({error}); get the set again.") from None
    return np.array(points, np.float32).reshape(-1, 3)


def _read_scores(source: Source, table: str) -> dict[tuple[str, str], list[float]]:
    """Scores of every patch by slide and region."""
    name = source.need_one(table)
    scores: dict[tuple[str, str], list[float]] = {}
    for row in csv.reader(io.StringIO(source.read(name).decode("utf-8-sig"))):
        if len(row) < 3 or not row[0].strip().isdigit():
            continue  # the heading
        try:
            values = [float(value) for value in row[2:] if value.strip()]
        except ValueError:
            values = []
        if not values or not all(0 <= value <= 1 for value in values):
            raise InputError(f"{source.path / name} gives patch {row[0]}_{row[1]} no score from 0 to 1: {row[2:]}.")
        scores[row[0].strip(), row[1].strip()] = values
    if not scores:
        raise InputError(f"{source.path / name} holds no rows of slide, region, score; {source.help}")
    return scores


_LICENCE = (
    "for the challenge and research, on registration (Akbar et al. 2019, Scientific Reports 9; Petrick et al. 2021)"
)
_SOURCE = "https://breastpathq.grand-challenge.org/"

DATASETS = (
    DataSet(
        name="breastpathq",
        title="BreastPathQ: 512 px patches of breast cancer with tumour cellularity scores at 20x",
        licence=_LICENCE,
        source=_SOURCE,
        layout="the folder 'datasets' with train/*.tif, train_labels.csv, validation/*.tif, and val_labels.csv, which "
        "was published later with the test set",
        may_ship=False,
        convert=convert_patches,
    ),
    DataSet(
        name="breastpathq_cells",
        title="BreastPathQ: regions with the centres of malignant, normal and lymphocyte nuclei",
        licence=_LICENCE,
        source=_SOURCE,
        layout="the folder 'datasets' with cells/*_crop.tif and cells/*_key.xml",
        may_ship=False,
        convert=convert_cells,
    ),
)
