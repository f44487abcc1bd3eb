"""SegFormer-B0: its count, its stages, and its attention against plain matrix products."""

from __future__ import annotations

import pytest
import torch
from networks import lively
from torch.utils.flop_counter import FlopCounterMode

from napari_histoseg.models.zoo.segformer_b0 import SPEC, Attention, SegFormer, build


def test_count_with_five_outputs() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(5).parameters()) == 3_715_429


def test_count_of_the_encoder_is_that_of_mit_b0() -> None:
    from segmentation_models_pytorch.encoders import get_encoder

    network, reference = build(5), get_encoder("mit_b0", weights=None)
    assert isinstance(network, SegFormer)
    own = sum(p.numel() for p in network.stages.parameters())
    assert own == sum(p.numel() for p in reference.parameters())


def test_stages_have_the_papers_channels_and_resolutions() -> None:
    shapes = []
    with torch.device("meta"):
        network = build(5)
        assert isinstance(network, SegFormer)
        for stage in network.stages:
            stage.register_forward_hook(lambda _stage, _inputs, output: shapes.append(tuple(output.shape[1:])))
        network(torch.zeros(1, 3, 256, 128))
    assert shapes == [(32, 64, 32), (64, 32, 16), (160, 16, 8), (256, 8, 4)]


def test_arithmetic_without_the_products_of_attention() -> None:
    with torch.device("meta"):
        network = build(5).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 768, 768))
    tokens = [(768 // stride) ** 2 for stride in (4, 8, 16, 32)]
    seen = (768 // 32) ** 2  # every stage reduces keys and values to this grid
    products = sum(2 * 2 * 2 * n * seen * c for n, c in zip(tokens, (32, 64, 160, 256), strict=True))
    total = counter.get_total_flops()
    assert (total - products) / 1e9 == pytest.approx(30.33, rel=0.001)
    assert total / 1e9 == pytest.approx(SPEC.gflops, rel=0.001)


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer = Attention(8, heads=2, reduction=2)
    x = torch.randn(1, 4 * 6, 8)
    grid = x.transpose(1, 2).reshape(1, 8, 4, 6)
    seen = layer.norm(layer.reduce(grid).flatten(2).transpose(1, 2))
    query, (key, value) = layer.query(x), layer.key_value(seen).chunk(2, dim=-1)
    heads = []
    for own in (slice(0, 4), slice(4, 8)):
        attention = (query[..., own] @ key[..., own].transpose(1, 2) / 4**0.5).softmax(dim=-1)
        heads.append(attention @ value[..., own])
    torch.testing.assert_close(layer(x, 4, 6), layer.project(torch.cat(heads, dim=-1)), atol=1e-5, rtol=1e-4)


def test_attention_sees_the_whole_tile() -> None:
    network = lively(build(2, width=4)).eval()
    image = torch.rand(1, 3, 32, 512)
    other = image.clone()
    other[..., 480:] = 1
    with torch.no_grad():
        assert (network(image) - network(other))[..., :16].abs().max() > 1e-5
    assert not SPEC.is_local
