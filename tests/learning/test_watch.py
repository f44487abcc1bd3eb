"""A learning rate that falls on plateaus, against torch's scheduler and by hand."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import nn

from napari_histoseg.learning.watch import Plateau


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


def test_numbers_below_zero_improve_downwards() -> None:
    """A score that is watched with a minus sign: what is a little worse is no improvement."""
    plateau = Plateau(patience=1)
    for value in (-0.8, -0.79995, -0.7999):
        plateau.update(value)
    assert plateau.best == -0.8 and plateau.scale == pytest.approx(0.1)


def test_a_loss_that_explodes_is_no_improvement() -> None:
    plateau = Plateau()
    for value in (math.inf, 2.0, math.inf, math.nan):
        plateau.update(value)
    assert plateau.best == 2.0 and plateau.waited == 2
