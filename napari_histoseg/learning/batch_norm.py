"""Batch-norm statistics of a network that was trained from random weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def estimate_statistics(model: nn.Module, images: Iterator[Tensor]) -> Iterator[int]:
    """Replace the statistics of all batch-norm layers by their means over some batches, one per ``next()``.

    While a network learns, its running statistics follow the weights with a lag. After a few steps from random weights
    they fit nothing: the training loss is low, and yet the network is useless in evaluation mode. Layers that the
    network keeps in evaluation mode by itself, as U-Net# does in its encoder, stay as they are.

    Parameters
    ----------
    model : nn.Module
        On the images' device; in evaluation mode afterwards. Weights do not change.
    images : iterator of Tensor, shape (N, 3, H, W)
        As the network is fed.

    Yields
    ------
    int
        How many batches were seen.
    """
    model.train()
    norms = (layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    layers = [layer for layer in norms if layer.training]
    with _plain_mean(layers):
        for count, batch in enumerate(images if layers else (), start=1):
            model.eval()
            for layer in layers:
                layer.train()
            with torch.no_grad():
                model(batch)
            yield count
    model.eval()


@contextmanager
def _plain_mean(layers: list[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    """Let each batch count the same, from none."""
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
