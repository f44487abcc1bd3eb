"""Batch normalisation folded into the convolutions before it: the same function, with fewer layers."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_histoseg.models.zoo._norms import ToleratingBatchNorm2d

_PLAIN = {nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, ToleratingBatchNorm2d}


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """The network, changed in place, with each convolution and the batch normalisation after it made one layer.

    Only plain neighbours in an ``nn.Sequential`` are folded, since only there the order of the layers says what
    happens: layers that a network calls by name, and the convolutions and normalisations of libraries that do more
    than their base class (standardised weights, an activation inside the normalisation), stay as they are.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    """
    for block in network.modules():
        if not isinstance(block, nn.Sequential) or type(block).forward is not nn.Sequential.forward:
            continue
        for i, (layer, following) in enumerate(zip(list(block), list(block)[1:], strict=False)):
            if not {type(layer), type(following)} <= _PLAIN:
                continue
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(following, nn.BatchNorm2d):
                block[i] = fuse_conv_bn_eval(layer, following, transpose=isinstance(layer, nn.ConvTranspose2d))
                block[i + 1] = nn.Identity()
    return network
