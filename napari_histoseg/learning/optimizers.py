"""Optimisers by name."""

from __future__ import annotations

import inspect
from typing import Any

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.learning.adabound import AdaBound
from napari_histoseg.learning.adam import Adam, AdamW
from napari_histoseg.learning.optimizer import BaseOptimizer, Parameters
from napari_histoseg.learning.sgd import SGD

OPTIMIZERS: dict[str, type[BaseOptimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "adabound": AdaBound}


def make_optimizer(name: str, parameters: Parameters, **settings: Any) -> BaseOptimizer:
    """An optimiser of `OPTIMIZERS`.

    Parameters
    ----------
    name : str
    parameters : iterable of Tensor or of groups
        Those with ``requires_grad`` off are left out.
    **settings : float
        Of the optimiser's class: ``lr`` and what it has besides.

    Raises
    ------
    InputError
        For an unknown name or setting; the nearest is given.
    """
    kind = OPTIMIZERS.get(name)
    if kind is None:
        raise InputError(f"There is no optimiser '{name}'; {suggestion(name, OPTIMIZERS)}")
    known = inspect.signature(kind).parameters
    allowed = [key for key, parameter in known.items() if parameter.kind is parameter.KEYWORD_ONLY]
    for key in settings:
        if key not in allowed:
            raise InputError(f"The optimiser '{name}' has no setting '{key}'; {suggestion(key, allowed)}")
    if known["lr"].default is inspect.Parameter.empty and "lr" not in settings:
        raise InputError(f"The optimiser '{name}' needs a learning rate; give lr.")
    return kind(parameters, **settings)
