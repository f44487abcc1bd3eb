"""Segmentation-guided regression of tumour cellularity (Wang, Yu and Wang).

The features that step 1 segments cells from, at 1/16 of the image, join those of a ResNet at the same resolution, so
that the score knows where the cells are. Both encoders are trained together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.zoo._norms import tolerate_single_values
from napari_histoseg.models.zoo._parts import timm_network
from napari_histoseg.models.zoo.cellularity import check_one_score, halve_first_stage
from napari_histoseg.models.zoo.deeplabv3plus import deeplab

# Stem, pooling and four stages of stride 2 each.
_MULTIPLE = 64

SPEC = ModelSpec(
    id="cellularity_guided",
    title="Cellularity, segmentation-guided",
    paper="Wang, Yu and Wang, segmentation-guided regression for cellularity",
    task="regression",
    classes=(LabelClass(1, "cellularity", "#D55E00"),),
    mpp=0.5,
    tile_px=512,
    halo_px=0,
    required_multiple=_MULTIPLE,
    is_local=False,
    golden_parameters=104_340_609,
    paper_input=(512, 512),
    gflops=163.56,
    normalisation="imagenet",
    pretrained="weights of deeplabv3plus for the guide; timm resnet101.a1h_in1k (Apache-2.0) for both encoders",
)

_PYRAMID_CHANNELS = 256


class GuidedRegressor(nn.Module):
    """DeepLabv3+ up to its pyramid pooling beside a ResNet whose second stage takes in what it sees."""

    def __init__(self, *, encoder: str, guide: str) -> None:
        super().__init__()
        self.encoders = {"regression": encoder, "guide.model": guide}
        step1: Any = deeplab(1, guide, 16)
        self.guide: nn.Module = step1.encoder
        self.pyramid: nn.Module = step1.decoder.aspp[0]
        net: Any = timm_network(encoder, num_classes=0)
        if not hasattr(net, "layer1") or not hasattr(net, "act1"):
            raise ModelError(f"The guided network needs a ResNet of timm, not '{encoder}'; take resnet50 or resnet101.")
        halve_first_stage(net, encoder)
        self.regression: nn.Module = net
        channels = int(net.feature_info[2]["num_chs"])
        self.fuse = nn.Sequential(
            nn.Conv2d(_PYRAMID_CHANNELS + channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.head = nn.Linear(int(net.num_features), 1)
        for layer in [*self.regression.modules(), *self.fuse]:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        tolerate_single_values(self)

    def forward(self, image: Tensor) -> Tensor:
        """Scores (N,) in 0..1 of images (N, 3, H, W) whose sides are multiples of 64."""
        check_multiple("A cellularity network", image, _MULTIPLE)
        seen = self.pyramid(self.guide(image)[-1])
        net: Any = self.regression
        x = net.layer2(net.layer1(net.maxpool(net.act1(net.bn1(net.conv1(image))))))
        x = self.fuse(torch.cat([seen, x], dim=1))
        score: Tensor = torch.sigmoid(self.head(net.global_pool(net.layer4(net.layer3(x)))))[:, 0]
        return score


def guide_by(network: nn.Module, segmentation: nn.Module) -> None:
    """Copy encoder and pyramid pooling of a trained step 1 into the guided network.

    Parameters
    ----------
    network : nn.Module
        As model ``cellularity_guided`` builds it.
    segmentation : nn.Module
        As model ``deeplabv3plus`` builds it, with the same encoder and any number of classes.

    Raises
    ------
    ModelError
        When one of them is another kind of network, or their encoders differ.
    """
    step1: Any = getattr(segmentation, "model", None)
    if not isinstance(network, GuidedRegressor) or not hasattr(getattr(step1, "decoder", None), "aspp"):
        raise ModelError("Only a cellularity_guided network can be guided, and only by a deeplabv3plus network.")
    try:
        network.guide.load_state_dict(step1.encoder.state_dict())
        network.pyramid.load_state_dict(step1.decoder.aspp[0].state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"The segmentation network has another encoder than the guide '{network.encoders['guide.model']}'; "
            "build the guided network with that encoder as its guide."
        ) from error


@register(SPEC)
def build(num_classes: int, *, encoder: str = "resnet101", guide: str = "resnet101") -> nn.Module:
    """The network with random weights.

    Parameters
    ----------
    num_classes : int
        1, since there is one score.
    encoder : str
        A ResNet of timm with bottlenecks, which computes the score.
    guide : str
        The encoder of step 1.
    """
    check_one_score(num_classes)
    return GuidedRegressor(encoder=encoder, guide=guide)
