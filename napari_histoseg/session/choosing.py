"""Which model is active: by name, by what a project remembers, or by what fits its classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.session.catalogue import class_table
from napari_histoseg.session.status import ActiveModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_histoseg.core.project import Project
    from napari_histoseg.core.revision import RevisionStore
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.models.weights import Weights

_SETTING = "model"
WEIGHTS_FILE = "weights.safetensors"
"""Name of the weights in a revision's folder."""


def base_model(model_id: str, weights_name: str | None = None, *, schema: LabelSchema | None = None) -> ActiveModel:
    """A model with shipped, given or random weights; by default its first shipped ones.

    Random weights of a network for tissue regions know the classes of ``schema`` when there is one, since they know
    nothing else.

    Raises
    ------
    ModelError, WeightsError
        For names that do not exist, with the nearest.
    """
    from napari_histoseg.models.registry import get_model
    from napari_histoseg.models.weights import RANDOM, resolve

    weights = resolve(model_id, weights_name)
    if weights.name == RANDOM and schema is not None and get_model(model_id).spec.task == "semantic":
        weights = replace(weights, card=replace(weights.card, classes=schema.classes))
    return ActiveModel(get_model(model_id).spec, weights)


def revised_model(store: RevisionStore, revision_id: str) -> ActiveModel:
    """A model with the weights of a revision.

    Raises
    ------
    ProjectError, WeightsError
        When the revision does not exist or its files are damaged.
    """
    from napari_histoseg.models.registry import get_model
    from napari_histoseg.models.weights import read_weights

    revision = store.get(revision_id)
    weights = read_weights(revision.folder / WEIGHTS_FILE)
    return ActiveModel(get_model(revision.model_id).spec, weights, revision_id)


def base_in(project: Project | None, model_id: str) -> ActiveModel:
    """A model with the weights it has before any revision.

    Those the project remembers, else the first shipped ones, else random ones.
    """
    from napari_histoseg.models.weights import RANDOM, list_weights

    remembered = {} if project is None else project.get_setting(_SETTING, {})
    name = remembered.get("weights") if remembered.get("id") == model_id else None
    if name is None and not list_weights(model_id):
        name = RANDOM
    return base_model(model_id, name, schema=None if project is None else project.schema)


def remember(project: Project | None, model: ActiveModel) -> None:
    """Note the model, and unless a revision is active its weights, in the project."""
    if project is None or project.read_only:
        return
    value = {"id": model.spec.id}
    if model.revision_id is None:
        value["weights"] = weights_argument(model.weights)
    else:
        old = project.get_setting(_SETTING, {})
        value |= {"weights": old["weights"]} if old.get("id") == model.spec.id and "weights" in old else {}
    project.set_setting(_SETTING, value)


def remembered_model(project: Project) -> ActiveModel | None:
    """The model that was active when the project was open last; None when it remembers none.

    Raises
    ------
    HistosegError
        When its weights are gone or damaged.
    """
    remembered = project.get_setting(_SETTING)
    if remembered is None:
        return None
    revision_id = project.revisions.active(remembered["id"])
    if revision_id is not None:
        return revised_model(project.revisions, revision_id)
    return base_model(remembered["id"], remembered.get("weights"), schema=project.schema)


def fitting_model(schema: LabelSchema) -> ActiveModel | None:
    """The first model whose shipped weights know a class of the schema; None when there is none.

    One that has learned comes before a method that learns nothing.
    """
    for model in sorted(_shipped(), key=lambda model: not model.spec.needs_weights):
        try:
            class_table(schema, model.weights)
        except HistosegError:
            continue
        return model
    return None


def _shipped() -> Iterator[ActiveModel]:
    from napari_histoseg.models.registry import list_models
    from napari_histoseg.models.weights import list_weights

    for model in list_models():
        for weights in list_weights(model.spec.id):
            yield ActiveModel(model.spec, weights)


def weights_argument(weights: Weights) -> str:
    """The name of shipped or random weights, the path of others: what ``--weights`` takes."""
    from napari_histoseg.models.weights import list_weights

    is_known = weights.path is None or weights.path in [known.path for known in list_weights(weights.model_id)]
    return weights.name if is_known else str(weights.path)
