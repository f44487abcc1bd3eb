"""U-Net# (Stagys): every decoder level sees all finer encoder levels, all coarser decoder levels and the bridge.

The number of inputs of a level is always five groups of 64 channels, the encoder's filtered by attention gates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schemas import PANNUKE
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec
from napari_histoseg.models.zoo._norms import tolerate_single_values
from napari_histoseg.models.zoo._parts import timm_features

_MULTIPLE = 32
_GROUP = 64
_LEVELS = 4

SPEC = ModelSpec(
    id="unetsharp",
    title="U-Net#",
    paper="Stagys, U-Net# for nuclei of 19 tissues (PanNuke)",
    task="semantic",
    classes=PANNUKE.classes,
    mpp=0.25,
    tile_px=224,
    halo_px=64,
    required_multiple=_MULTIPLE,
    is_local=False,
    golden_parameters=57_342_820,
    golden_trainable=57_204_964,
    paper_input=(224, 224),
    gflops=69.29,
    normalisation="imagenet",
    pretrained=(
        "timm resnext101_32x4d.gluon_in1k (Apache-2.0); the paper's are fb_swsl_ig1b_ft_in1k (CC-BY-NC-4.0, not for "
        "commercial use), from a file"
    ),
)
PAPER_FORWARD = replace(
    SPEC,
    id="unetsharp_paper_forward",
    title="U-Net# as released",
    golden_parameters=52_623_972,
    golden_trainable=52_486_116,
    gflops=68.83,
    variant={"bridge": "paper_forward"},
)


class ConvMishNorm(nn.Sequential):
    """Convolution, Mish, batch normalisation, in this order: the activation comes before the normalisation."""

    def __init__(self, channels: int, out: int, kernel: int = 3, *, dilation: int = 1, bias: bool = True) -> None:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=bias)
        super().__init__(conv, nn.Mish(), nn.BatchNorm2d(out))


class Aspp(nn.Module):
    """The coarsest features at several dilations and averaged over the image, joined to one group of channels."""

    def __init__(self, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.point = ConvMishNorm(channels, _GROUP, 1, bias=False)
        self.dilated = nn.ModuleList(ConvMishNorm(channels, _GROUP, dilation=rate, bias=False) for rate in rates)
        self.average = ConvMishNorm(channels, _GROUP, 1, bias=False)
        self.join = ConvMishNorm((2 + len(rates)) * _GROUP, _GROUP, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        average = self.average(x.mean(dim=(-2, -1), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        joined: Tensor = self.join(torch.cat([self.point(x), *(branch(x) for branch in self.dilated), average], dim=1))
        return joined


class AttentionGate(nn.Module):
    """Encoder features weighted, pixel by pixel, by how well they go with the gate (Oktay et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.of_gate = nn.Sequential(nn.Conv2d(_GROUP, _GROUP, 1), nn.BatchNorm2d(_GROUP))
        self.of_skip = nn.Sequential(nn.Conv2d(_GROUP, _GROUP, 1), nn.BatchNorm2d(_GROUP))
        self.weight = nn.Sequential(nn.ReLU(), nn.Conv2d(_GROUP, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        weighted: Tensor = skip * self.weight(self.of_gate(gate) + self.of_skip(skip))
        return weighted


class Level(nn.Module):
    """One decoder level, 1 the finest and 4 the coarsest, at the resolution of that encoder level."""

    def __init__(self, level: int, encoder_channels: list[int], *, attention: bool, residual: bool) -> None:
        super().__init__()
        width = (_LEVELS + 1) * _GROUP
        self.level = level
        self.skips = nn.ModuleList(ConvMishNorm(channels, _GROUP) for channels in encoder_channels[:level])
        self.gates = nn.ModuleList(AttentionGate() for _ in range(level)) if attention else None
        self.deeper = nn.ModuleList(ConvMishNorm(width, _GROUP) for _ in range(level, _LEVELS))
        self.residual = nn.Conv2d(encoder_channels[-1], _GROUP, 3, padding=1) if residual else None
        if self.residual is not None:
            nn.init.zeros_(self.residual.weight)
            nn.init.zeros_(self.residual.bias)  # type: ignore[arg-type]
        self.bridge_norm = nn.BatchNorm2d(_GROUP)
        self.fuse = ConvMishNorm(width, width)

    def forward(self, encoded: list[Tensor], bridge: Tensor, decoded: list[Tensor]) -> Tensor:
        """Features (N, 320, h, w) from those of the encoder, finest first, and of coarser levels, coarsest last."""
        size = encoded[self.level - 1].shape[-2:]
        if self.residual is not None:
            bridge = bridge + self.residual(encoded[-1])
        below = self.bridge_norm(functional.mish(_enlarge(bridge, size)))
        deeper = [conv(_enlarge(x, size)) for conv, x in zip(self.deeper, decoded, strict=True)]
        gate = deeper[0] if deeper else below
        skips = []
        for i, conv in enumerate(self.skips):
            skip = conv(functional.max_pool2d(encoded[i], 2 ** (self.level - 1 - i), ceil_mode=True))
            skips.append(skip if self.gates is None else self.gates[i](gate, skip))
        fused: Tensor = self.fuse(torch.cat([*skips, *deeper, below], dim=1))
        return fused


def _enlarge(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class UNetSharp(nn.Module):
    """Encoder of timm, bridge, four fully connected decoder levels; parameters as in :func:`build`.

    The scale and shift of the encoder's batch normalisation never learn. With ``bn_stats="frozen"`` their running
    statistics do not move in training either, so that a few edited tiles cannot spoil them.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: str,
        bridge: Literal["residual", "paper_forward"],
        bn_stats: Literal["frozen", "update"],
        attention: bool,
        aspp: bool,
        rates: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.encoders = {"encoder": encoder}
        self.bn_stats = bn_stats
        self.encoder, channels = _encoder(encoder)
        self.bridge = Aspp(channels[-1], rates) if aspp else ConvMishNorm(channels[-1], _GROUP, 1, bias=False)
        self.levels = nn.ModuleList(
            Level(level, channels, attention=attention, residual=bridge == "residual")
            for level in range(1, _LEVELS + 1)
        )
        self.head = nn.Conv2d((_LEVELS + 1) * _GROUP, num_classes, 3, padding=1)
        tolerate_single_values(self)
        for norm in self._encoder_norms():
            # timm starts the last one of a residual branch at zero; as it never learns, the branch would stay dead.
            nn.init.ones_(norm.weight)
            norm.requires_grad_(False)

    def _encoder_norms(self) -> list[nn.BatchNorm2d]:
        return [layer for layer in self.encoder.modules() if isinstance(layer, nn.BatchNorm2d)]

    def train(self, mode: bool = True) -> UNetSharp:
        super().train(mode)
        if self.bn_stats == "frozen":
            for norm in self._encoder_norms():
                norm.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W) whose sides are multiples of 32."""
        check_multiple(SPEC.title, image, _MULTIPLE)
        encoded = self.encoder(image)
        bridge = self.bridge(encoded[-1])
        decoded: list[Tensor] = []
        for level in reversed(self.levels):
            decoded.insert(0, level(encoded, bridge, decoded))
        logits: Tensor = self.head(_enlarge(decoded[0], image.shape[-2:]))
        return logits


def _encoder(name: str) -> tuple[nn.Module, list[int]]:
    """A timm network that gives feature maps at five resolutions, and their channels."""
    encoder, channels, reductions = timm_features(name)
    if reductions != [2, 4, 8, 16, 32]:
        raise ModelError(
            f"U-Net# needs an encoder with features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image, but '{name}' has "
            f"them at {', '.join(f'1/{n}' for n in reductions)}; take a ResNet, ResNeXt or EfficientNet."
        )
    return encoder, channels


@register(SPEC, PAPER_FORWARD)
def build(
    num_classes: int,
    *,
    encoder: str = "resnext101_32x4d.gluon_in1k",
    bridge: Literal["residual", "paper_forward"] = "residual",
    bn_stats: Literal["frozen", "update"] = "frozen",
    attention: bool = True,
    aspp: bool = True,
    rates: tuple[int, ...] = (6, 12, 18),
) -> nn.Module:
    """The network of the report with random weights; the options give the release and the ablations.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    encoder : str
        Any network of timm with features at five resolutions; a tag after the dot says which pretrained weights are
        meant when somebody asks for them.
    bridge : {"residual", "paper_forward"}
        ``residual`` adds to the bridge, at each level, a convolution of the coarsest features that starts at zero:
        with it every one of the published 57.2 million weights is used, and the start is that of ``paper_forward``,
        the function that the published results come from.
    bn_stats : {"frozen", "update"}
        Whether the running statistics of the encoder move in training. Take ``update`` where the encoder starts
        from random weights, whose statistics mean nothing.
    attention : bool
        Filter the encoder's features by attention gates.
    aspp : bool
        Look at the coarsest features at several dilations; otherwise through one 1 x 1 convolution.
    rates : tuple of int
        The dilations.
    """
    if bridge not in ("residual", "paper_forward"):
        raise ModelError(f"U-Net# has no bridge '{bridge}'; choose 'residual' or 'paper_forward'.")
    if bn_stats not in ("frozen", "update"):
        raise ModelError(f"U-Net# has no bn_stats '{bn_stats}'; choose 'frozen' or 'update'.")
    return UNetSharp(
        num_classes,
        encoder=encoder,
        bridge=bridge,
        bn_stats=bn_stats,
        attention=attention,
        aspp=aspp,
        rates=tuple(rates),
    )
