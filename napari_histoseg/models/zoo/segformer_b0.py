"""SegFormer-B0 (Xie et al. 2021): a small hierarchical vision transformer with a decoder of 1x1 convolutions.

Four stages look at the image at 1/4, 1/8, 1/16 and 1/32. Attention asks every position but answers from a reduced
grid, so that its cost stays bearable on large tiles; a depthwise convolution in each block tells where things are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_histoseg.core.schemas import BCSS5
from napari_histoseg.models.registry import register
from napari_histoseg.models.sides import check_multiple
from napari_histoseg.models.spec import ModelSpec

SPEC = ModelSpec(
    id="segformer_b0",
    title="SegFormer-B0",
    paper="Xie et al. 2021, NeurIPS",
    task="semantic",
    classes=BCSS5.classes,
    mpp=0.25,
    tile_px=768,
    halo_px=128,
    required_multiple=32,
    is_local=False,
    golden_parameters=3_715_429,
    paper_input=(768, 768),
    gflops=40.86,
)

_HEADS = (1, 2, 5, 8)
_REDUCTIONS = (8, 4, 2, 1)
_DEPTH = 2
_MLP_RATIO = 4
_INIT_SD = 0.02


class Attention(nn.Module):
    """Self-attention whose keys and values come from a grid that is ``reduction`` times coarser (Xie et al., eq. 2)."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.reduce: nn.Module | None = None
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Tokens (N, H*W, channels), row by row, to the same."""
        n, count, channels = x.shape
        seen = x
        if self.reduce is not None:
            grid = x.transpose(1, 2).reshape(n, channels, height, width)
            seen = self.norm(self.reduce(grid).flatten(2).transpose(1, 2))
        query = self.query(x).view(n, count, self.heads, -1).transpose(1, 2)
        key, value = self.key_value(seen).view(n, seen.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(mixed.transpose(1, 2).reshape(n, count, channels))
        return projected


class MixFeedForward(nn.Module):
    """Two linear layers with a depthwise 3x3 convolution between them (Xie et al., eq. 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _MLP_RATIO * channels
        self.widen = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.narrow = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        h = self.widen(x)
        grid = h.transpose(1, 2).reshape(h.shape[0], h.shape[2], height, width)
        h = self.depthwise(grid).flatten(2).transpose(1, 2)
        narrowed: Tensor = self.narrow(functional.gelu(h))
        return narrowed


class Block(nn.Module):
    """Attention and feed-forward, each normalised before and added to what came in."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, heads, reduction)
        self.feed_forward = MixFeedForward(channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self.attention(self.norm1(x), height, width)
        x = x + self.feed_forward(self.norm2(x), height, width)
        return x


class Stage(nn.Module):
    """Overlapping patches of the map before, then transformer blocks."""

    def __init__(self, before: int, channels: int, heads: int, reduction: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(before, channels, kernel, stride=stride, padding=kernel // 2)
        self.embed_norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(Block(channels, heads, reduction) for _ in range(_DEPTH))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        grid: Tensor = self.embed(x)
        height, width = grid.shape[-2:]
        tokens = self.embed_norm(grid.flatten(2).transpose(1, 2))
        for block in self.blocks:
            tokens = block(tokens, height, width)
        out: Tensor = self.norm(tokens).transpose(1, 2).reshape(grid.shape)
        return out


class SegFormer(nn.Module):
    """The four stages and the decoder; parameters as in :func:`build`."""

    def __init__(self, num_classes: int, *, width: int) -> None:
        super().__init__()
        channels = [width * heads for heads in _HEADS]
        decoder = 8 * width
        self.stages = nn.ModuleList(
            Stage(before, after, heads, reduction, kernel=3 if k else 7, stride=2 if k else 4)
            for k, (before, after, heads, reduction) in enumerate(
                zip([3, *channels[:-1]], channels, _HEADS, _REDUCTIONS, strict=True)
            )
        )
        self.unify = nn.ModuleList(nn.Conv2d(c, decoder, 1) for c in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(len(channels) * decoder, decoder, 1, bias=False), nn.BatchNorm2d(decoder), nn.ReLU(inplace=True)
        )
        self.head = nn.Conv2d(decoder, num_classes, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, 3, H, W) whose sides are multiples of 32."""
        check_multiple(SPEC.title, image, SPEC.required_multiple)
        x = image
        maps: list[Tensor] = []
        for stage, unify in zip(self.stages, self.unify, strict=True):
            x = stage(x)
            same = unify(x)
            maps.append(_resized(same, maps[0].shape[-2:]) if maps else same)
        logits = self.head(self.fuse(torch.cat(maps[::-1], dim=1)))
        return _resized(logits, image.shape[-2:])


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _initialise(layer: nn.Module) -> None:
    """Normal weights: of small deviation in linear layers, by the fan-out in convolutions."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=_INIT_SD)
    elif isinstance(layer, nn.Conv2d):
        fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
        nn.init.normal_(layer.weight, std=(2.0 / fan_out) ** 0.5)
    if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)


@register(SPEC)
def build(num_classes: int, *, width: int = 32) -> nn.Module:
    """A SegFormer with random weights.

    Parameters
    ----------
    num_classes : int
        Channels of the logits.
    width : int
        Channels of one attention head and of the first stage; 32 is B0, 64 has the channels of B1.
    """
    return SegFormer(num_classes, width=width)
