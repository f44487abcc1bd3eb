"""UNet++ (Zhou et al. 2018): a U-Net whose skip connections are grids of convolutions.

Node ``X(i, j)`` stands at level i (resolution 1 / 2^i) and column j: column 0 is the encoder, and each further node
joins all nodes before it at its level with the node below, brought to its size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from napari_histoseg.core.schemas import BCSS5
from napari_histoseg.models.outputs import NetworkOutput
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec

_LEVELS = 4

# Upsampling with aligned corners stretches each map by a factor that depends on the size of the tile, so a tile never
# agrees to the last digit with the whole image; tiles are blended instead.
SPEC = ModelSpec(
    id="unetpp",
    title="UNet++",
    paper="Zhou et al. 2018, DLMIA",
    task="semantic",
    classes=BCSS5.classes,
    mpp=0.25,
    tile_px=768,
    halo_px=128,
    required_multiple=2**_LEVELS,
    is_local=False,
    golden_parameters=9_163_461,
    paper_input=(768, 768),
    gflops=620.89,
)
DEEP = replace(
    SPEC,
    id="unetpp_deep",
    title="UNet++ with deep supervision",
    golden_parameters=9_163_956,
    gflops=621.46,
    variant={"deep_supervision": True},
)


class _DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU(True)]
        super().__init__(*layers)


class UNetPlusPlus(nn.Module):
    """The grid of nodes; parameters as in :func:`build`."""

    def __init__(self, num_classes: int, *, width: int, deep_supervision: bool) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS + 1)]
        self.down = nn.ModuleList(
            _DoubleConv(before, after) for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        # One list for each column j; its k-th node is X(k, j).
        self.columns = nn.ModuleList(
            nn.ModuleList(_DoubleConv(j * widths[i] + widths[i + 1], widths[i]) for i in range(_LEVELS + 1 - j))
            for j in range(1, _LEVELS + 1)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in range(_LEVELS if deep_supervision else 1))

    def forward(self, image: Tensor) -> NetworkOutput:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W) whose sides are multiples of 16.

        With deep supervision, in training mode, ``{"out": ..., "aux": ...}``: the logits of X(0, 4), and those of
        X(0, 1) to X(0, 3). In evaluation mode the logarithm of the mean probability of all four.
        """
        check_multiple(SPEC.title, image, SPEC.required_multiple)
        rows: list[list[Tensor]] = []
        for block in self.down:
            rows.append([block(self.pool(rows[-1][0]) if rows else image)])
        for column in self.columns:
            for i, node in enumerate(cast("nn.ModuleList", column)):
                rows[i].append(node(torch.cat([*rows[i], self.up(rows[i + 1][-1])], dim=1)))
        outs: list[Tensor] = [head(x) for head, x in zip(self.heads, rows[0][-len(self.heads) :], strict=True)]
        out, aux = outs[-1], outs[:-1]
        if aux and not self.training:
            return _mean_probability(outs)
        return {"out": out, "aux": aux} if aux else out


def _mean_probability(logits: list[Tensor]) -> Tensor:
    """Logits whose softmax is the mean of the softmax of all."""
    return torch.stack([x.log_softmax(dim=1) for x in logits]).logsumexp(dim=0)


@register(SPEC, DEEP)
def build(num_classes: int, *, width: int = 32, deep_supervision: bool = False) -> nn.Module:
    """A UNet++ with random weights.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    width : int
        Channels of the first level; each level below has twice as many.
    deep_supervision : bool
        Four heads instead of one, on X(0, 1) to X(0, 4); all are trained, and their probabilities averaged.
    """
    return UNetPlusPlus(num_classes, width=width, deep_supervision=deep_supervision)
