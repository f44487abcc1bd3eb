"""What is frozen does not change by one bit; what is unfrozen later learns, except batch-norm scales and shifts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.learning.adam import Adam
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fit import fit
from napari_histoseg.learning.freeze import add_unfrozen, freeze, frozen_statistics, trainable, unfreeze, unfreeze_at
from napari_histoseg.learning.loss_registry import build_loss

LOSS = build_loss([{"name": "cross_entropy"}, {"name": "dice"}])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    decoder = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    model = nn.Sequential()
    model.add_module("encoder", encoder)
    model.add_module("decoder", decoder)
    return model


def batches(first: int = 0) -> Iterator[Batch]:
    step = first
    while True:
        image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        yield Batch(image, (image[:, 0] > 0.5).long())
        step += 1


def run(model: nn.Module, optimizer, first: int, steps: int, thaw: int = 3) -> None:
    loop = fit(
        model,
        batches(first),
        loss=LOSS,
        optimizer=optimizer,
        schedule=lambda step: 1 / (1 + step),
        first_step=first,
        steps=steps,
        device="cpu",
        mode=frozen_statistics(("encoder",)),
        before_step=unfreeze_at(thaw, model, ("encoder",), optimizer),
    )
    for _ in loop:
        pass


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


@pytest.mark.parametrize("make", [Adam, torch.optim.AdamW, torch.optim.SGD])
def test_frozen_until_a_step_then_learning_but_for_batch_norm(make) -> None:
    model = network()
    freeze(model, ("encoder",))
    optimizer = make(trainable(model), lr=0.1)
    before = copied(model)
    run(model, optimizer, 0, 3)
    assert not any(name.startswith("encoder") for name in changed(model, before))
    assert {"decoder.0.weight", "decoder.1.weight", "decoder.1.running_mean"} <= changed(model, before)
    run(model, optimizer, 3, 6)
    assert {name for name in changed(model, before) if name.startswith("encoder")} == {
        "encoder.0.weight",
        "encoder.0.bias",
    }
    assert [len(group["params"]) for group in optimizer.param_groups] == [6, 2]
    assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"] == pytest.approx(0.1 / 6)


def test_resumed_after_unfreezing_equals_uninterrupted() -> None:
    whole, first = network(), network()
    for model, parts in ((whole, ((0, 8),)), (first, ((0, 5),))):
        freeze(model, ("encoder",))
        optimizer = Adam(trainable(model), lr=0.1)
        for begin, end in parts:
            run(model, optimizer, begin, end)
    resumed = network()
    freeze(resumed, ("encoder",))
    again = Adam(trainable(resumed), lr=0.1)
    unfreeze_at(3, resumed, ("encoder",), again)(5)
    resumed.load_state_dict(first.state_dict())
    again.load_state_dict(optimizer.state_dict())
    run(resumed, again, 5, 8)
    assert not changed(resumed, copied(whole))


def test_unfreezing_twice_adds_nothing() -> None:
    model = network()
    freeze(model, ("encoder.0",))
    optimizer = Adam(trainable(model), lr=0.1)
    unfreeze(model, ("encoder",))
    add_unfrozen(optimizer, model)
    add_unfrozen(optimizer, model)
    assert [len(group["params"]) for group in optimizer.param_groups] == [8, 2]


def test_a_part_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelError, match="did you mean 'encoder'"):
        freeze(network(), ("encodre",))
