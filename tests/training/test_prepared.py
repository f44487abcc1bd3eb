"""The on-disk form of prepared sets: one array file per kind, for equal and different sizes, whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.errors import InputError, ResourceError
from training.prepared import load
from training.writing import write_set

FACTS = {"key": "a", "group": "g", "split": "train"}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write(dst: Path, sizes: list[tuple[int, int]]) -> None:
    with write_set(dst) as writer:
        for k, (height, width) in enumerate(sizes):
            image = picture(height, width, k)
            instances = np.arange(height * width).reshape(height, width) // 7 + 70_000
            points = [(y, y / 2, 1) for y in range(k)]
            facts = FACTS | {"key": str(k), "split": "test" if k % 2 else "train"}
            writer.add(facts, image=image, labels=image[..., 0] % 3, instances=instances, points=points)


@pytest.mark.parametrize("sizes", [[(5, 7)] * 4, [(5, 7), (3, 2), (9, 1), (5, 7)], [(4, 4)]])
def test_what_is_written_is_read(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    write(tmp_path / "set", sizes)
    prepared = load(tmp_path, "set")
    assert len(prepared) == len(sizes)
    for k, sample in enumerate(prepared):
        assert sample.facts["key"] == str(k) and (sample.facts["height"], sample.facts["width"]) == sizes[k]
        np.testing.assert_array_equal(sample.image, picture(*sizes[k], k))
        np.testing.assert_array_equal(sample.labels, sample.image[..., 0] % 3)
        assert sample.instances is not None and sample.instances.dtype == np.int32
        assert sample.instances.shape == sizes[k] and sample.instances[0, 0] == 70_000
        assert sample.points is not None and sample.points.shape == (k, 3)
        with pytest.raises(ValueError, match="read-only"):
            sample.image[0] = 0
    plain = np.load(tmp_path / "set" / "images.npy")
    assert plain.ndim == (4 if len(set(sizes)) == 1 else 1)


def test_chosen_items_come_as_arrays_in_memory(tmp_path: Path) -> None:
    write(tmp_path / "set", [(5, 7), (6, 7), (5, 7), (6, 7)])
    prepared = load(tmp_path, "set")
    train = prepared.where(split="train")
    assert train.images.shape == (2, 5, 7, 3) and train.labels.shape == train.instances.shape == (2, 5, 7)
    train.images[:] = 0  # a copy
    np.testing.assert_array_equal(prepared[2].image, picture(5, 7, 2))
    assert [item["key"] for item in prepared.take([3, 1]).items] == ["3", "1"]
    assert [s.facts["key"] for s in prepared.take([3, 1])] == ["3", "1"]
    with pytest.raises(InputError, match="differ in size"):
        _ = prepared.images
    with pytest.raises(InputError, match="No image of the set"):
        _ = prepared.where(split="validation").images


def test_kinds_that_a_set_lacks_are_named(tmp_path: Path) -> None:
    with write_set(tmp_path / "set") as writer:
        writer.add(FACTS, image=picture(4, 4))
    prepared = load(tmp_path, "set")
    assert prepared[0].labels is None and prepared[0].points is None
    with pytest.raises(InputError, match="has no labels; it has images"):
        _ = prepared.labels


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros((4, 5))}, r"labels of 'a' are 4 x 5 pixels, but the image is 4 x 4"),
        ({"instances": np.zeros((8, 8))}, r"instances of 'a' are 8 x 8"),
        ({"points": [(1, 1, 0), (1, 5.5, 0)]}, r"1 of 2 points lie outside .* x 5\.5, y 1;"),
        ({"points": [(-2, 1, 0)]}, r"outside the image 'a' of 4 x 4"),
    ],
)
def test_arrays_that_do_not_fit_leave_nothing_behind(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message), write_set(tmp_path / "set") as writer:
        writer.add(FACTS, image=picture(4, 4), **arrays)
    assert not list(tmp_path.iterdir())


def test_points_on_the_rim_are_moved_into_the_image(tmp_path: Path) -> None:
    with write_set(tmp_path / "set") as writer:
        writer.add(FACTS, image=picture(4, 6), points=[(-0.7, 5.6, 2)])
    np.testing.assert_array_equal(load(tmp_path, "set")[0].points, [[0, 5, 2]])


def test_a_set_without_images_or_with_uneven_kinds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No image was found"), write_set(tmp_path / "set"):
        pass
    message = "'a' has images, but images before it images, labels"
    with pytest.raises(InputError, match=message), write_set(tmp_path / "set") as writer:
        writer.add(FACTS, image=picture(4, 4), labels=np.zeros((4, 4)))
        writer.add(FACTS, image=picture(4, 4))
    assert not list(tmp_path.iterdir())


def test_images_are_counted_as_they_come(tmp_path: Path) -> None:
    counts: list[int] = []
    with write_set(tmp_path / "set", counts.append) as writer:
        for _ in range(3):
            writer.add(FACTS, image=picture(4, 4))
    assert counts == [1, 2, 3]


def test_a_failure_keeps_the_older_set(tmp_path: Path) -> None:
    write(tmp_path / "set", [(4, 4)])
    with pytest.raises(RuntimeError), write_set(tmp_path / "set") as writer:
        writer.add(FACTS | {"key": "new"}, image=picture(8, 8))
        raise RuntimeError
    assert load(tmp_path, "set")[0].facts["key"] == "0"
    write(tmp_path / "set", [(6, 6)] * 3)
    assert len(load(tmp_path, "set")) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_leftovers_of_a_killed_run_are_cleared_and_other_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / ".incoming-set-0123abcd").mkdir()
    (tmp_path / ".incoming-set-0123abcd" / "images.npy").write_bytes(b"half")
    write(tmp_path / "set", [(4, 4)])
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"):
        write(tmp_path / "mine", [(4, 4)])
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="could not be written"):
        write(tmp_path / "file" / "set", [(4, 4)])


def test_a_damaged_set_is_told(tmp_path: Path) -> None:
    write(tmp_path / "set", [(4, 4), (5, 5)])
    whole = (tmp_path / "set" / "labels.npy").read_bytes()
    for damaged in (whole[:-3], b"nothing", whole + b"more"):
        (tmp_path / "set" / "labels.npy").write_bytes(damaged)
        if damaged.startswith(whole):
            assert len(load(tmp_path, "set")) == 2  # numpy ignores what follows an array
            continue
        with pytest.raises(InputError, match="not whole"):
            load(tmp_path, "set")
    (tmp_path / "set" / "images.npy").unlink()
    (tmp_path / "set" / "labels.npy").unlink()
    with pytest.raises(InputError, match="not whole"):
        load(tmp_path, "set")


def test_sets_prepared_before_sizes_were_noted_are_read(tmp_path: Path) -> None:
    (tmp_path / "ebhi").mkdir()
    np.save(tmp_path / "ebhi" / "images.npy", np.stack([picture(8, 8, k) for k in range(3)]))
    np.save(tmp_path / "ebhi" / "labels.npy", np.zeros((3, 8, 8), np.uint8))
    (tmp_path / "ebhi" / "index.json").write_text('[{"key": "a"}, {"key": "b"}, {"key": "c"}]')
    prepared = load(tmp_path, "ebhi")
    np.testing.assert_array_equal(prepared.images[2], picture(8, 8, 2))
