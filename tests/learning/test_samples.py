from __future__ import annotations

from itertools import islice

import numpy as np
import torch

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fields import Field
from napari_histoseg.learning.guard import GuardTile, far_from_labels, guard_tiles
from napari_histoseg.learning.holdout import MIN_REGIONS, Region, choose_held_out, field_regions, held_out_masks
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.learning.probes import agreement_probes
from napari_histoseg.learning.samples import training_batches
from napari_histoseg.learning.snapshot import HeldOutBox

PLAN = FineTunePlan(tile_px=64, batch_size=4, stain_jitter=0.0)


def _field(strokes: dict[tuple[int, int], int], *, size: int = 10, shape: tuple[int, int] = (200, 240)) -> Field:
    """A field whose pixel value is its class; strokes are squares at (y, x) of a class."""
    labels = np.full(shape, IGNORE, np.uint8)
    for (y, x), channel in strokes.items():
        labels[y : y + size, x : x + size] = channel
    known = (labels != IGNORE).astype(np.float32)
    pixels = np.repeat(labels[..., None], 3, axis=2)
    nothing = np.zeros(shape, bool)
    return Field("a", Box.of_shape(shape), 1.0, pixels, labels, known, np.zeros(shape, np.float32), nothing)


def regions_of(fields: list[Field]) -> list[Region]:
    return [region for index, field in enumerate(fields) for region in field_regions(index, field)]


def _batches(field: Field, count: int, held: tuple[HeldOutBox, ...] = (), plan: FineTunePlan = PLAN) -> list[Batch]:
    masks = held_out_masks([field], held)
    return list(islice(training_batches([field], regions_of([field]), masks, [], plan=plan, num_classes=3), count))


def test_labels_stay_on_their_pixels_through_cropping_and_turning() -> None:
    for batch in _batches(_field({(20, 30): 1, (150, 200): 2}), 20):
        shown = (batch.image[:, 0] * 255).round().long()
        known = batch.labels != IGNORE
        assert known.any()
        assert (shown[known] == batch.labels[known]).all()
        assert (shown[~known] == IGNORE).all()


def test_a_rare_class_is_shown_more_often_than_its_share_of_pixels() -> None:
    field = _field({(5, 5): 1, (5, 100): 1, (5, 200): 1, (100, 5): 1, (100, 100): 1, (170, 200): 2})
    tiles = [labels for batch in _batches(field, 50) for labels in batch.labels]
    rare = sum(bool((labels == 2).any()) for labels in tiles)
    assert 0.22 < rare / len(tiles) < 0.42  # 1 / (1 + sqrt(5)) = 0.31; its share of pixels is 0.17


def test_edited_pixels_weigh_twice_the_verified_ones_as_a_whole() -> None:
    field = _field({(20, 30): 1})
    field.verified[100:180, 100:200] = 1
    field.labels[100:180, 100:200] = 2
    for batch in _batches(field, 10):
        assert batch.weight is not None
        edited, verified = batch.weight[batch.labels == 1].sum(), batch.weight[batch.labels == 2].sum()
        if edited > 0 and verified > 0:
            torch.testing.assert_close(edited / verified, torch.tensor(2.0))
        assert (batch.weight[batch.labels == IGNORE] == 0).all()


def test_the_same_seed_repeats_and_another_does_not() -> None:
    field = _field({(20, 30): 1, (150, 200): 2})
    first, second = _batches(field, 5), _batches(field, 5)
    assert all(
        torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels) for a, b in zip(first, second, strict=True)
    )
    other = _batches(field, 5, plan=PLAN.model_copy(update={"seed": 1}))
    assert not all(torch.equal(a.labels, b.labels) for a, b in zip(first, other, strict=True))


def test_held_out_pixels_never_teach() -> None:
    field = _field({(20, 30): 1, (20, 60): 1, (150, 200): 1})
    held = (HeldOutBox("a", Box(15, 25, 35, 45)),)
    for batch in _batches(field, 30, held):
        assert batch.weight is not None
        assert (batch.labels != IGNORE).any()
    field.pixels[15:35, 25:45] = 77
    for batch in _batches(field, 30, held):
        inside = (batch.image[:, 0] * 255).round() == 77
        assert (batch.labels[inside] == IGNORE).all()


def test_what_was_learned_earlier_is_replayed_at_its_share() -> None:
    field = _field({(20, 30): 1, (150, 200): 2})
    field.learned[140:] = True
    plan = PLAN.model_copy(update={"replay_share": 0.25})
    tiles = [labels for batch in _batches(field, 100, plan=plan) for labels in batch.labels]
    replayed = sum(bool((labels == 2).any()) for labels in tiles)
    assert 0.17 < replayed / len(tiles) < 0.33


def test_a_field_smaller_than_a_tile_is_mirrored_and_its_rim_ignored() -> None:
    (batch,) = _batches(_field({(5, 5): 1}, shape=(40, 50)), 1)
    assert batch.image.shape[-2:] == (64, 64)
    assert int((batch.labels[0] != IGNORE).sum()) == 100


def test_regions_are_strokes_and_cells_of_large_areas() -> None:
    field = _field({(5, 5): 1, (40, 100): 2})
    assert [r.pixels for r in regions_of([field])] == [100, 100]
    field.labels[8:10] = IGNORE  # what was right already under the middle of a stroke
    assert [r.pixels for r in regions_of([field])] == [80, 100]
    field.labels[:] = 1
    assert sum(r.pixels for r in regions_of([field])) == 200 * 240
    assert len(regions_of([field])) == 4  # cells of 128 px


def test_three_strokes_all_teach_and_many_give_a_fifth_away() -> None:
    few = _field({(5, 5): 1, (5, 50): 1, (5, 100): 2})
    assert len(regions_of([few])) == MIN_REGIONS - 1
    assert choose_held_out([few], regions_of([few]), share=0.2, seed=0) == ()
    many = _field({(20 * y, 24 * x): 1 + x % 2 for y in range(10) for x in range(10)})
    held = choose_held_out([many], regions_of([many]), share=0.2, seed=0)
    assert len(held) == 20
    assert choose_held_out([many], regions_of([many]), share=0.2, seed=0) == held
    (mask,) = held_out_masks([many], held)
    assert (many.labels[mask] == 1).any() and (many.labels[~mask] == 2).any()


def test_the_only_region_of_a_class_is_never_given_away() -> None:
    field = _field({(5, 5): 2, (5, 50): 1, (5, 100): 1, (50, 5): 1, (50, 50): 1})
    for seed in range(10):
        (mask,) = held_out_masks([field], choose_held_out([field], regions_of([field]), share=0.5, seed=seed))
        assert (field.labels[~mask] == 2).any() and (field.labels[~mask] == 1).any()


def test_what_was_held_out_stays_held_out_when_strokes_are_added() -> None:
    first = _field({(20 * y, 5): 1 for y in range(8)})
    held = choose_held_out([first], regions_of([first]), share=0.25, seed=0)
    later = _field({(20 * y, 5 + 20 * x): 1 for y in range(8) for x in range(6)})
    again = choose_held_out([later], regions_of([later]), share=0.25, seed=0, remembered=held)
    assert again[: len(held)] == held
    assert len(again) == 12


def test_guard_tiles_show_what_was_left_around_corrections_and_other_images() -> None:
    rng = np.random.default_rng(0)
    other = image_from_array(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8), name="other", mpp=1.0)
    field = _field({(5, 5): 1})

    def parent(pixels: np.ndarray) -> np.ndarray:
        return np.full((3, *pixels.shape[:2]), 1 / 3, np.float32)

    seen = list(guard_tiles([], [field], mpp=1.0, tile_px=128, probabilities=parent, seed=0))
    assert [tile.kind for tile in seen] == ["left", "restained"] * (len(seen) // 2)
    assert sum(tile.weight.sum() for tile in seen[::2]) == far_from_labels(field).sum()
    assert all((a.weight == b.weight).all() for a, b in zip(seen[::2], seen[1::2], strict=True))
    assert len(agreement_probes(seen)) == len(seen) // 2
    assert not far_from_labels(field)[:23, :15].all()  # the stroke and what is near it are free
    both = list(guard_tiles([other], [field], mpp=1.0, tile_px=128, probabilities=parent, seed=0))
    assert len(both) > len(seen)
    assert all((tile.weight == 1).all() for tile in both[len(seen) :])
    assert {tile.kind for tile in both[len(seen) :]} == {"other"}
    field.labels[:] = 1
    assert list(guard_tiles([], [field], mpp=1.0, tile_px=128, probabilities=parent, seed=0)) == []


def test_guard_pixels_have_soft_targets_and_no_labels() -> None:
    field = _field({(20, 30): 1})
    soft, weight = np.full((3, 64, 64), 1 / 3, np.float32), np.ones((64, 64), np.float32)
    guard = GuardTile(np.zeros((64, 64, 3), np.uint8), soft, weight, "left")
    batch = next(
        training_batches([field], regions_of([field]), [np.zeros((200, 240), bool)], [guard], plan=PLAN, num_classes=3)
    )
    assert batch.soft_weight is not None
    guarded = batch.soft_weight.sum(dim=(1, 2)) > 0
    assert guarded.tolist() == [False, False, False, True]
    assert (batch.labels[guarded] == IGNORE).all()
    assert (batch.soft_weight[batch.labels != IGNORE] == 0).all()
