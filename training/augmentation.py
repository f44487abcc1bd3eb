"""How the images of an experiment are changed before the network sees them."""

from __future__ import annotations

from dataclasses import replace

from torch import Generator

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.augment import Appearance, Placement, random_crop, random_scale, vary_appearance
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.presets import make_augmentation
from training.batches import Augment
from training.plan import Plan

STRONG = "strong"


def augmentation(plan: Plan) -> Augment:
    """The function of a plan that turns a tile into what the network sees, ``crop_px`` squared.

    Raises
    ------
    InputError
        When there is no such augmentation, or it has no magnification to change.
    """
    if plan.augmentation == STRONG:
        return _strong(plan)
    if plan.scale != (1.0, 1.0):
        raise InputError(f"Only augmentation={STRONG} takes a scale; leave scale out for '{plan.augmentation}'.")
    return make_augmentation(plan.augmentation, crop_px=plan.crop_px)


def _strong(plan: Plan) -> Augment:
    """Any orientation, a range of magnifications, and strong changes of stain, colour, focus and noise."""
    placement = Placement(scale=plan.scale, rotation=0.3)

    def change(batch: Batch, generator: Generator) -> Batch:
        scale = random_scale(placement, generator)
        size_px = plan.crop_px or batch.labels.shape[-1]
        batch = random_crop(batch, placement, generator, size_px=size_px, scale=scale)
        return replace(batch, image=vary_appearance(batch.image, Appearance(), generator))

    return change
