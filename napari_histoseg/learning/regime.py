"""What a plan becomes for a certain parent: its sizes of tiles, and what is different when it knows nothing yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fields import Field
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.models.intake import Intake
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import RANDOM, Weights


@dataclass(frozen=True)
class Regime:
    """How a parent is trained.

    Parameters
    ----------
    plan : FineTunePlan
        As it is carried out; sides of tiles may differ from what the form offers.
    intake : Intake
    is_untrained : bool
        The parent has random weights: there is no old skill to keep, and its batch-norm statistics fit nothing.
    notes : tuple of str
        Sentences about what differs from the plan that was asked for.
    """

    plan: FineTunePlan
    intake: Intake
    is_untrained: bool
    notes: tuple[str, ...]

    def surrounded(self, field: Field) -> Field:
        """The field with a reflection of itself as context, so that labels at the border of the image teach, too."""
        margin = self.intake.context_px
        if not margin:
            return field

        def grown(values: NDArray[Any], fill: int) -> NDArray[Any]:
            return np.pad(values, margin, constant_values=fill)

        return replace(
            field,
            box=field.box.pad(margin),
            pixels=np.pad(field.pixels, [(margin, margin), (margin, margin), (0, 0)], mode="reflect"),
            labels=grown(field.labels, IGNORE),
            edited=grown(field.edited, 0),
            verified=grown(field.verified, 0),
            learned=grown(field.learned, 0),
        )

    def central(self, batch: Batch) -> Batch:
        """The batch with what is known about the pixels that the network speaks of; the image stays whole."""
        margin = self.intake.context_px
        if not margin:
            return batch

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[..., margin:-margin, margin:-margin]

        return replace(
            batch,
            labels=batch.labels[..., margin:-margin, margin:-margin],
            weight=cut(batch.weight),
            soft=cut(batch.soft),
            soft_weight=cut(batch.soft_weight),
        )


def regime_of(parent: Weights, plan: FineTunePlan) -> Regime:
    """How to train that parent by that plan.

    Raises
    ------
    InputError
        When the model cannot learn from painted labels.
    """
    spec, intake = get_model(parent.model_id).spec, Intake.of(parent)
    if not spec.needs_weights:
        raise InputError(f"{spec.title} does not learn; choose a network to retrain.")
    if spec.task == "regression":
        raise InputError(
            f"{spec.title} gives scores and cannot learn from painted labels; choose a segmentation network."
        )
    notes = []
    side_px = intake.side_px(plan.tile_px)
    if side_px != plan.tile_px:
        count = max(1, round(plan.batch_size * plan.tile_px**2 / side_px**2))
        plan = plan.model_copy(update={"tile_px": side_px, "batch_size": count})
        notes.append(f"{spec.title} learns from tiles of {side_px} px, {count} per step.")
    is_untrained = parent.name == RANDOM
    if is_untrained:
        plan = plan.model_copy(update={"distill_weight": 0.0, "anchor": 0.0, "blend": 1.0})
        notes.append("The parent was untrained, so nothing of it was kept.")
    return Regime(plan, intake, is_untrained, tuple(notes))
