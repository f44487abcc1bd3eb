"""Class counts of prepared sets, also when there is one class or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS5, CANCER_STROMA
from training.datasets import get_dataset
from training.datasets.distribution import code_distribution, label_distribution
from training.prepared import Prepared, load
from training.writing import write_set

from . import layouts


def prepared_with(folder: Path, *labels: np.ndarray | None) -> Prepared:
    with write_set(folder / "set") as writer:
        for k, array in enumerate(labels):
            facts = {"key": str(k), "group": str(k), "split": "train"}
            writer.add(facts, image=np.zeros((4, 4 + k, 3), np.uint8), labels=array)
    return load(folder, "set")


def test_shares_are_of_classed_pixels(tmp_path: Path) -> None:
    second = np.full((4, 5), IGNORE)
    second[0] = 1
    found = label_distribution(prepared_with(tmp_path, np.zeros((4, 4)), second), CANCER_STROMA)
    assert found.names == ("background", "cancer", "stroma") and found.pixels == (16, 5, 0) and found.ignored == 15
    assert found.shares == pytest.approx((16 / 21, 5 / 21, 0))


def test_one_class_and_no_class_at_all(tmp_path: Path) -> None:
    one = label_distribution(prepared_with(tmp_path / "one", np.full((4, 4), 2)), CANCER_STROMA)
    assert one.shares == (0, 0, 1) and one.ignored == 0
    none = label_distribution(prepared_with(tmp_path / "none", np.full((4, 4), IGNORE)), CANCER_STROMA)
    assert none.shares == (0, 0, 0) and none.ignored == 16


def test_foreign_and_missing_labels_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label value 7, which schema 'cancer-stroma' does not know"):
        label_distribution(prepared_with(tmp_path / "foreign", np.full((4, 4), 7)), CANCER_STROMA)
    with pytest.raises(InputError, match="no labels to count"):
        label_distribution(prepared_with(tmp_path / "without", None), CANCER_STROMA)


def test_bcss_before_and_after_grouping(tmp_path: Path) -> None:
    get_dataset("bcss").prepare(layouts.bcss(tmp_path / "src"), tmp_path / "bcss")
    prepared = load(tmp_path, "bcss")
    before, after = code_distribution(prepared), label_distribution(prepared, BCSS5)
    assert before is not None and before.pixels == (3,) * 21
    assert after.pixels == (9, 3, 9, 3, 39)
    assert before.ignored == after.ignored and sum(before.pixels) == sum(after.pixels)
    assert code_distribution(prepared_with(tmp_path, np.zeros((4, 4)))) is None


def test_bcss_pixels_of_code_255_are_outside(tmp_path: Path) -> None:
    src = layouts.bcss(tmp_path / "src")
    mask = min(src.rglob("masks/*.png"))
    codes = np.zeros((24, 32), np.uint8)
    codes[0], codes[1] = 255, 1
    layouts.save(mask, codes)
    get_dataset("bcss").prepare(src, tmp_path / "bcss")
    prepared = load(tmp_path, "bcss")
    before, after = code_distribution(prepared), label_distribution(prepared, BCSS5)
    assert before is not None and before.pixels[0] == 32 + 2
    assert before.ignored == after.ignored and sum(before.pixels) == sum(after.pixels)
