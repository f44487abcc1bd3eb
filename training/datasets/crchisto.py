"""CRCHistoPhenotypes: centres of colorectal nuclei with their kind; for evaluation only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import CRCHISTO
from training.datasets.dataset import DataSet
from training.datasets.points import label_points
from training.datasets.source import Source
from training.datasets.splits import split_groups
from training.writing import SetWriter, check_points

MPP = 0.55
_KINDS = tuple(c.name for c in CRCHISTO.classes if c.id)
_DETECTION = "detection"
_SAME_NUCLEUS_PX = 3.0

Points = NDArray[np.float32]


def convert(source: Source, writer: SetWriter) -> None:
    """Add the images with their points, and class map and instance map that a watershed grows from them."""
    for facts, image, points in read_images(source):
        labels, instances = grow(image, points)
        writer.add(facts, image=image, labels=labels, instances=instances, points=points)


def read_images(source: Source) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8], Points]]:
    """Facts, pixels and points of each ``Classification/img1/img1.bmp`` with ``img1_epithelial.mat`` and so on.

    Points of ``Detection/img1/img1_detection.mat`` that no kind claims get the class 255. Patients are not published,
    so each image is a group of its own.
    """
    published = source.find("Classification/*/*.bmp")
    images = [
        PurePosixPath(name)
        for name in published or source.find("images/*.jpg") or source.need("Classification/*/*.bmp")
    ]
    splits = split_groups(path.stem for path in images)
    for path in images:
        image = source.read_image(str(path))
        points = merge_kinds(_read_mat_files(source, path) if published else _read_table(source, path))
        check_points(points, (image.shape[0], image.shape[1]), f"'{path.stem}'")
        yield {"key": path.stem, "group": path.stem, "split": splits[path.stem], "mpp": MPP}, image, points


def grow(image: NDArray[np.uint8], points: Points) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class map and instance map (H, W); dark pixels without a point are background, since every nucleus has one."""
    return label_points(image, points, MPP, unlabelled="background")


def merge_kinds(by_kind: dict[str, Points]) -> Points:
    """Points (P, 3) of y, x from the first pixel's centre, and class id, 255 for nuclei that were only detected.

    Parameters
    ----------
    by_kind : dict of name to ndarray of float32, shape (P, 2)
        Published x and y, which count from 1; ``detection`` lists every nucleus again.
    """
    from scipy.spatial import cKDTree

    ids = {CRCHISTO.by_name(kind).id: by_kind.get(kind, _none()) for kind in _KINDS}
    classed = np.concatenate(list(ids.values()))
    detected = by_kind.get(_DETECTION, _none())
    if len(classed) and len(detected):
        distances, _ = cKDTree(classed).query(detected)
        detected = detected[distances > _SAME_NUCLEUS_PX]
    classes = [np.full(len(xy), class_id) for class_id, xy in [*ids.items(), (IGNORE, detected)]]
    xy = np.concatenate([classed, detected]) - 1
    points: Points = np.column_stack([xy[:, 1], xy[:, 0], np.concatenate(classes)]).astype(np.float32)
    return points


def _read_mat_files(source: Source, image: PurePosixPath) -> dict[str, Points]:
    by_kind = {}
    for kind in _KINDS:
        name = source.partner(str(image), [str(image.with_name(f"{image.stem}_{kind}.mat"))], f"points of '{kind}'")
        by_kind[kind] = _read_mat(source, name)
    for name in source.find(f"Detection/{image.stem}/{image.stem}_detection.mat"):
        by_kind[_DETECTION] = _read_mat(source, name)
    return by_kind


def _read_mat(source: Source, name: str) -> Points:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        values = np.asarray(loadmat(io.BytesIO(source.read(name)))["detection"], np.float32)
        return values.reshape(-1, 2)
    except (KeyError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(f"{source.path / name} holds no list of points ({error}); get the set again.") from None


def _read_table(source: Source, image: PurePosixPath) -> dict[str, Points]:
    name = source.partner(str(image), [str(image.parent.parent / "points" / f"{image.stem}.csv")], "table of points")
    by_kind: dict[str, list[tuple[float, float]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(source.read(name).decode())):
            by_kind.setdefault(row["class"], []).append((float(row["x"]), float(row["y"])))
    except (KeyError, ValueError) as error:
        raise InputError(f"{source.path / name} needs the columns x, y, class with numbers ({error}).") from None
    unknown = sorted(by_kind.keys() - {*_KINDS, _DETECTION})
    if unknown:
        raise InputError(f"{source.path / name} has the class '{unknown[0]}'; known are {', '.join(_KINDS)}.")
    return {kind: np.array(xy, np.float32) for kind, xy in by_kind.items()}


def _none() -> Points:
    return np.zeros((0, 2), np.float32)


DATASET = DataSet(
    name="crchisto",
    title="CRCHistoPhenotypes: centres and kinds of nuclei in 100 H&E images of colorectal cancer at 20x",
    licence="research only (Sirinukunwattana et al. 2016, IEEE TMI 35)",
    source="https://warwick.ac.uk/fac/cross_fac/tia/data/crchistolabelednucleihe",
    layout="the folder CRCHistoPhenotypes_2016_04_28 with Classification/img1/img1.bmp, img1_epithelial.mat, ... and "
    "Detection/img1/img1_detection.mat",
    may_ship=False,
    convert=convert,
    archives=("CRCHistoPhenotypes_2016_04_28.zip", "crchisto_points_subset.zip"),
)
