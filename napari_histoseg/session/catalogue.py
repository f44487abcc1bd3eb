"""Models and weight sets as a person chooses among them, and how their classes meet those of a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelClass, LabelSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_histoseg.models.weights import Weights


@dataclass(frozen=True)
class WeightsInfo:
    """One weight set of a model, as its card tells."""

    name: str
    is_present: bool
    licence: str
    classes: tuple[LabelClass, ...]
    mpp: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class ModelInfo:
    """One registered model, told without building its network."""

    id: str
    title: str
    paper: str
    task: str
    classes: tuple[LabelClass, ...]
    mpp: float
    parameters_total: int
    weights: tuple[WeightsInfo, ...]

    def parameters(self) -> tuple[int, int]:
        """(total, trainable) number of parameters of the paper's configuration; builds it without memory."""
        import torch

        from napari_histoseg.models.registry import get_model

        with torch.device("meta"):
            network = get_model(self.id).build()
        counts = [(p.numel(), p.requires_grad) for p in network.parameters()]
        return sum(n for n, _ in counts), sum(n for n, trains in counts if trains)


def model_infos() -> tuple[ModelInfo, ...]:
    """Every registered model with the weight sets that are installed."""
    from napari_histoseg.models.registry import list_models
    from napari_histoseg.models.weights import list_weights

    return tuple(
        ModelInfo(
            id=model.spec.id,
            title=model.spec.title,
            paper=model.spec.paper,
            task=model.spec.task,
            classes=model.spec.classes,
            mpp=model.spec.mpp,
            parameters_total=model.spec.golden_parameters,
            weights=tuple(weights_info(weights) for weights in list_weights(model.spec.id)),
        )
        for model in list_models()
    )


def weights_info(weights: Weights) -> WeightsInfo:
    """The part of a weights card that a person chooses by."""
    card = weights.card
    return WeightsInfo(
        name=weights.name,
        is_present=weights.path is not None and weights.path.is_file(),
        licence=card.licence,
        classes=card.classes,
        mpp=card.mpp,
        metrics=dict(card.metrics),
    )


def class_table(schema: LabelSchema, weights: Weights) -> NDArray[np.uint8]:
    """Lookup table from the label values a model writes to those of a project, matched by class name.

    Returns
    -------
    ndarray of uint8, shape (256,)
        ``table[value]``; values without a class of the same name become ``IGNORE``.

    Raises
    ------
    InputError
        When no class has a name in common.
    """
    if not has_common_class(schema, weights):
        raise InputError(
            f"The weights '{weights.name}' know {_names(weights.classes)}, the project {_names(schema.classes)}; "
            "no class has a name in common, so choose other weights or make a project with this model's classes."
        )
    return schema.crosswalk(weights.classes)


def has_common_class(schema: LabelSchema, weights: Weights) -> bool:
    """Whether a class of the weights has the name of one of the schema's."""
    return bool(np.any(schema.crosswalk(weights.classes) != IGNORE))


def schema_of(weights: Weights) -> LabelSchema:
    """A label schema with the classes of the weights."""
    return LabelSchema(weights.model_id, f"Classes of {weights.name}", weights.classes)


def _names(classes: tuple[LabelClass, ...]) -> str:
    return ", ".join(c.name for c in classes)
