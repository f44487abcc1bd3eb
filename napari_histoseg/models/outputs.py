"""What a network returns: logits alone, or logits with auxiliary ones beside them while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


class HeadOutputs(TypedDict):
    """The output in training mode of a network with several heads; in evaluation mode it returns ``out`` alone."""

    out: Tensor
    aux: Sequence[Tensor]


NetworkOutput: TypeAlias = "Tensor | HeadOutputs"


def main_output(output: NetworkOutput) -> Tensor:
    """The logits (N, C, H, W), or scores (N,), that count."""
    return output["out"] if isinstance(output, dict) else output


def auxiliary_outputs(output: NetworkOutput) -> list[Tensor]:
    """The logits of the auxiliary heads, in the order of the network; empty where there are none."""
    return list(output["aux"]) if isinstance(output, dict) else []
