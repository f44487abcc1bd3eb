"""What one forward pass of a network costs in memory and arithmetic, found without loading the network."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from napari_histoseg.models.intake import Intake
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import Weights, build_network

BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Footprint:
    """Cost of a network, for windows of any size.

    Parameters
    ----------
    parameters : int
        Numbers the network holds.
    bytes_per_px : float
        Largest sum of intermediate results alive at one moment of a forward pass, per pixel that is fed.
    flops_per_px : float
        2 x multiply-adds of convolutions and matrix products, per pixel that is fed.
    """

    parameters: int
    bytes_per_px: float
    flops_per_px: float

    @property
    def weights_bytes(self) -> int:
        return self.parameters * BYTES_PER_PARAMETER


def footprint(weights: Weights) -> Footprint:
    """The cost of a network, by walking through it with tensors that have a shape and no content.

    A network whose path depends on the pixels themselves, as a threshold does, is run on a small white square instead.

    Parameters
    ----------
    weights : Weights
        Only the card is read.
    """
    model = get_model(weights.model_id)
    side_px = Intake.of(weights).side_px(model.spec.tile_px)
    with torch.device("meta"):
        network = model.build(len(weights.classes), **weights.card.variant).eval()
    try:
        return _walked(network, torch.zeros(1, 3, side_px, side_px, device="meta"))
    except (NotImplementedError, RuntimeError):  # torch's two ways to say that a value is asked for
        return _walked(build_network(weights), torch.ones(1, 3, side_px, side_px))


def _walked(network: nn.Module, image: Tensor) -> Footprint:
    with torch.inference_mode():
        with _LiveBytes() as memory:
            network(image)
        with FlopCounterMode(display=False) as arithmetic:
            network(image)
    area = image.shape[-1] * image.shape[-2]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Footprint(parameters, memory.peak / area, arithmetic.get_total_flops() / area)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations make, as long as something refers to them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._live = 0
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and (storage := value.untyped_storage()) not in self._known:
                self._known.add(storage)
                self._live += storage.nbytes()
                self.peak = max(self.peak, self._live)
                weakref.finalize(storage, self._free, storage.nbytes())
        return result

    def _free(self, size: int) -> None:
        self._live -= size
