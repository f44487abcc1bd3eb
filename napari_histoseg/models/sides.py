"""Refusing images of a size that a network cannot take, with the size it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_histoseg.core.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


def check_multiple(title: str, image: Tensor, multiple: int, *, least_px: int = 0) -> None:
    """Raise ``ModelError`` unless the sides of images (N, 3, H, W) are multiples, and at least ``least_px``."""
    height, width = image.shape[-2:]
    if min(height, width) < least_px or height % multiple or width % multiple:
        good = [-(-max(side, least_px) // multiple) * multiple for side in (height, width)]
        least = f" and at least {least_px}" if least_px else ""
        raise ModelError(
            f"{title} takes images whose sides are multiples of {multiple} pixels{least}, not {height} x {width}; "
            f"pad to {good[0]} x {good[1]}."
        )


def check_square(title: str, image: Tensor, side_px: int) -> None:
    """Raise ``ModelError`` unless images (N, 3, H, W) are squares of exactly that side."""
    height, width = image.shape[-2:]
    if (height, width) != (side_px, side_px):
        raise ModelError(
            f"{title} takes images of exactly {side_px} x {side_px} pixels, not {height} x {width}; pad or cut to that."
        )
