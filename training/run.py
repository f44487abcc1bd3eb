"""A training run: a folder that holds its plan, its log, its last checkpoint and the weights it ends with."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import napari_histoseg
from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.errors import InputError
from napari_histoseg.models.predictor import add_self_test
from napari_histoseg.models.weights import Weights, read_weights, save_weights
from training.checkpoint import CHECKPOINT, finished_weights
from training.distributed import join_world
from training.engine import train
from training.logs import Silent, Voice
from training.memory import keep_freed_memory
from training.prepared import check_prepared
from training.recipe import Recipe, open_recipe

RUN = "run.json"
_NOT_ON_CARDS = {"seconds", "accuracy", "auc", "iou", "dq", "sq", "objects"}


def run_recipe(
    recipe: Recipe, *, data: Path, out: Path, resume: bool, voice: Voice, device: str = "auto"
) -> Weights | None:
    """Train to the end of the plan and return the weights, written into the run's folder in half precision.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of prepared data sets.
    out : Path
        Folder of the run; must not hold another run unless ``resume``.
    resume : bool
        Go on from the run's checkpoint; the result is that of a run that was never interrupted. The plan may be longer
        or shorter than before, as long as the learning rate up to the checkpoint does not depend on the length.
    voice : Voice
    device : str

    Returns
    -------
    Weights or None
        None in the processes of a group besides the first.

    Raises
    ------
    InputError
        When the folder holds another run, or nothing to go on with.
    """
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise InputError(f"{out} already holds a run; give --resume to go on with it or another --out.")
    if resume and not checkpoint.exists():
        raise InputError(f"{out} holds no checkpoint to go on from; leave --resume out to begin.")
    keep_freed_memory()
    with join_world(device) as world:
        setup = recipe.set_up(data, world)
        if world.is_first:
            out.mkdir(parents=True, exist_ok=True)
            write_json(out / RUN, _facts(recipe, data, str(world.device), world.size))
        state = train(setup, out, world=world, resume=resume, voice=voice if world.is_first else Silent())
        if not world.is_first:
            return None
    card = recipe.card()
    return add_self_test(save_weights(out / f"{card.name}.safetensors", state, card, half=True))


def read_run(out: Path) -> dict[str, Any]:
    """What the run in a folder is: recipe, plan, versions, data; ``InputError`` when there is none."""
    try:
        facts: dict[str, Any] = json.loads((out / RUN).read_text())
    except FileNotFoundError:
        raise InputError(f"{out} holds no run to go on with; leave --resume out to begin.") from None
    except ValueError:
        raise InputError(f"{out / RUN} is damaged; delete the folder and begin anew.") from None
    return facts


def recipe_of(out: Path, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of the run in a folder, with its plan as it was run, or some settings of it changed."""
    facts = read_run(out)
    return open_recipe(facts["recipe"], facts["plan"] | dict(settings or {}))


def find_weights(run: Path) -> Weights:
    """The weights that a run wrote, or those in a ``.safetensors`` file."""
    if run.is_file():
        return read_weights(run)
    found = finished_weights(run)
    if found is None:
        raise InputError(f"{run} holds no weights yet; finish the run with `python -m training fit … --resume`.")
    return read_weights(found)


def write_metrics(weights: Weights, numbers: Mapping[str, Any]) -> None:
    """Put the test numbers of weights on their card: those that people compare models by."""
    if weights.path is None:
        raise InputError(f"Weights '{weights.name}' have no file and so no card to write on.")
    rounded = {
        name: round(value, 4)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value) and not _NOT_ON_CARDS & set(name.split("_"))
    }
    write_json(weights.path.with_suffix(".json"), replace(weights.card, metrics=rounded).to_json())


def _facts(recipe: Recipe, data: Path, device: str, processes: int) -> dict[str, Any]:
    """Everything that decides the result, so that the folder tells how to get it again."""
    used = recipe.sets[0]
    index = (check_prepared(data, used) / "index.json").read_bytes()
    return {
        "recipe": recipe.name,
        "plan": recipe.plan.model_dump(mode="json"),
        "data": {"set": used, "index_sha256": hashlib.sha256(index).hexdigest()},
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{device} ({platform.machine()})",
        "processes": processes,
        "versions": {
            "napari-histoseg": napari_histoseg.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
