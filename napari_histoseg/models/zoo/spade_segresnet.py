"""SPADESegResNet (Deshpande): a residual network whose blocks are modulated by the image itself.

Each residual block normalises its features and then scales and shifts them by what two convolutions see in the
input image at that resolution (Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization").
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_histoseg.core.schema import LabelClass
from napari_histoseg.core.schemas import BCSS5
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec

# The stride is 8, but instance normalisation needs more than one pixel at the coarsest level.
_MULTIPLE = 16

SPEC = ModelSpec(
    id="spade_segresnet",
    title="SPADESegResNet",
    paper="Deshpande, SPADESegResNet for breast cancer tissue (BCSS)",
    task="semantic",
    classes=BCSS5.classes,
    mpp=0.25,
    tile_px=768,
    halo_px=128,
    required_multiple=_MULTIPLE,
    is_local=False,
    golden_parameters=38_566_533,
    paper_input=(768, 768),
    gflops=813.0,
)
RELEASE = replace(
    SPEC,
    id="spade_segresnet_release",
    title="SPADESegResNet as released",
    classes=(LabelClass(0, "don't care", "#444444"), *BCSS5.classes),
    golden_parameters=10_217_158,
    gflops=816.69,
    variant={"tied": True, "tanh_logits": True},
)
ABLATION = replace(
    SPEC,
    id="spade_segresnet_ablation",
    title="SegResNet, instance norm instead of SPADE",
    golden_parameters=26_734_213,
    gflops=595.0,
    variant={"spade": False},
)

_HIDDEN = 128

# Rows: haematoxylin, eosin, DAB; Ruifrok and Johnston (2001), Anal. Quant. Cytol. Histol. 23:291.
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


class Spade(nn.Module):
    """Normalisation without weights, then scale and shift seen in the condition image."""

    def __init__(self, channels: int, norm: Literal["instance", "batch"]) -> None:
        super().__init__()
        self.norm: nn.Module = (
            nn.InstanceNorm2d(channels) if norm == "instance" else nn.BatchNorm2d(channels, affine=False)
        )
        self.shared = nn.Conv2d(3, _HIDDEN, 3, padding=1)
        self.gamma = nn.Conv2d(_HIDDEN, channels, 3, padding=1)
        self.beta = nn.Conv2d(_HIDDEN, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        seen = functional.relu(self.shared(functional.interpolate(condition, size=x.shape[-2:], mode="nearest")))
        modulated: Tensor = self.norm(x) * (1 + self.gamma(seen)) + self.beta(seen)
        return modulated


class PlainNorm(nn.InstanceNorm2d):
    """Instance normalisation with one learned scale and shift per channel; looks at no condition."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # type: ignore[override]
        normalised: Tensor = super().forward(x)
        return normalised


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside an identity."""

    def __init__(self, channels: int, spade: Literal["instance", "batch"] | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = (Spade(channels, spade) if spade else PlainNorm(channels) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h: Tensor = self.conv1(functional.leaky_relu(self.norm1(x, condition), 0.2))
        h = self.conv2(functional.leaky_relu(self.norm2(h, condition), 0.2))
        return x + h


class SpadeSegResNet(nn.Module):
    """Three downsamplings, ``n_blocks`` residual blocks, three upsamplings; parameters as in :func:`build`."""

    def __init__(
        self,
        num_classes: int,
        *,
        width: int,
        n_blocks: int,
        tied: bool,
        spade: Literal["instance", "batch"] | None,
        cond: Literal["rgb", "hed"],
        tanh_logits: bool,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.stem = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(fine, coarse, 3, stride=2, padding=1), nn.BatchNorm2d(coarse), nn.ReLU())
            for fine, coarse in pairwise(widths)
        )
        self.blocks = nn.ModuleList(ResidualBlock(widths[-1], spade) for _ in range(1 if tied else n_blocks))
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(coarse, fine, 3, stride=2, padding=1, output_padding=1),
                nn.BatchNorm2d(fine),
                nn.ReLU(),
            )
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, num_classes, 7))
        self.passes = n_blocks
        self.tanh_logits = tanh_logits
        self.stains: Tensor | None
        self.register_buffer("stains", _unmixing() if cond == "hed" else None, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W) whose sides are multiples of 16."""
        check_multiple(SPEC.title, image, _MULTIPLE)
        condition = image if self.stains is None else _stain_amounts(image, self.stains)
        x = self.stem(image)
        for block in self.down:
            x = block(x)
        for i in range(self.passes):
            x = self.blocks[i % len(self.blocks)](x, condition)
        for block in self.up:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits.tanh() if self.tanh_logits else logits


def _unmixing() -> Tensor:
    """The (3, 3) matrix from optical density in R, G, B to amounts of H, E and DAB."""
    stains = np.array(_STAINS)
    inverse = np.linalg.inv(stains / np.linalg.norm(stains, axis=1, keepdims=True))
    return torch.tensor(inverse.tolist(), dtype=torch.float32)


def _stain_amounts(image: Tensor, unmixing: Tensor) -> Tensor:
    """Amounts of haematoxylin, eosin and DAB of an image in 0..1."""
    density = -torch.log10(image.clamp(min=1e-3))
    return torch.einsum("nchw,cs->nshw", density, unmixing)


@register(SPEC, RELEASE, ABLATION)
def build(
    num_classes: int,
    *,
    width: int = 64,
    n_blocks: int = 5,
    tied: bool = False,
    spade: bool | Literal["instance", "batch"] = True,
    cond: Literal["rgb", "hed"] = "rgb",
    tanh_logits: bool = False,
) -> nn.Module:
    """The network of the report; the options give the release and the ablations.

    Parameters
    ----------
    num_classes : int
        Channels of the logits. The release has one more than the tissue classes, "don't care", as the first.
    width : int
        Channels of the first level.
    n_blocks : int
        Residual blocks.
    tied : bool
        Pass ``n_blocks`` times through one block, as the released code does.
    spade : bool or {"instance", "batch"}
        Normalisation inside SPADE, True being instance; False puts affine instance normalisation in SPADE's place.
    cond : {"rgb", "hed"}
        What modulates: the image or its stain amounts.
    tanh_logits : bool
        Squash the logits as the released code does; caps the softmax probability at 0.6 with six classes.
    """
    norm: Literal["instance", "batch"] | None = ("instance" if spade is True else spade) or None
    return SpadeSegResNet(
        num_classes,
        width=width,
        n_blocks=n_blocks,
        tied=tied,
        spade=norm,
        cond=cond,
        tanh_logits=tanh_logits,
    )
