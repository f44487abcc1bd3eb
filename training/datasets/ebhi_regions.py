"""Cancer, stroma and background, derived from the outlines and categories of EBHI-Seg."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import CANCER_STROMA
from training.datasets import ebhi
from training.datasets.source import Source
from training.writing import SetWriter

OUTLINED = {
    "adenocarcinoma": CANCER_STROMA.by_name("cancer").id,
    "high-grade in": IGNORE,
    "low-grade in": CANCER_STROMA.by_name("background").id,
    "serrated adenoma": CANCER_STROMA.by_name("background").id,
    "polyp": CANCER_STROMA.by_name("background").id,
    "normal": CANCER_STROMA.by_name("background").id,
}
"""What the outlined glands are, by category.

Only adenocarcinoma is cancer. Glands that are neither cancer nor stroma are background, so that a network learns not
to call every gland cancer. High-grade intraepithelial neoplasia is cancer to some and not to others: not learned from.
"""


def convert(source: Source, writer: SetWriter) -> None:
    """Add every image of EBHI-Seg with the labels background, cancer and stroma; splits as for ``ebhi``."""
    for item in ebhi.read_index(source):
        image, labels = ebhi.read_item(source, item)
        facts: dict[str, Any] = ebhi.facts_of(item)
        writer.add(facts, image=image, labels=region_labels(labels, item.category))


def region_labels(labels: NDArray[np.uint8], category: str) -> NDArray[np.uint8]:
    """Classes of `CANCER_STROMA` from those of ``ebhi`` and the category of the image.

    Raises
    ------
    InputError
        When the category is not of the set.
    """
    outlined = OUTLINED.get(category.replace("_", " ").casefold())
    if outlined is None:
        raise InputError(f"'{category}' is no category of EBHI-Seg; they are {', '.join(OUTLINED)}.")
    table = np.full(256, IGNORE, np.uint8)
    table[ebhi.BACKGROUND] = CANCER_STROMA.by_name("background").id
    table[ebhi.OTHER_TISSUE] = CANCER_STROMA.by_name("stroma").id
    table[ebhi.EPITHELIUM] = outlined
    regions: NDArray[np.uint8] = table[labels]
    return regions


DATASET = dataclasses.replace(
    ebhi.DATASET,
    name="ebhi_regions",
    title="EBHI-Seg with cancer, stroma and background derived from category, outline and empty glass",
    convert=convert,
)
