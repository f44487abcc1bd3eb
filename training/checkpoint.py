"""The state of a run between two steps, in one safetensors file that is replaced in one go."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_histoseg.learning.optim import WeightAverage


def save_checkpoint(
    path: Path, *, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage
) -> None:
    """Write everything a run needs to go on after ``step`` steps."""
    tensors: dict[str, Tensor] = {}
    tensors |= {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    content = save(
        {k: v.contiguous() for k, v in tensors.items()}, {"step": str(step), "updates": str(average.updates)}
    )
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(content)
    temporary.replace(path)


def load_checkpoint(path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage) -> int:
    """Restore a run and return the number of steps it had taken."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            part, _, rest = key.partition(".")
            parts[part][rest] = file.get_tensor(key)
    model.load_state_dict(parts["model"])
    average.restore(parts["average"], int(facts["updates"]))
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in parts["optimizer"].items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(facts["step"])
