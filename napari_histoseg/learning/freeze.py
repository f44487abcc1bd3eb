"""Parts of a network that do not learn, for ever or for the first steps.

A part is a name as in ``named_parameters``: ``encoder`` means every parameter and batch-norm layer below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning.optimizer import Optimizer

Mode = Callable[[nn.Module], None]
"""Puts a network in training mode; the fit loop calls it before each step."""


def train_mode(model: nn.Module) -> None:
    """Every layer learns, batch-norm statistics follow the batches."""
    model.train()


def train_mode_frozen_statistics(model: nn.Module) -> None:
    """Weights learn, batch-norm layers normalise with the statistics they came with and never change them."""
    frozen_statistics(("",))(model)


def frozen_statistics(parts: Sequence[str]) -> Mode:
    """Training mode in which the batch-norm layers of some parts keep their statistics, those of the rest follow.

    For a pretrained encoder below a decoder that starts from random weights.
    """

    def mode(model: nn.Module) -> None:
        model.train()
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and _is_in(name, parts):
                module.eval()

    return mode


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Take the gradients from all parameters of some parts.

    Raises
    ------
    ModelError
        When the network has no such part; the nearest name is given.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in parts:
        if not any(_is_in(name, (part,)) for name in names):
            known = sorted({name.rpartition(".")[0] for name in names} | {name.partition(".")[0] for name in names})
            hint = suggestion(part, known, otherwise="it has")
            raise ModelError(f"The network has no part '{part}' to freeze; {hint}")
    for name, parameter in model.named_parameters():
        if _is_in(name, parts):
            parameter.requires_grad_(False)


def unfreeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Let some parts learn, but not the scales and shifts of their batch-norm layers.

    Those fit the statistics the part was pretrained with, and U-Net# leaves them so.
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            for own, parameter in module.named_parameters(prefix=name, recurse=False):
                if _is_in(own, parts):
                    parameter.requires_grad_(True)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in model.parameters() if p.requires_grad]


def add_unfrozen(optimizer: Optimizer, model: nn.Module) -> None:
    """Give an optimiser the parameters that learn by now and that it does not hold, as a group like its first."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    added = [p for p in trainable(model) if id(p) not in known]
    if added:
        first = optimizer.param_groups[0]
        base = first.get("initial_lr", first["lr"])
        optimizer.add_param_group({"params": added, "lr": base})


def unfreeze_at(step: int, model: nn.Module, parts: Sequence[str], optimizer: Optimizer) -> Callable[[int], None]:
    """For ``fit(before_step=...)``: parts that were frozen begin to learn at a step, counted from 0.

    Call it once with the step at which a resumed run goes on, before the optimiser's state is loaded, so that the
    optimiser has the groups it was saved with.
    """

    def before_step(now: int) -> None:
        if now >= step:
            unfreeze(model, parts)
            add_unfrozen(optimizer, model)

    return before_step


def _is_in(name: str, parts: Sequence[str]) -> bool:
    return any(not part or name == part or name.startswith(f"{part}.") for part in parts)
