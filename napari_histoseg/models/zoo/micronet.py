"""Micro-Net (Raza et al. 2019; Bhatt, Podduturi and Yi): valid convolutions fed by the image at four resolutions.

Every 3x3 convolution is without padding and followed by tanh, so the sizes of all maps are fixed by the size of the
input; they fit together for squares of 508 and of 252 pixels only. The network has one group of layers going down
(B1 to B5), one going up (B6 to B10), and three masks with an auxiliary output each, which the last layer joins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.core.schemas import GLANDS, NUCLEI
from napari_histoseg.models.outputs import NetworkOutput
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_square
from napari_histoseg.models.spec import ModelSpec

FULL = ModelSpec(
    id="micronet_508",
    title="Micro-Net-508",
    paper="Bhatt, Podduturi and Yi, after Raza et al. 2019, MedIA",
    task="semantic",
    classes=(*GLANDS.classes, LabelClass(2, "gland contour", "#E69F00")),
    mpp=0.62,
    tile_px=508,
    halo_px=128,
    required_multiple=1,
    is_local=False,
    golden_parameters=457_050_380,
    paper_input=(508, 508),
    gflops=1334.81,
    input_px=508,
)
NARROW = replace(
    FULL,
    id="micronet_508_w16",
    title="Micro-Net-508, a quarter as wide",
    golden_parameters=28_582_220,
    gflops=84.84,
    variant={"width": 16},
)
MINUS = replace(
    FULL,
    id="micronet_508_minus",
    title="Micro-Net-508 without multi-resolution input",
    golden_parameters=425_493_708,
    gflops=1183.19,
    variant={"multi_resolution": False},
)
SMALL = replace(
    FULL,
    id="micronet_252",
    title="Micro-Net-252",
    paper="Raza et al. 2019, MedIA",
    task="instance",
    classes=NUCLEI.classes,
    mpp=0.25,
    tile_px=252,
    halo_px=64,
    golden_parameters=184_400_264,
    paper_input=(252, 252),
    gflops=288.32,
    input_px=252,
    variant={"size_px": 252},
)
SMALL_MINUS = replace(
    SMALL,
    id="micronet_252_minus",
    title="Micro-Net-252 without multi-resolution input",
    golden_parameters=152_843_592,
    gflops=255.65,
    variant={"size_px": 252, "multi_resolution": False},
)

_DOWN = 4


class _Pair(nn.Sequential):
    """Two valid 3x3 convolutions with tanh, the first batch-normalised when asked."""

    def __init__(self, before: int, after: int, *, batch_norm: bool = False) -> None:
        norm = [nn.BatchNorm2d(after)] if batch_norm else []
        super().__init__(nn.Conv2d(before, after, 3), *norm, nn.Tanh(), nn.Conv2d(after, after, 3), nn.Tanh())


class Down(nn.Module):
    """B1 to B4: convolutions and pooling, beside convolutions of the image shrunk to ``image_px``."""

    def __init__(self, before: int, after: int, image_px: int, *, batch_norm: bool, multi_resolution: bool) -> None:
        super().__init__()
        self.image_px = image_px
        self.main = _Pair(before, after, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(2)
        self.image: nn.Module | None = _Pair(3, after, batch_norm=batch_norm) if multi_resolution else None

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.main(x))
        if self.image is None:
            return pooled
        size = (self.image_px, self.image_px)
        resized = functional.interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=True)
        return torch.cat([pooled, self.image(resized)], dim=1)


class Up(nn.Module):
    """B7 to B10: twice the resolution, joined with the block of that resolution from the way down."""

    def __init__(self, before: int, skipped: int, after: int) -> None:
        super().__init__()
        self.main = _upwards(before, after)
        self.skip = nn.ConvTranspose2d(skipped, after, 5)
        self.fuse = nn.Sequential(nn.Conv2d(2 * after, after, 1), nn.Tanh())

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        fused: Tensor = self.fuse(torch.cat([self.main(x), self.skip(skipped)], dim=1))
        return fused


class Output(nn.Module):
    """Logits from one or more masks."""

    def __init__(self, before: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv = nn.Conv2d(before, num_classes, 3)

    def forward(self, *masks: Tensor) -> Tensor:
        logits: Tensor = self.conv(self.dropout(torch.cat(masks, dim=1)))
        return logits


class MicroNet(nn.Module):
    """The network; parameters as in :func:`build`."""

    def __init__(
        self,
        num_classes: int,
        *,
        size_px: int,
        width: int,
        multi_resolution: bool,
        batch_norm: bool,
        dropout: float,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        is_deep = next((is_deep for is_deep in (True, False) if fits(size_px, is_deep=is_deep)), None)
        if is_deep is None:
            raise ModelError(
                f"Micro-Net exists for tiles of 508 or 252 pixels only, not {size_px}; choose one of them."
            )
        self.size_px = size_px
        self.checkpointing = checkpointing
        widths = [width * 2**level for level in range(_DOWN)]
        out = [2 * w if multi_resolution else w for w in widths]
        self.down = nn.ModuleList(
            Down(before, after, (size_px + 4) >> (level + 1), batch_norm=batch_norm, multi_resolution=multi_resolution)
            for level, (before, after) in enumerate(zip([3, *out[:-1]], widths, strict=True))
        )
        deep = 32 * width
        self.bottom = nn.Sequential(_Pair(out[-1], deep))
        if is_deep:
            self.bottom.extend([nn.MaxPool2d(2), _Pair(deep, deep), _upwards(deep, deep)])
        rising = [2 * w for w in widths[::-1]]
        self.up = nn.ModuleList(
            Up(before, skipped, after)
            for before, skipped, after in zip([deep, *rising[:-1]], out[::-1], rising, strict=True)
        )
        # From B10, B9 and B8, which have 2, 4 and 8 times fewer pixels a side than the masks.
        self.masks = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(before, after, stride, stride=stride), nn.Conv2d(after, after, 3), nn.Tanh()
            )
            for before, after, stride in zip(rising[::-1], widths[:3], (2, 4, 8), strict=False)
        )
        self.auxiliary = nn.ModuleList(Output(w, num_classes, dropout) for w in widths[:3])
        self.head = Output(sum(widths[:3]), num_classes, dropout)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> NetworkOutput:
        """Logits (N, num_classes, size, size) of images (N, 3, size, size).

        In training mode ``{"out": ..., "aux": ...}``, the latter from the masks of B10, B9 and B8.
        """
        check_square("Micro-Net", image, self.size_px)
        x = image
        skipped: list[Tensor] = []
        for down in self.down:
            x = self._run(down, x, image)
            skipped.append(x)
        x = self._run(self.bottom, x)
        risen: list[Tensor] = []
        for up in self.up:
            x = self._run(up, x, skipped.pop())
            risen.append(x)
        masks = [self._run(mask, x) for mask, x in zip(self.masks, risen[::-1], strict=False)]
        out = self._run(self.head, *masks)
        if not self.training:
            return out
        return {"out": out, "aux": [self._run(head, mask) for head, mask in zip(self.auxiliary, masks, strict=True)]}

    def _run(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """The block's output; with ``checkpointing`` its inner maps are computed anew on the way back."""
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            output: Tensor = block(*inputs)
            return output

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(block)

        recomputed: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)
        return recomputed


def fits(size_px: int, *, is_deep: bool) -> bool:
    """Whether the maps of a network for that size can be joined; ``is_deep`` has a pooling in B5, and B6."""
    side, skipped = size_px, []
    for level in range(_DOWN):
        if side % 2 or (side - 4) // 2 != (size_px + 4) / 2 ** (level + 1) - 4:  # beside the image's convolutions
            return False
        side = (side - 4) // 2
        skipped.append(side)
    side = 2 * ((side - 4) // 2 - 4) if is_deep else side - 4
    for size in skipped[::-1]:
        side *= 2
        if side != size + 4:
            return False
    return 2 * side - 4 == size_px


def _upwards(before: int, after: int) -> nn.Sequential:
    """Twice the size: the two convolutions take away what the last layer gives back."""
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, 2, stride=2), _Pair(after, after), nn.ConvTranspose2d(after, after, 5)
    )


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch normalisation counts a batch once, although the block sees it twice."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    counters = [buffer for name, buffer in block.named_buffers() if name.endswith("num_batches_tracked")]
    counts = [counter.clone() for counter in counters]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for counter, count in zip(counters, counts, strict=True):
            counter.copy_(count)


def _initialise(layer: nn.Module) -> None:
    """Glorot and Bengio (2010), made for tanh."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@register(FULL, NARROW, MINUS, SMALL, SMALL_MINUS)
def build(
    num_classes: int,
    *,
    size_px: int = 508,
    width: int = 64,
    multi_resolution: bool = True,
    batch_norm: bool = True,
    dropout: float = 0.5,
    checkpointing: bool = False,
) -> nn.Module:
    """A Micro-Net with random weights.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    size_px : {508, 252}
        Side of the image; the network for 252 lacks the deepest level.
    width : int
        Channels of the first level; 64 in the papers.
    multi_resolution : bool
        Feed the shrunk image to each level on the way down; without it, it is the papers' "Micro-Net-minus".
    batch_norm : bool
        Normalise after the first convolution of each pair in B1 to B4.
    dropout : float
        Share of the masks' values dropped before each output layer.
    checkpointing : bool
        Keep only the blocks' outputs while training and compute the rest again, for less memory and a third more time.
    """
    return MicroNet(
        num_classes,
        size_px=size_px,
        width=width,
        multi_resolution=multi_resolution,
        batch_norm=batch_norm,
        dropout=dropout,
        checkpointing=checkpointing,
    )
