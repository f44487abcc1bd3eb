"""Falling learning rates and early ends against torch's scheduler and by hand."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import nn

from napari_histoseg.learning.watch import EarlyStop, Plateau


def test_plateau_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3, factor=0.5)
    plateau = Plateau(patience=3, factor=0.5)
    draw = random.Random(0)
    for step in range(80):
        value = 1 / (1 + min(step, 20)) + 0.02 * draw.random() * (step > 20) + (math.nan if step == 30 else 0)
        reference.step(value)
        plateau.update(value)
        if step == 40:
            plateau = Plateau(**plateau.state())  # as from a checkpoint
        assert plateau(step) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert plateau.scale < 1


def test_early_stop_ends_after_patience_and_keeps_the_best_weights() -> None:
    model = nn.Linear(1, 1)
    stop = EarlyStop(patience=2)
    ended = []
    for epoch, value in enumerate([3.0, 2.0, 2.5, math.nan]):
        nn.init.constant_(model.weight, epoch)
        ended.append(stop.update(value, model))
    assert ended == [False, False, False, True]
    assert stop.best == 2.0
    stop.restore_best(model)
    assert model.weight.item() == 1.0


def test_gains_below_the_least_do_not_count() -> None:
    model = nn.Linear(1, 1)
    stop = EarlyStop(patience=2, min_delta=0.5)
    assert [stop.update(value, model) for value in (3.0, 2.6, 2.4, 2.3, 2.2)] == [False, False, False, False, True]
    assert stop.best == 2.4


def test_early_stop_goes_on_from_a_checkpoint() -> None:
    model = nn.Linear(1, 1)
    first = EarlyStop(patience=2)
    first.update(1.0, model)
    first.update(2.0, model)
    again = EarlyStop(patience=2)
    again.resume(best=first.best, waited=first.waited, weights=first.weights)
    assert again.update(1.5, model)


def test_without_any_number_the_weights_stay() -> None:
    model = nn.Linear(1, 1)
    before = model.weight.detach().clone()
    EarlyStop().restore_best(model)
    assert torch.equal(before, model.weight)
