"""Schedules and the running average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_histoseg.learning.optim import (
    WeightAverage,
    constant,
    cosine,
    decade,
    exponential,
    step_decay,
    warmup_stable_decay,
)


def test_warmup_plateau_and_decay() -> None:
    factor = warmup_stable_decay(steps=100, warmup=10, decay=40)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(59) == 1.0
    assert factor(80) == pytest.approx(0.5)
    assert factor(99) < 0.002
    assert factor(100) == 0.0
    values = [factor(step) for step in range(60, 101)]
    assert values == sorted(values, reverse=True)


def test_a_run_can_be_lengthened_until_the_decay_begins() -> None:
    short, long = warmup_stable_decay(steps=50, warmup=5, decay=20), warmup_stable_decay(steps=90, warmup=5, decay=20)
    assert all(short(step) == long(step) for step in range(31))
    assert short(40) != long(40)


def test_cosine_is_torch_cosine_annealing() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    factor = cosine(steps=20)
    for step in range(20):
        assert factor(step) == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        reference.step()
    assert constant(7) == 1.0


def test_average_follows_weights_and_statistics_and_can_be_restored() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        for value in (1.0, 2.0, 3.0):
            model.weight.fill_(value)
            model.running_mean.fill_(value)  # type: ignore[union-attr]
            average.update(model)
    # decays 1/10, 2/11, 3/12 from the start value 1 of the weight and 0 of the mean
    expected_weight, expected_mean = 1.0, 0.0
    for value, decay in ((1.0, 1 / 10), (2.0, 2 / 11), (3.0, 3 / 12)):
        expected_weight = decay * expected_weight + (1 - decay) * value
        expected_mean = decay * expected_mean + (1 - decay) * value
    assert average.state()["weight"][0].item() == pytest.approx(expected_weight)
    assert average.state()["running_mean"][0].item() == pytest.approx(expected_mean)

    other = WeightAverage(nn.BatchNorm1d(2), 0.5)
    other.restore(average.state(), average.updates)
    average.update(model)
    other.update(model)
    assert all(torch.equal(v, other.state()[k]) for k, v in average.state().items())


def test_exponential_decay_per_epoch_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.96)
    factor = exponential(steps_per_epoch=7)
    for epoch in range(6):
        assert factor(7 * epoch) == factor(7 * epoch + 6) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (1, 6.310e-4), (5, 1e-4), (7, 3.981e-5), (10, 1e-5), (25, 1e-8)]
)
def test_a_decade_every_five_epochs(epoch: int, rate: float) -> None:
    assert 1e-3 * decade(steps_per_epoch=10)(10 * epoch) == pytest.approx(rate, rel=1e-4)
    stairs = 1e-3 * decade(steps_per_epoch=10, staircase=True)(10 * epoch + 9)
    assert stairs == pytest.approx(1e-3 * 10.0 ** -(epoch // 5))


def test_step_decay_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    for step in range(10):
        assert step_decay(every=3)(step) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
