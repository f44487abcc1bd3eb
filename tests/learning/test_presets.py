"""The papers' augmentations: no class appears, labels stay on their pixels, the seed decides everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Generator, Tensor
from torch.nn import functional

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning import expansion
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.presets import AUGMENTATIONS, make_augmentation

every_preset = pytest.mark.parametrize("name", AUGMENTATIONS)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def blobs(count: int = 2, shape: tuple[int, int] = (72, 72), seed: int = 0) -> Batch:
    """Smooth images with labels 0, 2 and 3, which ``soft`` shows once more as planes to be interpolated."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((count, 3, *shape)), (0, 0, 5, 5), mode="mirror")
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    image = torch.from_numpy(noise.astype(np.float32))
    low, high = (float(image[:, 0].quantile(q)) for q in (0.4, 0.7))
    labels = torch.tensor([0, 2, 3])[torch.bucketize(image[:, 0].contiguous(), torch.tensor([low, high]))]
    soft = functional.one_hot(labels, 4).movedim(-1, 1).float()
    return Batch(image, labels, torch.ones(count, *shape), soft, torch.ones(count, *shape), torch.arange(count) / 2)


def agree(batch: Batch) -> float:
    """Share of pixels whose label is that of the planes, away from where the planes are mixed or beyond the border."""
    assert batch.soft is not None
    share, channel = batch.soft.max(dim=1)
    sure = (share > 0.9) & (batch.labels != IGNORE)
    assert sure.sum() > 200
    return float((channel == batch.labels)[sure].float().mean())


@every_preset
@pytest.mark.parametrize("shape", [(72, 72), (64, 88)])
def test_labels_stay_on_their_pixels_and_in_their_set(name: str, shape: tuple[int, int]) -> None:
    augment = make_augmentation(name, crop_px=48)
    for seed in range(25):
        out = augment(blobs(2, shape), seeded(seed))
        assert out.image.shape == (2, 3, 48, 48) and out.labels.shape == (2, 48, 48)
        assert set(out.labels.unique().tolist()) <= {0, 2, 3, IGNORE} and out.labels.dtype == torch.int64
        assert agree(out) > 0.995
        assert out.weight is not None and (out.weight[out.labels == IGNORE] == 0).all()
        assert out.score is not None and out.score.tolist() == [0, 0.5]
        assert out.image.min() >= 0 and out.image.max() <= 1 and torch.isfinite(out.image).all()


@every_preset
def test_images_move_with_their_labels(name: str) -> None:
    """Labels are bands of the first channel: whatever happens to tones, brighter bands stay brighter."""
    augment = make_augmentation(name, crop_px=0)
    wrong = 0
    for seed in range(20):
        batch = blobs(1, seed=seed)
        grey = replace(batch, image=batch.image[:, :1].expand(-1, 3, -1, -1).clone())
        out = augment(grey, seeded(seed))
        means = [float(out.image[:, 0][out.labels == k].mean()) for k in (0, 2, 3) if (out.labels == k).sum() > 30]
        wrong += means != sorted(means)
    assert wrong == 0


@every_preset
def test_the_seed_decides(name: str) -> None:
    augment = make_augmentation(name)
    first, again, other = (augment(blobs(3, (300, 300)), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.image, again.image) and torch.equal(first.labels, again.labels)
    assert (name == "none") == torch.equal(first.image, other.image)


@every_preset
def test_nothing_known_stays_unknown(name: str) -> None:
    batch = blobs()
    out = make_augmentation(name, crop_px=48)(replace(batch, labels=torch.full_like(batch.labels, IGNORE)), seeded())
    assert (out.labels == IGNORE).all()


@pytest.mark.parametrize(("name", "side_px"), [("unetsharp", 224), ("cellularity_segmentation", 256)])
def test_crops_of_the_papers(name: str, side_px: int) -> None:
    assert make_augmentation(name)(blobs(1, (300, 280)), seeded()).image.shape == (1, 3, side_px, side_px)


def test_a_tile_smaller_than_the_magnified_crop_is_unknown_around_it() -> None:
    augment = make_augmentation("cellularity_segmentation", crop_px=72)
    unknown = [float((augment(blobs(1), seeded(k)).labels == IGNORE).float().mean()) for k in range(12)]
    assert min(unknown) == 0 and 0.1 < max(unknown) < 0.4


def test_none_is_none() -> None:
    batch = blobs()
    out = make_augmentation("none")(batch, seeded())
    assert torch.equal(out.image, batch.image) and torch.equal(out.labels, batch.labels)


def test_images_of_a_batch_are_changed_differently() -> None:
    one = blobs(1)
    batch = Batch(one.image.repeat(8, 1, 1, 1), one.labels.repeat(8, 1, 1))
    out = make_augmentation("stain")(batch, seeded())
    assert len({image.numpy().tobytes() for image in out.image}) == 8


def test_every_step_of_unetsharp_happens() -> None:
    batch = blobs(1)
    augment = make_augmentation("unetsharp", crop_px=0)
    outs = [augment(batch, seeded(seed)) for seed in range(60)]
    assert any((out.labels == IGNORE).any() for out in outs)
    assert len({out.image.numpy().tobytes() for out in outs}) > 40


def test_a_misspelt_name_is_answered_with_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean 'unetsharp'"):
        make_augmentation("unetshrap")


def test_the_mirrors_make_three_of_one() -> None:
    batch = blobs()
    images = {v.name: v.change(batch) for v in expansion.MIRRORED}
    assert list(images) == ["original", "mirror_x", "mirror_y"]
    assert torch.equal(images["mirror_x"].image, batch.image.flip(-1))
    assert torch.equal(images["mirror_y"].labels, batch.labels.flip(-2))


def test_the_expansion_makes_29_of_one() -> None:
    batch = blobs(1)
    images: dict[str, Tensor] = {v.name: v.change(batch).image for v in expansion.MICRONET}
    assert len(expansion.MICRONET) == len(images) == 29
    assert torch.equal(images.pop("rotate_180"), images["mirror_xy"])  # the paper counts both
    assert len({image.numpy().tobytes() for image in images.values()}) == 28
    counts = {kind: sum(name.startswith(kind) for name in images) for kind in ("blur", "rotate", "mirror")}
    assert counts == {"blur": 19, "rotate": 2, "mirror": 3}
    assert all(torch.equal(v.change(batch).image, images[v.name]) for v in expansion.MICRONET if v.name in images)


@pytest.mark.parametrize("variant", expansion.FLIPS, ids=lambda v: v.name)
def test_flips_undo_themselves(variant: expansion.Variant) -> None:
    batch = blobs()
    twice = variant.change(variant.change(batch))
    assert torch.equal(twice.image, batch.image) and torch.equal(twice.labels, batch.labels)
    assert not torch.equal(variant.change(batch).labels, batch.labels)


def test_four_quarter_turns_are_none() -> None:
    batch = blobs(1, (40, 64))
    turned = batch
    for _ in range(4):
        turned = expansion.TURNS[0].change(turned)
    assert torch.equal(turned.image, batch.image) and torch.equal(turned.labels, batch.labels)
