"""Which prediction belongs to which truth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from napari_histoseg.core.errors import InputError

INSTANCES = "_instances"
_OTHER = ("_probabilities",)
_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")


class Pair(NamedTuple):
    """One image: its name, the file that was predicted and the true one."""

    name: str
    pred: Path
    truth: Path


def label_pairs(pred: Path, truth: Path, *, of_objects: bool = False) -> list[Pair]:
    """Everything that has a truth, with its prediction.

    Parameters
    ----------
    pred, truth : Path
        Two files, or two folders with files of the same names.
    of_objects : bool
        Prefer files named ``*_instances``, which belong to the name without that end.

    Raises
    ------
    InputError
        When a prediction is missing or nothing is there.
    """
    if pred.is_file() and truth.is_file():
        return [Pair(_name(truth), pred, truth)]
    if not (pred.is_dir() and truth.is_dir()):
        raise InputError(f"'{pred}' and '{truth}' must be two label files or two folders of label files.")
    predicted, true = _label_files(pred, of_objects), _label_files(truth, of_objects)
    missing = sorted(set(true) - set(predicted))
    if missing:
        raise InputError(f"'{pred}' has no prediction for '{missing[0]}' ({len(missing)} of {len(true)} are missing).")
    if not true:
        raise InputError(f"'{truth}' holds no label files ({', '.join(_SUFFIXES)}).")
    return [Pair(name, predicted[name], path) for name, path in true.items()]


def beside(path: Path, ending: str) -> Path:
    """The file of the same image with another ending, such as ``_cells.csv``."""
    return path.with_name(f"{_name(path)}{ending}")


def _label_files(folder: Path, of_objects: bool) -> dict[str, Path]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES]
    paths = [path for path in paths if not path.stem.endswith(_OTHER)]
    objects = [path for path in paths if path.stem.endswith(INSTANCES)]
    if of_objects and objects:
        return {_name(path): path for path in objects}
    return {path.stem: path for path in paths if path not in objects}


def _name(path: Path) -> str:
    return path.stem.removesuffix(INSTANCES)
