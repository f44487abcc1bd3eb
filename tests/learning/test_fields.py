from __future__ import annotations

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.grid import grid_shape
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.fields import Field, fields_of, read_on_grid
from napari_histoseg.learning.snapshot import TrainingImage

CHANNELS = np.full(256, IGNORE, np.uint8)
CHANNELS[[0, 1, 2]] = [0, 1, 2]


def _item(shape: tuple[int, int], mpp: float = 1.0) -> TrainingImage:
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    image = image_from_array(pixels, name="a", mpp=mpp)
    return TrainingImage(image, np.full(shape, IGNORE, np.uint8), np.zeros(shape, np.uint8))


def _fields(item: TrainingImage, mpp: float) -> list[Field]:
    return list(fields_of(item, channels=CHANNELS, mpp=mpp, margin_px=16))


def test_at_the_same_resolution_labels_are_taken_pixel_by_pixel() -> None:
    item = _item((100, 120))
    item.labels[40:60, 30:35], item.state[40:60, 30:35] = 2, 1
    item.labels[40:60, 35:50], item.state[40:60, 35:50] = 1, 2
    (field,) = _fields(item, 1.0)
    assert field.box == Box(24, 14, 76, 66)
    assert (field.labels == item.labels[field.box.slices]).all()
    assert (field.edited == (item.state[field.box.slices] == 1)).all()
    assert (field.verified == (item.state[field.box.slices] == 2)).all()
    assert (field.pixels == item.image.read(0, field.box)).all()


def test_shrinking_gives_the_share_of_area_of_the_winning_class() -> None:
    item = _item((64, 64))
    item.labels[32:34, 32], item.state[32:34, 32] = 1, 1  # half of the model pixel (16, 16)
    item.labels[32, 33], item.state[32, 33] = 2, 1  # a quarter of it
    (field,) = _fields(item, 2.0)
    y, x = 16 - field.box.y0, 16 - field.box.x0
    assert field.labels[y, x] == 1
    assert field.edited[y, x] == pytest.approx(0.5)
    assert (field.labels != IGNORE).sum() == 1


def test_a_line_one_pixel_wide_survives_a_sixfold_shrink() -> None:
    item = _item((240, 240), mpp=0.25)
    item.labels[100, 40:200], item.state[100, 40:200] = 2, 1
    (field,) = _fields(item, 1.5)
    assert (field.labels == 2).any(axis=0).sum() >= 26
    assert field.edited.max() == pytest.approx(1 / 6, abs=1e-3)


def test_growing_repeats_the_nearest_label() -> None:
    item = _item((32, 32), mpp=2.0)
    item.labels[10, 10], item.state[10, 10] = 1, 1
    (field,) = _fields(item, 1.0)
    assert (field.labels != IGNORE).sum() == 4


def test_unreviewed_labels_and_foreign_classes_are_nothing() -> None:
    item = _item((64, 64))
    item.labels[:] = 1
    assert _fields(item, 1.0) == []
    item.labels[10:20, 10:20], item.state[10:20, 10:20] = 7, 1
    assert _fields(item, 1.0) == []


def test_fields_cover_a_large_image_without_counting_a_pixel_twice() -> None:
    item = _item((1500, 1100))
    item.labels[1000:1060, 900:1080], item.state[1000:1060, 900:1080] = 1, 1
    fields = _fields(item, 1.0)
    assert len(fields) == 4  # the stroke lies across two block borders
    assert sum(int((f.labels != IGNORE).sum()) for f in fields) == 60 * 180


def test_what_was_learned_earlier_is_marked() -> None:
    item = _item((64, 64))
    item.labels[10:20, 10:20], item.state[10:20, 10:20] = 1, 1
    learned = np.zeros((64, 64), bool)
    learned[10:15] = True
    marked = TrainingImage(item.image, item.labels, item.state, learned)
    (field,) = _fields(marked, 1.0)
    known = field.labels != IGNORE
    assert (field.learned == learned[field.box.slices])[known].all()
    assert field.learned.any()


def test_reading_on_the_grid_shrinks_by_area_and_uses_the_coarsest_level_that_is_fine_enough() -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
    coarse = np.zeros((64, 64, 3), np.uint8)
    image = image_from_array([fine, coarse], name="pyramid", mpp=0.25)
    assert grid_shape(image.shape, 0.25) == (64, 64)
    assert not read_on_grid(image, Box(0, 0, 32, 32), 0.25).any()  # the black level
    half = read_on_grid(image, Box(8, 8, 40, 40), 0.5)
    mean = fine.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))[8:40, 8:40]
    assert np.corrcoef(half.ravel(), mean.ravel())[0, 1] > 0.9


def test_tiles_agree_with_the_whole() -> None:
    image = _item((200, 300), mpp=0.62).image
    scale = 0.62 / 1.5
    whole = read_on_grid(image, Box.of_shape(grid_shape(image.shape, scale)), scale)
    part = read_on_grid(image, Box(20, 30, 60, 90), scale)
    assert np.abs(part.astype(int) - whole[20:60, 30:90]).max() <= 1
