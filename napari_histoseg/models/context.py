"""The context-aware variant of any network: it sees a margin more on each side than it answers for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_histoseg.core.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_histoseg.models.outputs import NetworkOutput
    from napari_histoseg.models.spec import ModelSpec

OPTION = "context_margin"
"""Name of the option in a variant: pixels cut from each side of the output."""


def takes_context(spec: ModelSpec) -> bool:
    """Whether the model can have a context margin: it makes maps, and of images of any size."""
    return spec.task != "regression" and spec.input_px is None and spec.needs_weights


def with_context(network: nn.Module, margin_px: int) -> nn.Module:
    """The same network, with the same names of its weights, that answers for the centre of its input only.

    Parameters
    ----------
    network : nn.Module
        Its outputs, the auxiliary ones too, have the size of its input.
    margin_px : int
        Cut from each side of them, from 0.
    """
    if not isinstance(margin_px, int) or margin_px < 0:
        raise ModelError(f"A context margin of {margin_px} pixels is not possible; give a whole number from 0.")

    def check(_network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        height, width = inputs[0].shape[-2:]
        if min(height, width) <= 2 * margin_px:
            raise ModelError(
                f"With a context margin of {margin_px} pixels images must be larger than {2 * margin_px} pixels on "
                f"each side, not {height} x {width}; feed larger images."
            )

    def cut(_network: nn.Module, _inputs: Any, output: NetworkOutput) -> NetworkOutput:
        if isinstance(output, dict):
            return {"out": _centre(output["out"], margin_px), "aux": [_centre(x, margin_px) for x in output["aux"]]}
        return _centre(output, margin_px)

    if margin_px:
        network.register_forward_pre_hook(check)
        network.register_forward_hook(cut)
    return network


def _centre(x: Tensor, margin_px: int) -> Tensor:
    return x[..., margin_px:-margin_px, margin_px:-margin_px]
