"""Folding batch normalisation leaves every network the function it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from networks import lively
from timm.layers import BatchNormAct2d, StdConv2d
from torch import Tensor, nn

from napari_histoseg.models.folding import fold_batch_norm
from napari_histoseg.models.registry import get_model


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def assert_equal_when_folded(network: nn.Module, image: Tensor) -> int:
    """How many normalisations were folded."""
    network = lively(network).eval()
    folded = fold_batch_norm(copy.deepcopy(network))
    with torch.no_grad():
        expected, found = network(image), folded(image)
    torch.testing.assert_close(found, expected, atol=2e-4 * float(expected.abs().max()), rtol=1e-3)
    return norms(network) - norms(folded)


@pytest.mark.parametrize(
    ("model_id", "variant", "least"),
    [
        ("unet", {"width": 4, "batch_norm": True}, 18),
        ("smp", {"encoder": "test_resnet"}, 10),
        ("smp", {"encoder": "test_resnet", "arch": "manet"}, 5),
        ("smp", {"encoder": "test_efficientnet", "arch": "fpn"}, 0),
        ("smp", {"encoder": "densenet121", "arch": "linknet"}, 1),
        ("deeplabv3plus", {"encoder": "test_resnet"}, 6),
        ("unetsharp", {"encoder": "test_resnet"}, 20),
        ("cellularity_guided", {"encoder": "resnet26", "guide": "test_resnet"}, 7),
        ("cellularity_senet154", {"encoder": "legacy_seresnext26_32x4d"}, 4),
    ],
)
def test_networks_of_libraries_stay_the_same(model_id: str, variant: dict[str, Any], least: int) -> None:
    torch.manual_seed(0)
    assert assert_equal_when_folded(get_model(model_id).build(**variant), torch.rand(2, 3, 64, 64)) >= least


class Reversed(nn.Sequential):
    """Applies its layers from last to first."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            x = layer(x)
        return x


@pytest.mark.parametrize(
    "layers",
    [
        nn.Sequential(nn.Conv2d(3, 3, 3), BatchNormAct2d(3)),
        nn.Sequential(StdConv2d(3, 3, 3), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.BatchNorm2d(3)),
        Reversed(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
    ],
    ids=["activation inside", "standardised weights", "activation between", "own order"],
)
def test_what_is_more_than_a_convolution_and_a_norm_is_left_alone(layers: nn.Sequential) -> None:
    torch.manual_seed(0)
    assert assert_equal_when_folded(layers, torch.randn(2, 3, 16, 16)) == 0


def test_plain_neighbours_are_folded() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.BatchNorm2d(4),
    )
    assert assert_equal_when_folded(layers, torch.randn(2, 3, 8, 8)) == 2


def test_a_classifier_of_timm_stays_the_same() -> None:
    torch.manual_seed(0)
    assert_equal_when_folded(timm.create_model("test_vit", num_classes=3), torch.rand(1, 3, 160, 160))
