"""Several processes that train one network: started by ``torchrun``, equal to one process with the same global batch.

Each process computes its share of the images. The loss is computed on the outputs of all of them, so that losses that
do not average over images (Dice, class weights from the batch, unequal numbers of known pixels) are right as well.
Batch normalisation is over all processes on graphics cards (``SyncBatchNorm``) and over a process's own share on CPUs,
where torch has no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.optim import WeightAverage
from napari_histoseg.models.predictor import find_device


@dataclass(frozen=True)
class World:
    """Which of how many processes this is, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True in the process that writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The part of ``count`` images that this process computes."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """The processes that ``torchrun`` started, or this one alone.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``; each local process takes a graphics card of its own.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = find_device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(torch.distributed.get_rank(), size, chosen)
    finally:
        torch.distributed.destroy_process_group()


def for_world(model: nn.Module, world: World) -> nn.Module:
    """The network with batch normalisation over all processes, on graphics cards."""
    if world.size > 1 and world.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return model


def spread(model: nn.Module, world: World) -> nn.Module:
    """The network whose gradients are averaged over all processes; the network itself where there is one process.

    Only what learns by now takes part: call it again when more does.
    """
    if world.size == 1:
        return model
    ids = [world.device] if world.device.type == "cuda" else None
    # Encoders of libraries may have layers whose output nobody uses; they must not stop the others.
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)


class OwnAverage(WeightAverage):
    """An average of the network itself, also where the fit loop holds the one that `spread` made of it."""

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        super().update(model.module if isinstance(model, DistributedDataParallel) else model)


def agree(value: float, world: World) -> float:
    """The first process's value, in all processes."""
    if world.size == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=world.device)
    torch.distributed.broadcast(shared, 0)
    return float(shared)


def global_loss(loss: Callable[[Any, Batch], Tensor], world: World) -> Callable[[Any, Batch], Tensor]:
    """The loss of the images of all processes, with the gradient of this process's share."""
    if world.size == 1:
        return loss

    def of_all(output: Any, batch: Batch) -> Tensor:
        known = {f.name: getattr(batch, f.name) for f in fields(batch)}
        whole = {name: _gathered(value) for name, value in known.items() if isinstance(value, Tensor)}
        return loss(_map(output, lambda part: _Gather.apply(part, world)), replace(batch, **whole))

    return of_all


def _map(output: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(output, dict):
        return {name: _map(value, change) for name, value in output.items()}
    if isinstance(output, list | tuple):
        return [_map(value, change) for value in output]
    return change(output)


def _gathered(part: Tensor) -> Tensor:
    parts = [torch.empty_like(part) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """All processes' tensors; backwards, what belongs to this one.

    Every process computes the same loss and so the same gradient. Its own part is multiplied by the number of
    processes because the gradients of the weights are averaged afterwards, where they should be summed.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, world: World) -> Tensor:
        ctx.share = slice(world.rank * len(part), (world.rank + 1) * len(part))
        ctx.size = world.size
        return _gathered(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.share] * ctx.size, None
