"""U-Net (Ronneberger et al. 2015) with padded convolutions, in the paper's widths or any other."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_histoseg.core.schema import LabelClass
from napari_histoseg.core.schemas import BCSS5, NUCLEI
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec

_LEVELS = 4

# Two 3x3 convolutions per level down and up let a 16-pixel cell of the grid that the four poolings lay over the image
# feel 94 pixels beyond itself; 96 keeps tile corners on that grid.
_HALO_PX = 96

SPEC = ModelSpec(
    id="unet",
    title="U-Net",
    paper="Ronneberger et al. 2015, MICCAI",
    task="semantic",
    classes=BCSS5.classes,
    mpp=0.25,
    tile_px=768,
    halo_px=_HALO_PX,
    required_multiple=2**_LEVELS,
    is_local=True,
    golden_parameters=31_032_005,
    paper_input=(768, 768),
    gflops=867.31,
)
CELLS = replace(
    SPEC,
    id="unet_nuclei",
    title="U-Net for nuclei",
    task="instance",
    classes=(*NUCLEI.classes, LabelClass(2, "boundary", "#D55E00")),
    golden_parameters=1_944_083,
    gflops=54.62,
    variant={"width": 16, "batch_norm": True},
)


class _DoubleConv(nn.Sequential):
    """Two 3x3 convolutions with ReLU, batch-normalised when asked."""

    def __init__(self, in_channels: int, out_channels: int, *, batch_norm: bool) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(nn.Conv2d(channels, out_channels, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):
    """Encoder of five resolutions, decoder that joins each with the one below.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    width : int
        Channels of the first level; each level below has twice as many. The paper's width is 64.
    batch_norm : bool
        Normalise after every 3x3 convolution; learns from few examples where the paper's plain net does not.
    """

    def __init__(self, num_classes: int, *, width: int = 64, batch_norm: bool = False) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS + 1)]
        self.down = nn.ModuleList(
            _DoubleConv(before, after, batch_norm=batch_norm)
            for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.join = nn.ModuleList(_DoubleConv(2 * w, w, batch_norm=batch_norm) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W) whose sides are multiples of 16."""
        check_multiple(SPEC.title, image, SPEC.required_multiple)
        features = [self.down[0](image)]
        for block in self.down[1:]:
            features.append(block(self.pool(features[-1])))
        x = features.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), features.pop()], dim=1))
        logits: Tensor = self.head(x)
        return logits


@register(SPEC, CELLS)
def build(num_classes: int, *, width: int = 64, batch_norm: bool = False) -> nn.Module:
    """A U-Net with random weights; see `UNet` for the options."""
    return UNet(num_classes, width=width, batch_norm=batch_norm)
