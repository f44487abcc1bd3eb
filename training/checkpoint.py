"""The state of a run between two steps, in one safetensors file that is replaced in one go."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.optim import WeightAverage

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


def finished_weights(run: Path) -> Path | None:
    """The file of weights that a run ended with; None where it has not ended, or is no run."""
    return next((path for path in sorted(run.glob("*.safetensors")) if path.name not in (CHECKPOINT, BEST)), None)


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps taken, and the facts that steer it (best value so far, plateau, early stop)."""

    step: int
    control: dict[str, Any]


def save_checkpoint(
    path: Path,
    progress: Progress,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> None:
    """Write everything a run needs to go on; random numbers depend on the step alone and need no saving."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{k}": v for k, v in average.state().items()}
    plain: dict[str, dict[str, Any]] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    facts = {"step": progress.step, "control": progress.control, "updates": average.updates if average else 0}
    write_tensors(path, tensors, facts | {"optimizer": plain})


def load_checkpoint(
    path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None
) -> Progress:
    """Restore a run to where it was; the optimiser must hold the same parameters as when it was saved."""
    tensors, facts = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, tensor in tensors.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    if average is not None:
        average.restore(parts["average"], int(facts["updates"]))
    states: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in facts["optimizer"].items()}
    for key, tensor in parts["optimizer"].items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(int(facts["step"]), facts["control"])


def read_progress(path: Path) -> Progress:
    """How far the run of a checkpoint is, without its tensors."""
    facts = _read(path, tensors=False)[1]
    return Progress(int(facts["step"]), facts["control"])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replace ``path`` with tensors and facts; a power cut leaves the old file or the new one."""
    temporary = path.with_suffix(".partial")
    try:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, {"facts": json.dumps(facts)}
        )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote; ``InputError`` when it is damaged or of another version."""
    return _read(path, tensors=True)


def _read(path: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            keys = list(file.keys()) if tensors else []
            return {key: file.get_tensor(key) for key in keys}, facts
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete the folder of the run and begin anew.") from None
