"""The fit loop learns, stops between steps, goes on where it stopped, and leaves frozen things alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.augment import dihedral
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fit import FitStep, fit
from napari_histoseg.learning.freeze import train_mode_frozen_statistics
from napari_histoseg.learning.loss_registry import build_loss
from napari_histoseg.learning.losses import cross_entropy
from napari_histoseg.learning.optim import WeightAverage, constant, cosine

LOSS = build_loss([{"name": "cross_entropy"}, {"name": "dice"}])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))


def batches(first: int = 0) -> Iterator[Batch]:
    """Dark pixels are class 0, bright ones class 1; the batch depends on its number alone."""
    step = first
    while True:
        image = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(step)).repeat(1, 3, 1, 1)
        yield Batch(image, (image[:, 0] > 0.5).long())
        step += 1


def steps_of(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, steps: int, **options) -> list[FitStep]:
    return list(
        fit(
            model,
            batches(first),
            loss=LOSS,
            optimizer=optimizer,
            steps=steps,
            first_step=first,
            device="cpu",
            **{"schedule": constant, **options},
        )
    )


def test_learns() -> None:
    model = network()
    taken = steps_of(model, torch.optim.AdamW(model.parameters(), 0.02), 0, 60)
    assert [s.step for s in taken] == list(range(1, 61))
    assert taken[-1].loss < 0.4 * taken[0].loss
    assert not model.training


def test_learning_rate_follows_the_schedule() -> None:
    model = network()
    taken = steps_of(model, torch.optim.SGD(model.parameters(), 0.1), 0, 10, schedule=cosine(steps=10))
    assert [s.lr for s in taken] == pytest.approx([0.1 * cosine(steps=10)(k) for k in range(10)])


def test_interrupted_and_resumed_equals_uninterrupted() -> None:
    whole, parts = network(), network()
    schedule = cosine(steps=12)
    whole_average, parts_average = WeightAverage(whole, 0.9), WeightAverage(parts, 0.9)
    optimizer = torch.optim.AdamW(whole.parameters(), 0.01)
    steps_of(whole, optimizer, 0, 12, schedule=schedule, average=whole_average)

    optimizer = torch.optim.AdamW(parts.parameters(), 0.01)
    job = fit(
        parts,
        batches(),
        loss=LOSS,
        optimizer=optimizer,
        schedule=schedule,
        steps=12,
        device="cpu",
        average=parts_average,
    )
    for _ in range(5):
        next(job)
    job.close()
    assert not parts.training
    steps_of(parts, optimizer, 5, 12, schedule=schedule, average=parts_average)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[key]), key
        assert torch.equal(whole_average.state()[key], parts_average.state()[key]), key


def test_frozen_statistics_and_parameters_do_not_change() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01)
    steps_of(model, optimizer, 0, 3, mode=train_mode_frozen_statistics)
    after = model.state_dict()
    for key in ("0.weight", "0.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(before[key], after[key]), key
    assert not torch.equal(before["3.weight"], after["3.weight"])


def test_unknown_pixels_teach_nothing() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    unknown = Batch(torch.rand(2, 3, 16, 16), torch.full((2, 16, 16), IGNORE))
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    taken = list(
        fit(
            model,
            iter([unknown]),
            loss=LOSS,
            optimizer=optimizer,
            schedule=constant,
            steps=1,
            device="cpu",
            mode=train_mode_frozen_statistics,
        )
    )
    assert taken[0].loss == 0.0
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_lower_precision_still_learns_with_losses_in_float32() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    taken = steps_of(model, optimizer, 0, 60, autocast_dtype=torch.bfloat16, clip_norm=5.0)
    assert taken[-1].loss < 0.5 * taken[0].loss


def test_long_gradients_are_cut() -> None:
    model = network()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    steps_of(model, torch.optim.SGD(model.parameters(), 1.0), 0, 1, clip_norm=1e-3)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_a_step_of_several_batches_is_the_step_of_one_large_batch() -> None:
    parts = [next(batches(k)) for k in range(2)]
    large = Batch(torch.cat([b.image for b in parts]), torch.cat([b.labels for b in parts]))
    after, losses = [], []
    for given, accumulate in (([large], 1), (parts, 2)):
        model = nn.Conv2d(3, 2, 1)
        nn.init.constant_(model.weight, 0.1)
        nn.init.zeros_(model.bias)
        loop = fit(
            model,
            iter(given),
            loss=lambda output, batch: cross_entropy(output, batch.labels),
            optimizer=torch.optim.SGD(model.parameters(), 1.0),
            schedule=constant,
            steps=1,
            device="cpu",
            accumulate=accumulate,
        )
        losses.append(next(loop).loss)
        after.append(model.weight.detach().clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(after[0], after[1])


def test_the_loss_gets_what_the_network_returns() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 2, 1)

        def forward(self, image: torch.Tensor) -> dict[str, object] | torch.Tensor:
            out = self.body(image)
            return {"out": out, "aux": [out]} if self.training else out

    seen = []

    def loss(output, batch: Batch) -> torch.Tensor:
        seen.append(output)
        return cross_entropy(output["out"], batch.labels)

    model = TwoHeads()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    next(fit(model, batches(), loss=loss, optimizer=optimizer, schedule=constant, steps=1, device="cpu"))
    assert list(seen[0]) == ["out", "aux"]


def test_a_batch_moves_with_all_its_parts() -> None:
    batch = Batch(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4).long(), torch.ones(1, 4, 4), score=torch.ones(1))
    turned = dihedral(batch, 5)
    assert turned.score is batch.score
    batch = turned.to("meta")
    assert batch.image.is_meta and batch.labels.is_meta
    assert batch.score is not None and batch.score.is_meta
    assert batch.weight is not None and batch.weight.is_meta
    assert batch.soft is None
