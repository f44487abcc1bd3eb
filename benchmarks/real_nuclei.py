"""Nuclei of public sets, for the benchmarks that need them, and their scores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.learning.metrics import confusion_matrix, dice
from napari_histoseg.learning.metrics_instance import aji, panoptic_quality
from training.datasets import get_dataset
from training.prepared import Sample, load

NAMES = ("Dice", "AJI", "PQ")


def samples(data: Path, name: str) -> Iterator[Sample]:
    """Every image of the set ``name``, whose download lies in the folder ``data``."""
    with tempfile.TemporaryDirectory() as folder:
        get_dataset(name).prepare(data, Path(folder) / name)
        yield from load(Path(folder), name)


def scores(truth: NDArray[np.integer], found: NDArray[np.integer]) -> tuple[float, float, float]:
    """Dice of all nuclei together, AJI and PQ of one image."""
    matrix = confusion_matrix((truth > 0).astype(np.uint8), (found > 0).astype(np.uint8), num_classes=2)
    return float(dice(matrix)[1]), aji(truth, found), panoptic_quality(truth, found).pq


def told(rows: Sequence[tuple[float, ...]]) -> str:
    """Mean and standard deviation over images of each score."""
    table = np.array(rows)
    columns = zip(NAMES, table.mean(axis=0), table.std(axis=0), strict=True)
    return ", ".join(f"{name} {mean:.3f} ± {sd:.3f}" for name, mean, sd in columns) + f" (n = {len(table)})"


def reached(rows: Sequence[tuple[float, ...]], least: tuple[float, ...]) -> bool:
    """Whether every mean is at least the wanted one."""
    return bool((np.array(rows).mean(axis=0) >= np.array(least)).all())
