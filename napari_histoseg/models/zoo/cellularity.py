"""Plain regressors of tumour cellularity, with which Wang, Yu and Wang compare their guided network.

A classifier of timm whose first stage halves the resolution, where it usually keeps it, one number and a sigmoid.
NASNet has no such stage; it gets an image of half the size.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.zoo._norms import tolerate_single_values
from napari_histoseg.models.zoo._parts import timm_network

# Stem, pooling and four stages of stride 2 each.
_MULTIPLE = 64

RESNET101 = ModelSpec(
    id="cellularity_resnet101",
    title="Cellularity, ResNet-101",
    paper="Wang, Yu and Wang, segmentation-guided regression for cellularity (baseline)",
    task="regression",
    classes=(LabelClass(1, "cellularity", "#D55E00"),),
    mpp=0.5,
    tile_px=512,
    halo_px=0,
    required_multiple=_MULTIPLE,
    is_local=False,
    golden_parameters=42_502_209,
    paper_input=(512, 512),
    gflops=21.40,
    normalisation="imagenet",
    pretrained="timm resnet101.a1h_in1k (Apache-2.0)",
    variant={"encoder": "resnet101"},
)
RESNET152 = replace(
    RESNET101,
    id="cellularity_resnet152",
    title="Cellularity, ResNet-152",
    golden_parameters=58_145_857,
    gflops=31.10,
    pretrained="timm resnet152.a1h_in1k (Apache-2.0)",
    variant={"encoder": "resnet152"},
)
RESNEXT101 = replace(
    RESNET101,
    id="cellularity_resnext101",
    title="Cellularity, ResNeXt-101 32x4d",
    golden_parameters=42_130_753,
    gflops=21.94,
    pretrained="timm resnext101_32x4d.gluon_in1k (Apache-2.0)",
    variant={"encoder": "resnext101_32x4d.gluon_in1k"},
)
SERESNET101 = replace(
    RESNET101,
    id="cellularity_seresnet101",
    title="Cellularity, SE-ResNet-101",
    golden_parameters=47_279_921,
    gflops=21.41,
    pretrained="",
    variant={"encoder": "seresnet101"},
)
SENET154 = replace(
    RESNET101,
    id="cellularity_senet154",
    title="Cellularity, SENet-154",
    golden_parameters=113_042_033,
    gflops=65.48,
    pretrained="a safetensors file of timm legacy_senet154.in1k (Apache-2.0)",
    variant={"encoder": "legacy_senet154"},
)
NASNET = replace(
    RESNET101,
    id="cellularity_nasnet",
    title="Cellularity, NASNet-A-Large",
    golden_parameters=84_724_183,
    gflops=26.85,
    pretrained="timm nasnetalarge.tf_in1k (Apache-2.0)",
    variant={"encoder": "nasnetalarge"},
)


class Regressor(nn.Module):
    """One score from the pooled features of a classifier of timm."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.encoders = {"encoder": encoder}
        self.encoder = timm_network(encoder, num_classes=0)
        self.head = nn.Linear(int(self.encoder.num_features), 1)  # type: ignore[arg-type]
        self.halves_image = not hasattr(self.encoder, "layer1")
        if not self.halves_image:
            halve_first_stage(self.encoder, encoder)
        tolerate_single_values(self)

    def forward(self, image: Tensor) -> Tensor:
        """Scores (N,) in 0..1 of images (N, 3, H, W) whose sides are multiples of 64."""
        check_multiple("A cellularity network", image, _MULTIPLE)
        if self.halves_image:
            image = functional.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
        score: Tensor = torch.sigmoid(self.head(self.encoder(image)))[:, 0]
        return score


def halve_first_stage(encoder: nn.Module, name: str) -> None:
    """Let the first stage of a residual network, which has stride 1, take every second pixel.

    Raises
    ------
    ModelError
        When its first block has no projection beside it that could do the same.
    """
    block = next(encoder.get_submodule("layer1").children())
    beside = getattr(block, "downsample", None)
    shortcut = beside[0] if isinstance(beside, nn.Sequential) else None
    spatial = [layer for layer in block.children() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    if not spatial or not isinstance(shortcut, nn.Conv2d):
        raise ModelError(
            f"The first stage of '{name}' cannot be given a stride; take a residual network of bottlenecks with plain "
            "projections, such as resnet26, resnet50 or resnext50_32x4d."
        )
    spatial[0].stride = shortcut.stride = (2, 2)


@register(RESNET101, RESNET152, RESNEXT101, SERESNET101, SENET154, NASNET)
def build(num_classes: int, *, encoder: str = "resnet101") -> nn.Module:
    """A regressor with random weights.

    Parameters
    ----------
    num_classes : int
        1, since there is one score.
    encoder : str
        A classifier of timm: a residual network of bottlenecks, or any other that takes images of half the size.
    """
    check_one_score(num_classes)
    return Regressor(encoder)


def check_one_score(num_classes: int) -> None:
    """Raise ``ModelError`` unless one class is asked for."""
    if num_classes != 1:
        raise ModelError(f"A cellularity network gives one score, not {num_classes}; ask for one class.")
