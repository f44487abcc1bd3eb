"""Preparing data sets, splits by case, and what is said when an archive is missing or broken."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_histoseg.core.errors import InputError
from training.datasets import DATASETS, ebhi, get_dataset, glas
from training.datasets.source import open_source
from training.datasets.splits import split_groups
from training.prepared import load


def test_prepare_ebhi_labels_glass_tissue_and_epithelium(archives: Path, tmp_path: Path) -> None:
    assert ebhi.DATASET.prepare(archives, tmp_path / "ebhi") == 10
    prepared = load(tmp_path, "ebhi")
    assert prepared.images.shape == (10, 224, 224, 3) and prepared.labels.shape == (10, 224, 224)
    for item, labels in zip(prepared.items, prepared.labels, strict=True):
        assert set(np.unique(labels)) == {ebhi.BACKGROUND, ebhi.OTHER_TISSUE, ebhi.EPITHELIUM}, item
        assert (labels[:, :10] == ebhi.BACKGROUND).all()
        assert (labels[:, 16:] != ebhi.BACKGROUND).all()


def test_prepare_glas_writes_images_with_masks(archives: Path, tmp_path: Path) -> None:
    assert glas.DATASET.prepare(archives / "glas_train_subset.zip", tmp_path / "glas") == 2
    prepared = load(tmp_path, "glas")
    assert [item["key"] for item in prepared.items] == ["train_0", "train_1"]
    assert prepared.images.shape == (2, 300, 420, 3)
    assert all(labels.max() == 1 and labels.min() == 0 for labels in prepared.labels)


def test_splits_are_by_case_whatever_the_order() -> None:
    cases = {f"GT{k}" for k in range(200)}
    splits = split_groups(cases)
    assert splits == split_groups({f"GT{k}" for k in reversed(range(200))})
    counts = {split: list(splits.values()).count(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 140, "validation": 20, "test": 40}


def test_real_ebhi_has_no_case_in_two_splits(shared_data: Path) -> None:
    with open_source(shared_data, ebhi.DATASET.archives, "") as source:
        items = ebhi.read_index(source)
        image, labels = ebhi.read_item(source, items[0])
    of_split = {s: {i.case_id for i in items if i.split == s} for s in ("train", "validation", "test")}
    assert not of_split["train"] & of_split["test"] and not of_split["validation"] & of_split["test"]
    assert (len(items), len(of_split["test"]), sum(map(len, of_split.values()))) == (1882, 61, 304)
    assert sum(i.split == "test" for i in items) == 407
    assert image.shape == (224, 224, 3) and labels.max() <= ebhi.EPITHELIUM


def test_small_bright_holes_are_no_glass() -> None:
    pixels = np.full((224, 224, 3), (220, 150, 190), np.uint8)
    pixels[:60] = 245
    pixels[150:158, 150:158] = 245
    glass = ebhi.is_empty_glass(Image.fromarray(pixels))
    assert glass[:55].all() and not glass[65:].any()


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_told_what_is_missing_and_where_it_is(name: str, tmp_path: Path) -> None:
    dataset = get_dataset(name)
    (tmp_path / "src").mkdir()
    with pytest.raises(InputError, match="holds no '") as error:
        dataset.prepare(tmp_path / "src", tmp_path / "out")
    assert dataset.layout in str(error.value) and dataset.source in str(error.value)
    with pytest.raises(InputError, match="There is no file or folder"):
        dataset.prepare(tmp_path / "nowhere", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_broken_archive_is_refused(archives: Path, tmp_path: Path) -> None:
    whole = (archives / "ebhi_seg.zip").read_bytes()
    (tmp_path / "ebhi_seg.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a whole zip archive"):
        ebhi.DATASET.prepare(tmp_path, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(InputError, match=r"holds no 'image/\*\.png'"):
        ebhi.DATASET.prepare(tmp_path / "other.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'ebhi'"):
        get_dataset("ebih")


def test_what_was_not_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="python -m training prepare ebhi"):
        load(tmp_path, "ebhi")
