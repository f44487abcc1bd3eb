"""What sizes of images a network with its weights takes, and of what part of them it speaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.models.context import OPTION
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import Weights


@dataclass(frozen=True)
class Intake:
    """How images must be grown before a network takes them.

    Parameters
    ----------
    title : str
        Of the model.
    multiple : int
        Sides must be multiples of this.
    input_px : int, optional
        Both sides must be exactly this.
    context_px : int
        Width of the border for which the network gives no answer.
    """

    title: str
    multiple: int
    input_px: int | None
    context_px: int

    @classmethod
    def of(cls, weights: Weights) -> Intake:
        """That of the model of these weights, in the weights' variant."""
        spec = get_model(weights.model_id).spec
        context_px = int({**spec.variant, **weights.card.variant}.get(OPTION, 0))
        return cls(spec.title, spec.required_multiple, spec.input_px, context_px)

    def side_px(self, wanted_px: int) -> int:
        """The nearest side of a square, from ``wanted_px`` plus the context upwards, that the network takes."""
        if self.input_px is not None:
            return self.input_px
        return -(-(wanted_px + 2 * self.context_px) // self.multiple) * self.multiple

    def surrounded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The images (..., H, W, 3) with their reflection as context, shape (..., H + 2 context, W + 2 context, 3)."""
        return _grown(pixels, (self.context_px, self.context_px), (self.context_px, self.context_px))

    def filled(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The images (..., H, W, 3) grown by reflection at the bottom and right to a size that the network takes.

        Raises
        ------
        InputError
            When they are larger than the only size it takes.
        """
        height, width = pixels.shape[-3:-1]
        if self.input_px is None:
            return _grown(pixels, (0, -height % self.multiple), (0, -width % self.multiple))
        if max(height, width) > self.input_px:
            raise InputError(
                f"{self.title} takes {self.input_px} x {self.input_px} pixels at once, not {height} x {width}; "
                "cut the image into tiles."
            )
        return _grown(pixels, (0, self.input_px - height), (0, self.input_px - width))


def _grown(pixels: NDArray[np.uint8], rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.uint8]:
    if not any((*rows, *columns)):
        return pixels
    around = [(0, 0)] * (pixels.ndim - 3)
    return np.pad(pixels, [*around, rows, columns, (0, 0)], mode="reflect")
