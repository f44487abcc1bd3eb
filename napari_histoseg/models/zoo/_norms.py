"""Batch normalisation that can be trained on one image."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ToleratingBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that falls back on its running statistics where a channel has one value only.

    One value has no variance. It comes up in training with a batch of one wherever a map is pooled to 1 x 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        normalised: Tensor = super().forward(x)
        return normalised


def tolerate_single_values(network: nn.Module) -> None:
    """Let every plain batch normalisation inside a library's network take a batch of one."""
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            # The layer stays the same object, since feature extractors of timm may have hooks on it.
            layer.__class__ = ToleratingBatchNorm2d
