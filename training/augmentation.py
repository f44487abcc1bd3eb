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
PLACEMENT = "placement"
"""Like ``STRONG``, but colours, focus and noise stay as they are."""


def augmentation(plan: Plan) -> Augment:
    """The function of a plan that turns a tile into what the network sees, ``crop_px`` squared.

    Raises
    ------
    InputError
        When there is no such augmentation, or it has no magnification to change.
    """
    if plan.augmentation in (STRONG, PLACEMENT):
        return _placed(plan)
    if plan.scale != (1.0, 1.0):
        raise InputError(f"Augmentation '{plan.augmentation}' takes no scale; leave it out, or set {STRONG}.")
    return make_augmentation(plan.augmentation, crop_px=plan.crop_px)


def _placed(plan: Plan) -> Augment:
    """Any orientation and a range of magnifications; for ``STRONG`` other stains, colours, focus and noise as well."""
    placement = Placement(scale=plan.scale, rotation=0.3)

    def change(batch: Batch, generator: Generator) -> Batch:
        scale = random_scale(placement, generator)
        size_px = plan.crop_px or batch.labels.shape[-1]
        batch = random_crop(batch, placement, generator, size_px=size_px, scale=scale)
        if plan.augmentation == PLACEMENT:
            return batch
        return replace(batch, image=vary_appearance(batch.image, Appearance(), generator))

    return change
