"""A training run: a folder that holds its plan, its log, its last checkpoint and the weights it ends with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.fit import fit
from napari_histoseg.learning.optim import WeightAverage, warmup_stable_decay
from training.checkpoint import load_checkpoint, save_checkpoint
from training.recipe import BasePlan, get_recipe

CHECKPOINT_EVERY_S = 120.0


def run_recipe(
    name: str, plan: BasePlan, *, data: Path, out: Path, resume: bool, tell: Callable[[str], None]
) -> nn.Module:
    """Train to the end of the plan and return the network with the averaged weights, in evaluation mode.

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
        learning rate has not begun.
    tell : callable
        Receives a line of text now and then.
    """
    recipe = get_recipe(name)
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise InputError(f"{out} already holds a run; give --resume to go on with it or another --out.")
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps({"recipe": name, "plan": plan.model_dump()}, indent=1))

    model = recipe.build(plan).to(memory_format=torch.channels_last)
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
        schedule=warmup_stable_decay(steps=plan.steps, warmup=plan.warmup, decay=plan.decay),
        steps=plan.steps,
        device="cpu",
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
                row |= recipe.evaluate(averaged_model(recipe, plan, average), data, "validation")
            log.write(json.dumps(row) + "\n")
            log.flush()
            tell(f"step {taken.step}/{taken.total} " + " ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "step"))
    store(plan.steps)
    return averaged_model(recipe, plan, average)


def averaged_model(recipe: Any, plan: BasePlan, average: WeightAverage) -> nn.Module:
    """A network of its own with the averaged weights, in evaluation mode."""
    model: nn.Module = recipe.build(plan)
    model.load_state_dict(average.state())
    return model.to(memory_format=torch.channels_last).eval()
