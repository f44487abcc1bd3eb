"""What all optimisers share: groups of parameters, the state of each parameter, and how both are saved.

The optimisers of torch import its compiler when the first one is made. That takes seconds in which a window stands
still, and loads a native library that crashes the process beside Mesa's software OpenGL. The optimisers of this package
have the same numbers and the same face without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Parameters, or groups ``{"params": [...], "lr": ...}`` with settings of their own."""


class Optimizer(Protocol):
    """What the fit loop needs of an optimiser; those of torch have it."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def add_param_group(self, param_group: dict[str, Any]) -> None: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...


class BaseOptimizer(ABC):
    """Groups of parameters that each step moves by their gradients.

    Parameters
    ----------
    parameters : iterable of Tensor or of groups
        Those with ``requires_grad`` off are left out.
    **settings : float
        Settings of groups that do not give their own.
    """

    def __init__(self, parameters: Parameters, **settings: Any) -> None:
        self._settings = settings
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.param_groups: list[dict[str, Any]] = []
        given: Sequence[Any] = list(parameters)
        for group in given if given and isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Let more parameters learn, for example when a part is unfrozen."""
        params = [p for p in param_group["params"] if p.requires_grad]
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("A parameter is in two groups of the optimiser.")
        self.param_groups.append({**self._settings, **param_group, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p not in self.state:
                    self.state[p] = {"step": torch.zeros(()), **self.new_state(p, group)}
                state = self.state[p]
                state["step"] += 1
                self.move(p, p.grad, state, group)

    @abstractmethod
    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """What is remembered of a parameter, before its first step."""

    @abstractmethod
    def move(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
        """Change ``p`` and its state in place; ``state["step"]`` counts from 1."""

    def state_dict(self) -> dict[str, Any]:
        """State and settings, with parameters as numbers in order, as torch's optimisers give them."""
        numbers = {p: k for k, p in enumerate(self._ordered())}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[p]: dict(state) for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` of an optimiser with the same groups gave.

        Raises
        ------
        ValueError
            When the groups have other numbers of parameters.
        """
        saved = state_dict["param_groups"]
        if [len(group["params"]) for group in saved] != [len(group["params"]) for group in self.param_groups]:
            raise ValueError("The saved optimiser has other groups of parameters.")
        for group, values in zip(self.param_groups, saved, strict=True):
            group |= {key: value for key, value in values.items() if key != "params"}
        ordered = self._ordered()
        self.state = {
            ordered[int(number)]: {
                key: value.clone() if key == "step" else value.to(ordered[int(number)].device, copy=True)
                for key, value in state.items()
            }
            for number, state in state_dict["state"].items()
        }

    def _ordered(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]
