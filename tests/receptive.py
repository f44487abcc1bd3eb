"""How far a network looks, seen by its gradients."""

from __future__ import annotations

import torch
from torch import nn


def reach_px(network: nn.Module, multiple: int, *, side_px: int = 512) -> tuple[int, int]:
    """How many columns before and after itself a cell of ``multiple`` pixels on the pooling grid can feel.

    Weights are made positive, so that nothing cancels and no ReLU is shut, and maxima become means, which feel all
    pixels that a maximum may choose from.
    """
    network = network.double().eval()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.01)
    for layer in list(network.modules()):
        for name, child in layer.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(layer, name, nn.AvgPool2d(child.kernel_size, child.stride))
    start, first, last = side_px // 2, side_px, 0
    for column in range(start, start + multiple):
        image = torch.rand(1, 3, 16, side_px, dtype=torch.float64, requires_grad=True)
        network(image)[0, :, :, column].sum().backward()
        assert image.grad is not None
        touched = torch.nonzero(image.grad.abs().sum(dim=(0, 1, 2))).flatten()
        first, last = min(first, int(touched.min())), max(last, int(touched.max()))
    return start - first, last + 1 - start - multiple
