"""How much of each class a prepared set holds, before and after its classes were grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.grouping import BCSS_OUTSIDE
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schemas import BCSS22
from training.prepared import Prepared


@dataclass(frozen=True)
class Distribution:
    """Pixels of each class, and those of none.

    Parameters
    ----------
    names : tuple of str
    pixels : tuple of int
        One number for each name.
    ignored : int
        Pixels outside all classes.
    """

    names: tuple[str, ...]
    pixels: tuple[int, ...]
    ignored: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Part of the classed pixels that each class has; all 0 when no pixel has a class."""
        total = sum(self.pixels)
        return tuple(count / total if total else 0.0 for count in self.pixels)


def label_distribution(prepared: Prepared, schema: LabelSchema) -> Distribution:
    """Distribution of the labels that networks learn from.

    Raises
    ------
    InputError
        When the set has no labels, or a label that ``schema`` does not know.
    """
    counts = np.zeros(256, np.int64)
    for sample in prepared:
        if sample.labels is None:
            raise InputError(f"The set in {prepared.folder} has no labels to count.")
        counts += np.bincount(sample.labels.ravel(), minlength=256)
    present = np.flatnonzero(counts).astype(np.uint8)
    schema.check(present, f"The set in {prepared.folder}")
    return _of_counts(counts, schema, int(counts[IGNORE]))


def code_distribution(prepared: Prepared) -> Distribution | None:
    """Distribution of the published BCSS classes, before they were grouped; None for a set without them."""
    rows: Sequence[list[int]] = [item["codes"] for item in prepared.items if "codes" in item]
    if not rows:
        return None
    counts: NDArray[np.int64] = np.array(rows, np.int64).sum(axis=0)
    return _of_counts(counts, BCSS22, int(counts[BCSS_OUTSIDE]))


def _of_counts(counts: NDArray[np.int64], schema: LabelSchema, ignored: int) -> Distribution:
    return Distribution(
        tuple(c.name for c in schema.classes), tuple(int(counts[c.id]) for c in schema.classes), ignored
    )
