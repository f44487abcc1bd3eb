"""What one optimiser step learns from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with what is known about their pixels.

    Parameters
    ----------
    image : Tensor, shape (N, 3, H, W), float32
        RGB in 0..1, or already normalised for the network.
    labels : Tensor, shape (N, H, W), int64
        Channel index of the right class, or ``IGNORE``.
    weight : Tensor, shape (N, H, W), float32, optional
        Trust in each label; 1 where absent.
    soft : Tensor, shape (N, C, H, W), float32, optional
        Class probabilities to stay close to (another model's output).
    soft_weight : Tensor, shape (N, H, W), float32, optional
        Where and how strongly ``soft`` counts; 0 means not at all.
    score : Tensor, shape (N,), float32, optional
        The true number of each image, for regression; NaN where unknown.
    """

    image: Tensor
    labels: Tensor
    weight: Tensor | None = None
    soft: Tensor | None = None
    soft_weight: Tensor | None = None
    score: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }
        return replace(self, **moved)
