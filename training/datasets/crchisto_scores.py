"""Fields of CRCHistoPhenotypes with a score that its own points give: a stand-in for tumour cellularity."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import CRCHISTO
from napari_histoseg.inference.scoring import derived_cellularity, tissue_mask
from training.datasets import crchisto
from training.datasets.source import Source
from training.writing import SetWriter

SIDE_PX = 256
_FIELDS_PER_ROW = 3
_LEAST_NUCLEI = 15
_MOST_UNKNOWN = 0.15
_LEAST_TISSUE = 0.2


def convert(source: Source, writer: SetWriter) -> None:
    """Add overlapping fields of the images, with ``score``; all fields of an image fall in its split.

    The score is the area of epithelial nuclei over that of tissue. Fields with hardly any tissue, with less than 15
    nuclei, or with more than 15 % of them of unknown kind are left out.
    """
    malignant = (CRCHISTO.by_name("epithelial").id,)
    for facts, image, points in crchisto.read_images(source):
        labels, _ = crchisto.grow(image, points)
        tissue = tissue_mask(image)
        for number, (y, x) in enumerate(itertools.product(_starts(image.shape[0]), _starts(image.shape[1]))):
            field = (slice(y, y + SIDE_PX), slice(x, x + SIDE_PX))
            score = derived_cellularity(labels[field], tissue[field], malignant=malignant)
            if score is None or tissue[field].mean() < _LEAST_TISSUE or not _is_known(points, y, x):
                continue
            own = facts | {"key": f"{facts['key']}-{number}", "score": round(score, 5)}
            writer.add(own, image=image[field], labels=labels[field])


def _starts(size_px: int) -> list[int]:
    return [int(start) for start in np.linspace(0, max(0, size_px - SIDE_PX), _FIELDS_PER_ROW).round()]


def _is_known(points: NDArray[np.float32], y: int, x: int) -> bool:
    """Whether a field has enough nuclei and knows the kind of nearly all."""
    at = points[:, :2] - (y, x)
    kinds = points[((at >= 0) & (at < SIDE_PX)).all(axis=1), 2]
    return len(kinds) >= _LEAST_NUCLEI and float((kinds == IGNORE).mean()) <= _MOST_UNKNOWN


DATASET = dataclasses.replace(
    crchisto.DATASET,
    name="crchisto_scores",
    title="CRCHistoPhenotypes in fields of 256 px with the share of tissue that epithelial nuclei cover",
    convert=convert,
)
