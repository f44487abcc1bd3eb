"""The public data sets that recipes know, with their licence and where they come from."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_histoseg.core.errors import InputError
from training.datasets import ebhi, glas


@dataclass(frozen=True)
class DataSet:
    """One public set.

    Parameters
    ----------
    name : str
        For commands, and the folder of its prepared form.
    title, licence, source : str
        What it is, how it may be used, where to get it.
    archive : str
        File that ``prepare`` reads, with its content in ``layout``.
    layout : str
        What must be in the archive.
    may_ship : bool
        Whether weights trained on it may be given away with the package.
    prepare : callable
        ``prepare(src, dst)`` decodes the archive (or the folder that holds it) into ``dst``.
    """

    name: str
    title: str
    licence: str
    source: str
    archive: str
    layout: str
    may_ship: bool
    prepare: Callable[[Path, Path], int]


DATASETS = {
    s.name: s
    for s in (
        DataSet(
            "ebhi",
            "EBHI-Seg: 1,882 H&E images of colorectal biopsies with glands and neoplastic epithelium outlined",
            "CC BY 4.0 (Shi et al. 2023, Frontiers in Medicine 10:1114673)",
            "https://figshare.com/articles/dataset/EBHI-SEG/21540159/1",
            ebhi.ARCHIVE,
            "images/CATEGORY/*.jpg, masks/CATEGORY/*.png, index.csv with key, category, case_id",
            True,
            ebhi.prepare,
        ),
        DataSet(
            "glas",
            "GlaS: H&E images of colorectal glands from another scanner, 0.62 µm/px",
            "research only (Sirinukunwattana et al. 2017, Medical Image Analysis 35)",
            "https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest",
            glas.ARCHIVE,
            "images/*.jpg, instances/*.png",
            False,
            glas.prepare,
        ),
    )
}


def get_dataset(name: str) -> DataSet:
    """The data set of that name; ``InputError`` names the nearest when there is none."""
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(DATASETS)}."
    raise InputError(f"There is no data set '{name}'; {hint}")
