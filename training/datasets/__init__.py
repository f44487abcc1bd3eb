"""The public data sets that recipes know, with their licence and where they come from."""

from __future__ import annotations

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion
from training.datasets import (
    bcss,
    breastpathq,
    crchisto,
    crchisto_scores,
    dsb2018,
    ebhi,
    ebhi_regions,
    glas,
    monuseg,
    pairs,
    pannuke,
)
from training.datasets.dataset import DataSet

DATASETS: dict[str, DataSet] = {
    dataset.name: dataset
    for dataset in (
        ebhi.DATASET,
        *ebhi_regions.DATASETS,
        glas.DATASET,
        dsb2018.DATASET,
        monuseg.DATASET,
        crchisto.DATASET,
        crchisto_scores.DATASET,
        *bcss.DATASETS,
        pannuke.DATASET,
        *breastpathq.DATASETS,
        pairs.DATASET,
    )
}


def get_dataset(name: str) -> DataSet:
    """The data set of that name; ``InputError`` names the nearest when there is none."""
    if name in DATASETS:
        return DATASETS[name]
    raise InputError(f"There is no data set '{name}'; {suggestion(name, DATASETS)}")
