"""SPADESegResNet: the counts of the report, its variants and its arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.color import rgb2hed
from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.zoo.spade_segresnet import Spade, _stain_amounts, _unmixing


def build(num_classes: int = 5, **variant: Any) -> nn.Module:
    return get_model("spade_segresnet").build(num_classes, **variant)


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        ({}, 38_569_670),
        ({"spade": "instance"}, 38_569_670),
        ({"spade": "batch"}, 38_569_670),
        ({"cond": "hed", "tanh_logits": True, "context_margin": 128}, 38_569_670),
        ({"tied": True}, 10_217_158),
        ({"spade": False}, 26_737_350),
        ({"n_blocks": 4}, 38_569_670 - 7_088_128),
    ],
)
def test_parameter_counts_with_six_outputs(variant: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        network = build(6, **variant)
    assert sum(p.numel() for p in network.parameters()) == count


def test_one_spade_layer_by_hand() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Spade(512, "instance").parameters()) == 1_184_256
    layer = Spade(4, "instance")
    x, condition = torch.randn(2, 4, 8, 8), torch.rand(2, 3, 32, 32)
    normal = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    seen = layer.shared(condition[..., ::4, ::4]).relu()
    expected = normal * (1 + layer.gamma(seen)) + layer.beta(seen)
    torch.testing.assert_close(layer(x, condition), expected, atol=1e-5, rtol=1e-4)


def test_tying_repeats_the_first_block() -> None:
    tied = build(2, width=4, n_blocks=3, tied=True).eval()
    untied = build(2, width=4, n_blocks=3).eval()
    state = tied.state_dict()
    untied.load_state_dict(
        {
            key: state[f"blocks.0.{key.split('.', 2)[2]}" if key.startswith("blocks.") else key]
            for key in untied.state_dict()
        }
    )
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(tied(image), untied(image))
        assert not torch.equal(tied(image), build(2, width=4, n_blocks=3).eval()(image))


def test_tanh_caps_the_probability() -> None:
    with torch.no_grad():
        logits = build(6, width=4, tanh_logits=True).eval()(torch.rand(1, 3, 32, 32) * 1000)
    assert logits.abs().max() <= 1
    best = torch.tensor([1.0, -1, -1, -1, -1, -1]).softmax(0)[0]
    assert logits.softmax(1).max() <= best + 1e-6 and round(best.item(), 3) == 0.596


def test_context_margin_cuts_the_border() -> None:
    torch.manual_seed(0)
    plain = build(2, width=4).eval()
    cropped = build(2, width=4, context_margin=16).eval()
    cropped.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        assert torch.equal(cropped(image), plain(image)[..., 16:-16, 16:-16])
    with pytest.raises(ModelError, match="larger than 32 pixels on each side, not 32 x 48"):
        cropped(torch.rand(1, 3, 32, 48))


def test_the_condition_matters_with_spade_only() -> None:
    image = torch.rand(1, 3, 32, 32)
    for spade, matters in ((True, True), (False, False)):
        block = build(2, width=4, spade=spade).blocks[0]
        x = torch.randn(1, 32, 4, 4)
        same = torch.allclose(block(x, image), block(x, 1 - image))
        assert same != matters


def test_stain_amounts_agree_with_scikit_image() -> None:
    pixels = np.random.default_rng(0).uniform(0.05, 1, (8, 8, 3)).astype(np.float32)
    expected = torch.from_numpy(rgb2hed(pixels)).permute(2, 0, 1)
    found = _stain_amounts(torch.from_numpy(pixels).permute(2, 0, 1)[None], _unmixing())[0]
    # scikit-image divides densities by those of the darkest value, and rounds its stain vectors alike.
    scale = (found * expected).sum() / (expected * expected).sum()
    error = (found.clamp(min=0) - scale * expected).abs().max()
    assert error < 0.02 * found.max()


def test_a_single_pixel_at_the_coarsest_level_is_refused() -> None:
    with pytest.raises(ModelError, match="multiples of 16"):
        build(2, width=4)(torch.rand(1, 3, 8, 8))


def test_instance_norm_makes_it_depend_on_the_whole_tile() -> None:
    network = build(2, width=4).eval()
    image = torch.rand(1, 3, 256, 64)
    other = image.clone()
    other[:, :, 240:] = 1
    with torch.no_grad():
        assert (network(image) - network(other))[:, :, :8].abs().max() > 1e-6
