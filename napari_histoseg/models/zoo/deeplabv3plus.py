"""DeepLabv3+ (Chen et al. 2018) with ResNet-101 at output stride 16, from segmentation-models-pytorch.

It is step 1 of the cellularity regression of Wang, Yu and Wang. The library's decoder differs from the paper's: a
separable 3x3 convolution follows the pyramid pooling (68,352 weights) and one separable 3x3 convolution joins it with
the fine features (81,072 weights), where the paper has two full ones (1,291,264 weights). It has therefore 58,198,100
parameters and not 59,339,940; encoder and pyramid pooling, which step 2 takes over, are the same.
"""

from __future__ import annotations

from typing import Literal

import torch
from segmentation_models_pytorch import DeepLabV3Plus
from torch import nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schemas import CELLULARITY
from napari_histoseg.models.registry import register
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.zoo._parts import SmpNetwork, timm_network

_MULTIPLE = 16

SPEC = ModelSpec(
    id="deeplabv3plus",
    title="DeepLabv3+",
    paper="Wang, Yu and Wang, segmentation-guided regression for cellularity (step 1); Chen et al. 2018, ECCV",
    task="semantic",
    classes=CELLULARITY.classes,
    mpp=0.5,
    tile_px=512,
    halo_px=128,
    required_multiple=_MULTIPLE,
    is_local=False,
    golden_parameters=58_198_100,
    paper_input=(256, 256),
    gflops=34.40,
    normalisation="imagenet",
    pretrained="timm resnet101.a1h_in1k (Apache-2.0)",
)


@register(SPEC)
def build(num_classes: int, *, encoder: str = "resnet101", output_stride: Literal[8, 16] = 16) -> SmpNetwork:
    """The network with random weights.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    encoder : str
        A residual network of timm.
    output_stride : {16, 8}
        By how much the coarsest features are smaller than the image.
    """
    return SmpNetwork(
        deeplab(num_classes, encoder, output_stride), _MULTIPLE, SPEC.title, {"model.encoder.model": encoder}
    )


def deeplab(num_classes: int, encoder: str, output_stride: int) -> nn.Module:
    """The library's network in the paper's configuration: full convolutions, dilations 6, 12, 18, dropout 0.1."""
    if output_stride not in (8, 16):
        raise ModelError(f"DeepLabv3+ has no output stride {output_stride}; choose 8 or 16.")
    with torch.device("meta"):
        timm_network(encoder, features_only=True, output_stride=output_stride)  # a readable error where it cannot be
    network: nn.Module = DeepLabV3Plus(
        encoder_name=f"tu-{encoder}",
        encoder_weights=None,
        encoder_output_stride=output_stride,
        decoder_atrous_rates=tuple(rate * 16 // output_stride for rate in (6, 12, 18)),
        decoder_aspp_separable=False,
        decoder_aspp_dropout=0.1,
        classes=num_classes,
    )
    return network
