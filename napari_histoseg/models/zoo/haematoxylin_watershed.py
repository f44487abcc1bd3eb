"""Nuclei without learning: haematoxylin by stain unmixing, a threshold that adapts to the place, no weights.

Touching nuclei are parted afterwards, as for every model of nuclei (``inference.instances``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.schemas import NUCLEI
from napari_histoseg.core.stains import RUIFROK
from napari_histoseg.models.registry import register
from napari_histoseg.models.spec import ModelSpec

SPEC = ModelSpec(
    id="haematoxylin_watershed",
    title="Haematoxylin watershed (no learning)",
    paper="Ruifrok & Johnston 2001; Otsu 1979",
    task="instance",
    classes=NUCLEI.classes,
    mpp=0.25,
    tile_px=1024,
    halo_px=128,
    required_multiple=1,
    is_local=False,
    golden_parameters=0,
    paper_input=(1000, 1000),
    gflops=0.0523,
    needs_weights=False,
)

_SIGMA_PX = 1.6
_RADIUS_PX = 6
_NEIGHBOURHOOD_PX = 141
_BINS = 256
_LEAST = 0.2  # optical density; what is paler is no nucleus, even on a window without any
_STEEPNESS = 12.0


class HaematoxylinThreshold(nn.Module):
    """Logits from the amount of haematoxylin above a threshold; it has no parameters.

    The threshold is the mean of Otsu's for the whole window, which keeps pale regions empty, and of the average in a
    neighbourhood of about 35 µm, which follows changes of the stain.
    """

    unmix: Tensor
    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        vectors = F.normalize(torch.tensor(RUIFROK, dtype=torch.float32), dim=1)
        offset = torch.arange(-_RADIUS_PX, _RADIUS_PX + 1, dtype=torch.float32)
        kernel = torch.exp(-(offset**2) / (2 * _SIGMA_PX**2))
        self.register_buffer("unmix", _first_column_of_inverse(vectors).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("kernel", (kernel / kernel.sum()).view(1, 1, 1, -1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 2, H, W), background and nucleus, of RGB images (N, 3, H, W) in 0..1 of any size."""
        amount = self._smooth((-torch.log((255 * image + 1) / 256) * self.unmix).sum(dim=1, keepdim=True))
        threshold = (otsu(amount.flatten(1)).view(-1, 1, 1, 1) + local_mean(amount)) / 2
        half = _STEEPNESS / 2 * (amount - threshold.clamp_min(_LEAST))
        return torch.cat([-half, half], dim=1)

    def _smooth(self, amount: Tensor) -> Tensor:
        """Gaussian of 0.4 µm, which evens out chromatin."""
        padded = F.pad(amount, (_RADIUS_PX,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, self.kernel), self.kernel.mT)


def otsu(values: Tensor) -> Tensor:
    """Otsu's threshold (1979) of each row: the one that leaves the most variance between the two sides.

    Parameters
    ----------
    values : Tensor, shape (N, P)

    Returns
    -------
    Tensor, shape (N,)
        Middle of the last of 256 equal bins that is below; the value itself where a row has only one.
    """
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    width = (high - low) / _BINS
    bins = ((values - low) / width.clamp_min(torch.finfo(values.dtype).tiny)).long().clamp(0, _BINS - 1)
    counts = torch.zeros(len(values), _BINS, dtype=torch.long, device=values.device)
    counts = counts.scatter_add_(1, bins, torch.ones_like(bins)).double()
    middles = low + width * (torch.arange(_BINS, device=values.device) + 0.5)
    below, total = counts.cumsum(dim=1), counts.sum(dim=1, keepdim=True)
    sum_below = (counts * middles).cumsum(dim=1)
    mean_below = sum_below / below.clamp_min(1)
    mean_above = (sum_below[:, -1:] - sum_below) / (total - below).clamp_min(1)
    between = below * (total - below) * (mean_below - mean_above) ** 2
    best = between.argmax(dim=1, keepdim=True)
    return middles.gather(1, best)[:, 0]


def _first_column_of_inverse(vectors: Tensor) -> Tensor:
    """The cross product form, which unlike ``torch.linalg.inv`` also works where tensors hold no data."""
    first, second, third = vectors
    across: Tensor = torch.linalg.cross(second, third)
    column: Tensor = across / (first * across).sum()
    return column


def local_mean(amount: Tensor) -> Tensor:
    """Mean over a square around each pixel, of what lies inside the image."""
    for axis in (2, 3):
        size = amount.shape[axis]
        place = torch.arange(size, device=amount.device)
        first = (place - _NEIGHBOURHOOD_PX // 2).clamp_min(0)
        after = (place + _NEIGHBOURHOOD_PX // 2 + 1).clamp_max(size)
        sums = F.pad(amount.cumsum(dim=axis), (0, 0, 1, 0) if axis == 2 else (1, 0))
        means = (sums.index_select(axis, after) - sums.index_select(axis, first)).movedim(axis, -1) / (after - first)
        amount = means.movedim(-1, axis)
    return amount


@register(SPEC)
def build(num_classes: int) -> nn.Module:
    """The method for its two classes; ``ModelError`` for any other number, since it cannot learn them."""
    if num_classes != len(SPEC.classes):
        raise ModelError(
            f"{SPEC.title} tells nuclei from background and cannot learn {num_classes} classes; choose another model."
        )
    return HaematoxylinThreshold()
