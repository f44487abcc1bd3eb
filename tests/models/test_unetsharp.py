"""U-Net#: the published counts, the two bridges, what stays frozen, the ablations."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from networks import lively
from torch import Tensor, nn
from torch.nn import functional

from napari_histoseg.core.errors import ModelError
from napari_histoseg.learning.batch_norm import estimate_statistics
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.zoo.unetsharp import AttentionGate, UNetSharp

SMALL = {"encoder": "test_resnet"}


def build(**variant: object) -> UNetSharp:
    network = get_model("unetsharp").build(3, **{**SMALL, **variant})
    assert isinstance(network, UNetSharp)
    return network


@cache
def full(**variant: object) -> UNetSharp:
    """With the paper's encoder and classes, without memory; only to be looked at."""
    with torch.device("meta"):
        network = get_model("unetsharp").build(**variant)
    assert isinstance(network, UNetSharp)
    return network


def count(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module is not None else 0


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_each_part_has_the_published_number_of_weights() -> None:
    network = full()
    assert trainable(network) == 57_204_964
    assert count(network.encoder) == 42_128_704
    assert count(network.encoder) - trainable(network.encoder) == 137_856
    assert count(network.bridge) == 3_822_336
    assert sum(count(level.gates) for level in network.levels) == 86_430
    assert sum(count(level.skips) + count(level.deeper) for level in network.levels) == 2_878_464
    assert sum(count(level.fuse) for level in network.levels) == 3_690_240
    assert sum(count(level.bridge_norm) for level in network.levels) == 512
    assert sum(count(level.residual) for level in network.levels) == 4_718_848
    assert count(network.head) == 17_286
    assert trainable(full(bridge="paper_forward")) == 52_486_116


def test_features_have_the_shapes_of_the_report() -> None:
    network = full()
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> object:
        def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    network.bridge.register_forward_hook(note("bridge"))
    for i, level in enumerate(network.levels, start=1):
        level.register_forward_hook(note(f"D{i}"))
    with torch.no_grad():
        encoded = network.encoder(torch.zeros(1, 3, 224, 224, device="meta"))
        network(torch.zeros(1, 3, 224, 224, device="meta"))
    assert [tuple(x.shape[1:]) for x in encoded] == [
        (64, 112, 112),
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048, 7, 7),
    ]
    assert shapes == {
        "bridge": (64, 7, 7),
        "D4": (320, 14, 14),
        "D3": (320, 28, 28),
        "D2": (320, 56, 56),
        "D1": (320, 112, 112),
    }


def test_the_residual_bridge_starts_as_the_released_forward() -> None:
    torch.manual_seed(0)
    residual, released = build(), build(bridge="paper_forward")
    released.load_state_dict(residual.state_dict(), strict=False)
    image = torch.rand(1, 3, 32, 64)
    for network in (residual, released):
        network.eval()
    with torch.no_grad():
        assert torch.equal(residual(image), released(image))
        residual.levels[0].residual.bias.fill_(0.3)
        assert not torch.equal(residual(image), released(image))


def test_gates_weigh_the_encoder_by_the_formula() -> None:
    torch.manual_seed(0)
    gate = lively(AttentionGate()).eval()
    g, x = torch.randn(1, 64, 3, 5), torch.randn(1, 64, 3, 5)

    def norm(conv: nn.Conv2d, bn: nn.BatchNorm2d, value: Tensor) -> Tensor:
        mixed = torch.einsum("oc,nchw->nohw", conv.weight[:, :, 0, 0], value) + conv.bias[:, None, None]
        scaled = (mixed - bn.running_mean[:, None, None]) / (bn.running_var[:, None, None] + bn.eps).sqrt()
        return scaled * bn.weight[:, None, None] + bn.bias[:, None, None]

    with torch.no_grad():
        joined = (norm(*gate.of_gate, g) + norm(*gate.of_skip, x)).clamp(min=0)
        weight = 1 / (1 + (-norm(gate.weight[1], gate.weight[2], joined)).exp())
        torch.testing.assert_close(gate(g, x), x * weight)


@pytest.mark.parametrize("bn_stats", ["frozen", "update"])
def test_what_learns(bn_stats: str) -> None:
    torch.manual_seed(0)
    network = build(bn_stats=bn_stats).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    labels = torch.randint(0, 3, (2, 32, 32))
    for _ in range(2):  # the first step of the residual bridge moves only its own zeros
        optimizer.zero_grad()
        functional.cross_entropy(network(torch.rand(2, 3, 32, 32)), labels).backward()
        optimizer.step()
    norms = {f"encoder.{name}" for name, m in network.encoder.named_modules() if isinstance(m, nn.BatchNorm2d)}
    after = network.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    affine = {f"{name}.{part}" for name in norms for part in ("weight", "bias")}
    statistics = {f"{name}.{part}" for name in norms for part in ("running_mean", "running_var")}
    assert not moved & affine
    assert (statistics <= moved) if bn_stats == "update" else not moved & statistics
    assert {"encoder.conv1.0.weight", "levels.0.residual.weight", "levels.3.bridge_norm.running_mean"} <= moved


def test_every_residual_branch_of_a_frozen_encoder_is_alive() -> None:
    network = build()
    for layer in network.encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.weight.requires_grad


def test_ablations_leave_out_what_they_say() -> None:
    assert trainable(full()) - trainable(full(attention=False)) == 86_430
    plain = full(aspp=False)
    assert count(plain.bridge) == 2048 * 64 + 2 * 64
    assert len(full(rates=(2, 4)).bridge.dilated) == 2
    with torch.no_grad():
        for variant in ({"attention": False}, {"aspp": False}):
            assert build(**variant).eval()(torch.rand(1, 3, 32, 64)).shape == (1, 3, 32, 64)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"encoder": "resnext101_32x4"}, "did you mean 'resnext101_32x4d'"),
        ({"encoder": "convnext_atto"}, r"1/2, 1/4, .* but 'convnext_atto' has them at 1/4, 1/8, 1/16, 1/32"),
        ({"bridge": "residul"}, "no bridge 'residul'"),
        ({"bn_stats": "on"}, "no bn_stats 'on'"),
    ],
)
def test_what_does_not_fit_is_said(variant: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(**variant)


def test_statistics_found_anew_leave_a_frozen_encoder_alone() -> None:
    torch.manual_seed(0)
    network = build()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = [torch.rand(2, 3, 32, 32) for _ in range(2)]
    assert list(estimate_statistics(network, iter(images))) == [1, 2]
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved and not any(key.startswith("encoder.") for key in moved)
    assert "levels.3.bridge_norm.running_mean" in moved
