"""How a plan is carried out for a network that sees more than it answers for."""

from __future__ import annotations

from itertools import islice

import numpy as np

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.fields import Field
from napari_histoseg.learning.holdout import field_regions
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.learning.regime import Regime
from napari_histoseg.learning.samples import training_batches
from napari_histoseg.models.intake import Intake


def test_corrections_in_a_corner_teach_a_network_with_context() -> None:
    labels = np.full((96, 96), IGNORE, np.uint8)
    labels[:6, :6] = 1
    known = (labels != IGNORE).astype(np.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    nothing = np.zeros((96, 96), bool)
    corner = Field("a", Box(0, 0, 96, 96), 1.0, pixels, labels, known, np.zeros((96, 96), np.float32), nothing)
    plan = FineTunePlan(tile_px=64, batch_size=4, stain_jitter=0.0)
    regime = Regime(plan, Intake("network", 16, None, 16), False, ())
    field = regime.surrounded(corner)
    assert field.box == Box(-16, -16, 112, 112) and field.labels.shape == (128, 128)
    np.testing.assert_array_equal(field.pixels[16:-16, 16:-16], pixels)
    held = [np.zeros(field.labels.shape, bool)]
    batches = training_batches([field], field_regions(0, field), held, [], plan=plan, num_classes=2, context_px=16)
    taught = [regime.central(batch).labels != IGNORE for batch in islice(batches, 10)]
    assert all(tile.any() for batch in taught for tile in batch)
    assert Regime(plan, Intake("network", 16, None, 0), False, ()).surrounded(corner) is corner
