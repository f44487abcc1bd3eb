"""How the images of an experiment are changed before the network sees them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator

from napari_histoseg.learning.augment import Appearance, Placement, random_crop, random_scale, vary_appearance
from napari_histoseg.learning.batch import Batch
from training.batches import Augment
from training.plan import Plan


def augmentation(plan: Plan) -> Augment:
    """The function of a plan that turns a tile into what the network sees, ``crop_px`` squared."""
    if plan.augmentation == "strong":
        return _strong(plan)
    return _crop(plan.crop_px)


def _crop(size_px: int) -> Augment:
    """A square at a random place, without any change; the whole tile for 0."""

    def change(batch: Batch, generator: Generator) -> Batch:
        height, width = batch.labels.shape[-2:]
        if not size_px or (height, width) == (size_px, size_px):
            return batch
        y = int(torch.randint(height - size_px + 1, (), generator=generator))
        x = int(torch.randint(width - size_px + 1, (), generator=generator))
        place = (..., slice(y, y + size_px), slice(x, x + size_px))
        return replace(batch, image=batch.image[place], labels=batch.labels[place])

    return change


def _strong(plan: Plan) -> Augment:
    """Any orientation, a range of magnifications, and strong changes of stain, colour, focus and noise."""
    placement = Placement(scale=plan.scale, rotation=0.3)

    def change(batch: Batch, generator: Generator) -> Batch:
        scale = random_scale(placement, generator)
        size_px = plan.crop_px or batch.labels.shape[-1]
        batch = random_crop(batch, placement, generator, size_px=size_px, scale=scale)
        return replace(batch, image=vary_appearance(batch.image, Appearance(), generator))

    return change
