"""Micro-Net: the counts and sizes of the paper, its geometry, its options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import lively
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.outputs import auxiliary_outputs, main_output
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.zoo.micronet import MicroNet, build, fits


@pytest.mark.parametrize(
    ("num_classes", "variant", "count", "gflops"),
    [
        (3, {}, 457_050_380, 1341.05),
        (3, {"batch_norm": False}, 457_046_540, 1341.05),
        (3, {"width": 32}, 114_284_684, 338.71),
        (3, {"width": 16}, 28_582_220, 86.40),
        (3, {"width": 8}, 7_151_084, 22.46),
        (3, {"multi_resolution": False}, 425_493_708, 1189.44),
        (2, {"size_px": 252}, 184_400_264, 289.34),
        (2, {"size_px": 252, "multi_resolution": False}, 152_843_592, 256.67),
    ],
)
def test_counts_and_arithmetic(num_classes: int, variant: dict[str, Any], count: int, gflops: float) -> None:
    with torch.device("meta"):
        network = build(num_classes, **variant)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, *[variant.get("size_px", 508)] * 2))  # with the auxiliary outputs
    assert sum(p.numel() for p in network.parameters()) == count
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, rel=1e-3)


def test_the_last_convolution_has_12099_parameters() -> None:
    with torch.device("meta"):
        network = build(3)
    assert isinstance(network, MicroNet)
    assert sum(p.numel() for p in network.head.parameters()) == 12_099


@pytest.mark.parametrize(
    ("size_px", "down", "bottom", "up", "mask_px"),
    [
        (508, [252, 124, 60, 28], 16, [32, 64, 128, 256], 510),
        (252, [124, 60, 28, 12], 8, [16, 32, 64, 128], 254),
    ],
)
def test_sizes_of_all_blocks(size_px: int, down: list[int], bottom: int, up: list[int], mask_px: int) -> None:
    shapes: list[tuple[int, ...]] = []
    with torch.device("meta"):
        network = build(3, size_px=size_px).eval()
        assert isinstance(network, MicroNet)
        for block in (*network.down, network.bottom, *network.up, *network.masks):
            block.register_forward_hook(lambda _block, _inputs, output: shapes.append(tuple(output.shape[1:])))
        out = network(torch.zeros(1, 3, size_px, size_px))
    assert shapes[:4] == [(c, side, side) for c, side in zip((128, 256, 512, 1024), down, strict=True)]
    assert shapes[4] == (2048, bottom, bottom)
    assert shapes[5:9] == [(c, side, side) for c, side in zip((1024, 512, 256, 128), up, strict=True)]
    assert shapes[9:] == [(c, mask_px, mask_px) for c in (64, 128, 256)]
    assert out.shape == (1, 3, size_px, size_px)


def test_the_maps_fit_together_for_508_and_252_only() -> None:
    assert [side for side in range(16, 2049) if fits(side, is_deep=True)] == [508]
    assert [side for side in range(16, 2049) if fits(side, is_deep=False)] == [252]


@pytest.mark.parametrize("size_px", [0, 250, 256, 507, 512, 1020])
def test_other_sizes_are_refused(size_px: int) -> None:
    with pytest.raises(ModelError, match=f"508 or 252 pixels only, not {size_px}"):
        get_model("micronet_508").build(width=1, size_px=size_px)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="exactly 252 x 252 pixels, not 252 x 508"):
        build(2, size_px=252, width=1)(torch.zeros(1, 3, 252, 508))


def test_three_auxiliary_outputs_while_training_only() -> None:
    network = lively(build(2, size_px=252, width=1))
    image = torch.rand(1, 3, 252, 252)
    with torch.no_grad():
        output = network.train()(image)
        assert [x.shape for x in (main_output(output), *auxiliary_outputs(output))] == [(1, 2, 252, 252)] * 4
        assert isinstance(network.eval()(image), Tensor)


def test_without_multi_resolution_nothing_but_the_first_block_sees_the_image() -> None:
    with torch.device("meta"):
        plain, minus = build(3, width=4), build(3, width=4, multi_resolution=False)
    assert isinstance(plain, MicroNet) and isinstance(minus, MicroNet)
    assert sum(layer.in_channels == 3 for layer in plain.modules() if isinstance(layer, nn.Conv2d)) == 5
    assert sum(layer.in_channels == 3 for layer in minus.modules() if isinstance(layer, nn.Conv2d)) == 1
    assert [block.main[0].in_channels for block in minus.down] == [3, 4, 8, 16]


def test_checkpointing_gives_the_same_gradients_and_statistics() -> None:
    image = torch.rand(2, 3, 252, 252, generator=torch.Generator().manual_seed(0))
    found = []
    for checkpointing in (False, True):
        network = lively(build(2, size_px=252, width=1, checkpointing=checkpointing)).train()
        torch.manual_seed(1)  # for the dropout
        output = network(image)
        loss = torch.stack([x.square().mean() for x in (main_output(output), *auxiliary_outputs(output))]).sum()
        loss.backward()
        buffers = {key: value.clone() for key, value in network.named_buffers()}
        found.append((loss, {key: p.grad for key, p in network.named_parameters()}, buffers))
    (loss, gradients, buffers), (again, recomputed, same) = found
    torch.testing.assert_close(again, loss)
    for key, gradient in gradients.items():
        torch.testing.assert_close(recomputed[key], gradient, atol=1e-6, rtol=1e-4)
    assert buffers.keys() == same.keys() and len(buffers) == 8 * 3
    assert all(torch.equal(buffers[key], same[key]) for key in buffers)
    assert all(int(value) == 1 for key, value in same.items() if key.endswith("num_batches_tracked"))


def kept_bytes(network: nn.Module) -> int:
    """What autograd holds for the way back at batch 1, without the weights, counted on shapes."""
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.device("meta"):
        network(torch.zeros(1, 3, 508, 508))
    return sum(int(storage.nbytes()) for storage in kept.values())


def test_with_checkpointing_the_full_network_trains_in_16_gb() -> None:
    with torch.device("meta"):
        everything, outputs_only = (kept_bytes(build(3, checkpointing=flag).train()) for flag in (False, True))
    weights = 16 * 457_050_380  # weight, gradient and the two moments of Adam, 4 bytes each
    assert outputs_only < 0.2 * everything
    # While one block is computed anew its inner maps are there too; all of them together are more than that.
    assert weights + outputs_only + everything < 16e9
