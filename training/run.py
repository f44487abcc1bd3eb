"""A training run: a folder that holds its plan, its log, its last checkpoint and the weights it ends with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.fit import fit
from napari_histoseg.learning.optim import WeightAverage
from napari_histoseg.models.predictor import add_self_test, find_device
from napari_histoseg.models.weights import Weights, read_weights, save_weights
from training.checkpoint import load_checkpoint, save_checkpoint
from training.memory import keep_freed_memory
from training.recipe import BasePlan, Recipe, get_recipe

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY_S = 120.0


def run_recipe(
    name: str, plan: BasePlan, *, data: Path, out: Path, resume: bool, tell: Callable[[str], None]
) -> Weights:
    """Train to the end of the plan and return the averaged weights, written into the run's folder in half precision.

    Parameters
    ----------
    name : str
        Of the recipe.
    plan : BasePlan
    data : Path
        Folder of prepared data sets.
    out : Path
        Folder of the run; must not hold another run unless ``resume``.
    resume : bool
        Go on from the run's checkpoint. The plan may be longer or shorter than before as long as the decay of the
        learning rate has begun in neither; the result is then that of the new plan from the start.
    tell : callable
        Receives a line of text now and then.
    """
    recipe = get_recipe(name)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise InputError(f"{out} already holds a run; give --resume to go on with it or another --out.")
    if resume and not checkpoint.exists():
        raise InputError(f"{out} holds no checkpoint to go on from; leave --resume out to begin.")
    keep_freed_memory()
    device = find_device("auto")
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps({"recipe": name, "plan": plan.model_dump()}, indent=1))

    model = recipe.build(plan).to(memory_format=torch.channels_last).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    average = WeightAverage(model, plan.average)
    first = load_checkpoint(checkpoint, model=model, optimizer=optimizer, average=average) if resume else 0

    def store(step: int) -> None:
        save_checkpoint(checkpoint, step=step, model=model, optimizer=optimizer, average=average)

    steps = fit(
        model,
        recipe.batches(plan, data, first),
        loss=recipe.loss,
        optimizer=optimizer,
        schedule=recipe.schedule(plan),
        steps=plan.steps,
        device=device,
        first_step=first,
        average=average,
        clip_norm=5.0,
        autocast_dtype=torch.bfloat16,
    )
    started = saved = time.monotonic()
    losses: list[float] = []
    with (out / "log.jsonl").open("a") as log:
        for taken in steps:
            losses.append(taken.loss)
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                store(taken.step)
                saved = time.monotonic()
            if taken.step % plan.validate_every and taken.step % 50:
                continue
            row: dict[str, Any] = {"step": taken.step, "loss": sum(losses) / len(losses), "lr": taken.lr}
            row["seconds"] = round(time.monotonic() - started, 1)
            losses.clear()
            if taken.step % plan.validate_every == 0:
                row |= recipe.validate(averaged_model(recipe, plan, average), data)
            log.write(json.dumps(row) + "\n")
            log.flush()
            tell(f"step {taken.step}/{taken.total} " + " ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "step"))
    store(plan.steps)
    return write_weights(recipe, plan, average.state(), out)


def read_plan(out: Path) -> dict[str, Any]:
    """The plan of the run in a folder, as settings."""
    try:
        plan: dict[str, Any] = json.loads((out / "run.json").read_text())["plan"]
    except FileNotFoundError:
        raise InputError(f"{out} holds no run to go on with; leave --resume out to begin.") from None
    return plan


def write_weights(recipe: Recipe, plan: BasePlan, state: Mapping[str, Tensor], out: Path) -> Weights:
    """Save weights with the recipe's card and a self-test; test numbers are added when they are evaluated."""
    card = recipe.card(plan)
    return add_self_test(save_weights(out / f"{card.name}.safetensors", state, card, half=True))


def find_weights(run: Path) -> Weights:
    """The weights that a run wrote, or those in a ``.safetensors`` file."""
    if run.is_file():
        return read_weights(run)
    found = [path for path in sorted(run.glob("*.safetensors")) if path.name != CHECKPOINT]
    if not found:
        raise InputError(f"{run} holds no weights yet; finish the run with `python -m training fit … --resume`.")
    return read_weights(found[0])


def write_metrics(weights: Weights, numbers: Mapping[str, float]) -> None:
    """Put the test numbers of weights on their card."""
    if weights.path is None:
        raise InputError(f"Weights '{weights.name}' have no file and so no card to write on.")
    card = replace(weights.card, metrics={name: round(value, 4) for name, value in numbers.items()})
    write_json(weights.path.with_suffix(".json"), card.to_json())


def averaged_model(recipe: Recipe, plan: BasePlan, average: WeightAverage) -> nn.Module:
    """A network of its own with the averaged weights, in evaluation mode."""
    model = recipe.build(plan)
    model.load_state_dict(average.state())
    return model.to(memory_format=torch.channels_last).eval()
