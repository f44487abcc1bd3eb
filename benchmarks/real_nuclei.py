"""Nuclei of the MoNuSeg training images, for the benchmarks that need them, and their scores."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_histoseg.learning.metrics_instance import aji, panoptic_quality

MONUSEG_MPP = 0.25
NAMES = ("Dice", "AJI", "PQ")


@dataclass(frozen=True, eq=False)
class Nuclei:
    """An image (H, W, 3), and its nuclei (H, W) numbered from 1."""

    name: str
    pixels: NDArray[np.uint8]
    instances: NDArray[np.int64]


def monuseg(data: Path) -> Iterator[Nuclei]:
    """The images of ``monuseg_train.zip`` in the folder ``data``."""
    with zipfile.ZipFile(data / "monuseg_train.zip") as archive:
        for name in sorted(n for n in archive.namelist() if n.startswith("images/") and n.endswith(".jpg")):
            stem = Path(name).stem
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            truth = np.asarray(Image.open(io.BytesIO(archive.read(f"instances/{stem}.png")))).astype(np.int64)
            yield Nuclei(stem, pixels, truth)


def scores(truth: NDArray[np.integer], found: NDArray[np.integer]) -> tuple[float, float, float]:
    """Dice of all nuclei together, AJI and PQ of one image."""
    dice = 2 * ((truth > 0) & (found > 0)).sum() / max(1, (truth > 0).sum() + (found > 0).sum())
    return float(dice), aji(truth, found), panoptic_quality(truth, found).pq


def told(rows: Sequence[tuple[float, ...]]) -> str:
    """Mean and standard deviation over images of each score."""
    table = np.array(rows)
    columns = zip(NAMES, table.mean(axis=0), table.std(axis=0), strict=True)
    return ", ".join(f"{name} {mean:.3f} ± {sd:.3f}" for name, mean, sd in columns) + f" (n = {len(table)})"


def reached(rows: Sequence[tuple[float, ...]], least: tuple[float, ...]) -> bool:
    """Whether every mean is at least the wanted one."""
    return bool((np.array(rows).mean(axis=0) >= np.array(least)).all())
