"""Kinds of tissue, derived from the outlines, the categories and the empty glass of EBHI-Seg."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schemas import CANCER_STROMA, COLON_TISSUE
from training.datasets import ebhi
from training.datasets.source import Source
from training.writing import SetWriter

CANCER = ("adenocarcinoma",)
UNDECIDED = ("high-grade in",)
"""High-grade intraepithelial neoplasia is cancer to some and not to others: not learned from."""
OTHER = ("low-grade in", "serrated adenoma", "polyp", "normal")


@dataclass(frozen=True)
class Derived:
    """What the outlined glands of each category are; all other tissue is stroma and empty glass background.

    Parameters
    ----------
    schema : LabelSchema
        With the classes background, stroma, cancer and ``other``.
    other : str
        Class of glands that are no cancer.
    """

    schema: LabelSchema
    other: str

    def convert(self, source: Source, writer: SetWriter) -> None:
        """Add every image of EBHI-Seg with these labels; splits as for ``ebhi``."""
        for item in ebhi.read_index(source):
            image, labels = ebhi.read_item(source, item)
            facts: dict[str, Any] = ebhi.facts_of(item)
            writer.add(facts, image=image, labels=self.labels(labels, item.category))

    def labels(self, labels: NDArray[np.uint8], category: str) -> NDArray[np.uint8]:
        """Class ids of the schema from those of ``ebhi`` and the category of the image.

        Raises
        ------
        InputError
            When the category is not of the set.
        """
        table = np.full(256, IGNORE, np.uint8)
        table[ebhi.BACKGROUND] = self.schema.by_name("background").id
        table[ebhi.OTHER_TISSUE] = self.schema.by_name("stroma").id
        table[ebhi.EPITHELIUM] = self._outlined(category)
        derived: NDArray[np.uint8] = table[labels]
        return derived

    def _outlined(self, category: str) -> int:
        name = category.replace("_", " ").casefold()
        if name in CANCER:
            return self.schema.by_name("cancer").id
        if name in UNDECIDED:
            return IGNORE
        if name in OTHER:
            return self.schema.by_name(self.other).id
        known = ", ".join((*CANCER, *UNDECIDED, *OTHER))
        raise InputError(f"'{category}' is no category of EBHI-Seg; they are {known}.")


REGIONS = Derived(CANCER_STROMA, other="background")
"""Three classes, as in the VGG16 transfer networks; other glands are background, so that not every gland is cancer."""

TISSUE = Derived(COLON_TISSUE, other="other epithelium")

DATASETS = tuple(
    dataclasses.replace(ebhi.DATASET, name=name, title=f"EBHI-Seg with {what}", convert=derived.convert)
    for name, what, derived in (
        ("ebhi_regions", "cancer, stroma and background derived from category, outline and empty glass", REGIONS),
        ("ebhi_tissue", "the same and other epithelium as a class of its own", TISSUE),
    )
)
