"""Own optimisers against torch's, an independent AdaBound, and golden numbers; their saved state goes on exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.adabound import AdaBound, bounds, short_run_warning
from napari_histoseg.learning.adam import Adam
from napari_histoseg.learning.optimizers import OPTIMIZERS, make_optimizer

INPUTS = torch.randn(60, 8, 5, generator=torch.Generator().manual_seed(0))


def layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(5, 3)


def train(model: nn.Module, optimizer: Any, first: int = 0, steps: int = 60) -> None:
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (1 + step / 10)
        optimizer.zero_grad()
        model(INPUTS[step]).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "reference", "settings"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.99)}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.1}),
        ("sgd", torch.optim.SGD, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4}),
    ],
)
def test_same_numbers_as_torch(name: str, reference: type, settings: dict[str, Any]) -> None:
    ours, theirs = layer(), layer()
    train(ours, make_optimizer(name, ours.parameters(), lr=0.01, **settings))
    train(theirs, reference(theirs.parameters(), lr=0.01, **settings))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("amsbound", [False, True])
def test_adabound_by_its_formula(amsbound: bool) -> None:
    """Two elements over 30 steps, each computed with floats."""
    gradients = [(((-1) ** t) * (1 + 0.1 * t), 0.5) for t in range(1, 31)]
    p = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = AdaBound([p], lr=0.001, weight_decay=0.01, amsbound=amsbound)
    expected, m, v, largest = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(gradients, start=1):
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        for k in range(2):
            g = gradient[k] + 0.01 * expected[k]
            m[k], v[k] = 0.9 * m[k] + 0.1 * g, 0.999 * v[k] + 0.001 * g * g
            largest[k] = max(largest[k], v[k]) if amsbound else v[k]
            rate = 0.001 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) / (largest[k] ** 0.5 + 1e-8)
            low, high = 0.1 * (1 - 1 / (0.001 * t + 1)), 0.1 * (1 + 1 / (0.001 * t))
            expected[k] -= min(max(rate, low), high) * m[k]
    assert p.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "low", "high"),
    [(1, 9.990e-5, 100.1), (42, 0.0040307, 2.48095), (100, 0.0090909, 1.1), (1000, 0.05, 0.2), (10000, 0.0909, 0.11)],
)
def test_adabound_bounds(step: int, low: float, high: float) -> None:
    assert bounds(step, final_lr=0.1, gamma=1e-3) == pytest.approx((low, high), rel=2e-4)


def test_first_step_of_adabound() -> None:
    p = nn.Parameter(torch.ones(1))
    p.grad = torch.full((1,), 2.0)
    AdaBound([p], lr=1e-4).step()
    assert p.item() == pytest.approx(0.9999, abs=1e-7)


def test_a_schedule_scales_the_final_step_size_of_adabound() -> None:
    p = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = AdaBound([p], lr=1e-4)
    train_steps = 20_000
    for _ in range(3):
        p.grad = torch.ones_like(p)
        optimizer.step()
    optimizer.state[p]["step"] += train_steps
    optimizer.param_groups[0]["lr"] = 1e-5
    before, p.grad = p.item(), torch.zeros_like(p)
    mean = 0.9 * optimizer.state[p]["mean"].item()
    optimizer.step()
    low, high = bounds(train_steps + 4, final_lr=0.01, gamma=1e-3)
    assert low * mean * (1 - 1e-6) <= before - p.item() <= high * mean * (1 + 1e-6)


def test_short_runs_of_adabound_are_warned_of() -> None:
    sentence = short_run_warning(42)
    assert sentence is not None and "42 steps" in sentence
    assert short_run_warning(100) is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_optimiser_goes_on_exactly(name: str) -> None:
    settings: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    whole, parts = layer(), layer()
    train(whole, make_optimizer(name, whole.parameters(), lr=0.01, **settings))
    first = make_optimizer(name, parts.parameters(), lr=0.01, **settings)
    train(parts, first, steps=25)
    saved = first.state_dict()
    again = make_optimizer(name, parts.parameters(), lr=0.01, **settings)
    again.load_state_dict(saved)
    train(parts, again, first=25)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_a_saved_optimiser_is_a_copy_and_must_fit() -> None:
    model = layer()
    optimizer = Adam(model.parameters(), lr=0.01)
    train(model, optimizer, steps=3)
    other = Adam(model.parameters(), lr=0.01)
    other.load_state_dict(optimizer.state_dict())
    train(model, optimizer, steps=3)
    assert all(int(state["step"]) == 3 for state in other.state.values())
    with pytest.raises(ValueError, match="other groups"):
        Adam([model.weight], lr=0.01).load_state_dict(optimizer.state_dict())


def test_groups_have_learning_rates_of_their_own() -> None:
    model = layer()
    before = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = make_optimizer("sgd", [{"params": [model.weight], "lr": 0.0}, {"params": [model.bias]}], lr=0.1)
    model(INPUTS[0]).square().sum().backward()
    optimizer.step()
    assert torch.equal(before[0], model.weight) and not torch.equal(before[1], model.bias)
    with pytest.raises(ValueError, match="two groups"):
        optimizer.add_param_group({"params": [model.bias]})


def test_mistakes_are_told_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'adabound'"):
        make_optimizer("adabond", [])
    with pytest.raises(InputError, match="no setting 'momentun'; did you mean 'momentum'"):
        make_optimizer("sgd", [], lr=0.1, momentun=0.9)
    with pytest.raises(InputError, match="needs a learning rate"):
        make_optimizer("adam", [])
