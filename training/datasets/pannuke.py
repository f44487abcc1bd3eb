"""PanNuke: nuclei of five kinds in nineteen tissues; for evaluation only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import Split
from training.writing import SetWriter

MPP = 0.25
_KINDS = 5
_SPLITS: dict[int, Split] = {1: "train", 2: "validation", 3: "test"}


def convert(source: Source, writer: SetWriter) -> None:
    """Add the images of the three folds with class map, instance map, ``fold`` and ``tissue``.

    The published folds are the split: 1 trains, 2 validates, 3 tests; patients are not published.
    """
    files = {fold: _find_fold(source, fold) for fold in _SPLITS}
    for fold, (image_file, mask_file, type_file) in files.items():
        images, masks, tissues = _open(image_file), _open(mask_file), _open(type_file)
        if not len(images) == len(masks) == len(tissues):
            raise InputError(
                f"Fold {fold} of PanNuke has {len(images)} images, {len(masks)} masks and {len(tissues)} tissue types; "
                "download it again."
            )
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            key = f"fold{fold}-{number:04d}"
            labels, instances = split_channels(np.asarray(mask))
            facts = {"key": key, "group": key, "split": _SPLITS[fold], "mpp": MPP}
            facts |= {"fold": fold, "tissue": str(tissues[number])}
            writer.add(facts, image=np.asarray(image).astype(np.uint8), labels=labels, instances=instances)


def split_channels(mask: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class map and instance map (H, W) of a published mask.

    Parameters
    ----------
    mask : ndarray, shape (H, W, 6)
        Instance numbers, one channel for each kind of nucleus and a last one for the background.

    Returns
    -------
    labels : ndarray of uint8, shape (H, W)
        0 background, 1 to 5 the kinds in the order of their channels; the first one where several claim a pixel.
    instances : ndarray of int32, shape (H, W)
        0 background, 1 to the number of nuclei.
    """
    numbers = mask[..., :_KINDS]
    is_nucleus = numbers > 0
    channel = is_nucleus.argmax(axis=-1)
    covered = is_nucleus.any(axis=-1)
    labels = np.where(covered, channel + 1, 0).astype(np.uint8)
    number = np.take_along_axis(numbers, channel[..., None], axis=-1)[..., 0].astype(np.int64)
    instances = np.zeros(labels.shape, np.int32)
    unique = number[covered] * _KINDS + channel[covered]
    instances[covered] = np.unique(unique, return_inverse=True)[1].reshape(-1) + 1
    return labels, instances


def _find_fold(source: Source, fold: int) -> tuple[Path, Path, Path]:
    patterns = (f"images/fold{fold}/images.npy", f"masks/fold{fold}/masks.npy", f"images/fold{fold}/types.npy")
    found = [source.find(pattern) for pattern in patterns]
    for pattern, names in zip(patterns, found, strict=True):
        if not names:
            raise InputError(f"Fold {fold} of PanNuke is not whole: {source.path} holds no '{pattern}'; {source.help}")
    images, masks, types = (source.path / names[0] for names in found)
    return images, masks, types


def _open(path: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no whole array of numbers ({error}); unpack or download the fold again.") from None
    return values


DATASET = DataSet(
    name="pannuke",
    title="PanNuke: 7,901 H&E images of 19 tissues with nuclei of five kinds at 40x",
    licence="CC BY-NC-SA 4.0 (Gamper et al. 2020, arXiv:2003.10778)",
    source="https://warwick.ac.uk/fac/cross_fac/tia/data/pannuke",
    layout="the folder with the three unpacked folds: images/fold1/images.npy, images/fold1/types.npy, "
    "masks/fold1/masks.npy and the same for fold2 and fold3",
    may_ship=False,
    convert=convert,
)
