"""Models and weight sets as a person chooses among them, and how their classes meet those of a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelClass, LabelSchema
from napari_histoseg.inference.instances import BOUNDARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_histoseg.models.spec import ModelSpec
    from napari_histoseg.models.weights import Weights

TASK_TITLES = {"semantic": "Tissue regions", "instance": "Nuclei", "regression": "Cellularity score"}
"""Headings under which models are listed, by task."""

_BACKGROUND = "background"


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
    """One registered model and the weight sets that are installed, told without building its network."""

    spec: ModelSpec
    weights: tuple[WeightsInfo, ...]

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def title(self) -> str:
        return self.spec.title

    @property
    def is_untrained(self) -> bool:
        """Whether it has learned nothing yet, though it has to."""
        return self.spec.needs_weights and not any(weights.is_present for weights in self.weights)

    def parameters(self) -> tuple[int, int]:
        """(total, trainable) number of parameters of the paper's configuration, as its card says."""
        total, trainable = self.spec.golden_parameters, self.spec.golden_trainable
        return total, total if trainable is None else trainable


def model_infos() -> tuple[ModelInfo, ...]:
    """Every registered model with the weight sets that are installed."""
    from napari_histoseg.models.registry import list_models
    from napari_histoseg.models.weights import list_weights

    return tuple(
        ModelInfo(model.spec, tuple(weights_info(weights) for weights in list_weights(model.spec.id)))
        for model in list_models()
    )


def grouped(infos: Iterable[ModelInfo]) -> tuple[tuple[str, tuple[ModelInfo, ...]], ...]:
    """(title of the task, its models) in a fixed order; those that can be used at once come first in each group."""
    groups: dict[str, list[ModelInfo]] = {task: [] for task in TASK_TITLES}
    for info in sorted(infos, key=lambda info: info.is_untrained):
        groups[info.spec.task].append(info)
    return tuple((TASK_TITLES[task], tuple(found)) for task, found in groups.items() if found)


def weights_info(weights: Weights) -> WeightsInfo:
    """The part of a weights card that a person chooses by."""
    card = weights.card
    return WeightsInfo(
        name=weights.name,
        is_present=weights.path is None or weights.path.is_file(),
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
        ``table[value]``; values without a class of the same name become ``IGNORE``. The border between cells belongs
        to them where there is one kind of cells only.

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
    table = schema.crosswalk(weights.classes)
    kinds = [c for c in _shown(weights) if c.name.casefold() != _BACKGROUND]
    border = next((c for c in weights.classes if c.name == BOUNDARY), None)
    if border is not None and table[border.id] == IGNORE and len(kinds) == 1:
        table[border.id] = table[kinds[0].id]
    return table


def has_common_class(schema: LabelSchema, weights: Weights) -> bool:
    """Whether a class of the weights, other than the background, has the name of one of the schema's."""
    told = [c for c in weights.classes if c.name.casefold() != _BACKGROUND]
    return bool(np.any(schema.crosswalk(told) != IGNORE))


def schema_of(weights: Weights) -> LabelSchema:
    """A label schema with the classes of the weights that a person would paint."""
    return LabelSchema(weights.model_id, f"Classes of {weights.name}", _shown(weights))


def _shown(weights: Weights) -> tuple[LabelClass, ...]:
    """The classes without the border between cells, which only parts them."""
    return tuple(c for c in weights.classes if c.name != BOUNDARY)


def _names(classes: tuple[LabelClass, ...]) -> str:
    return ", ".join(c.name for c in classes)
