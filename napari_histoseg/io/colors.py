"""Label images that hold colours instead of class numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.palettes import PALETTES
from napari_histoseg.core.schema import IGNORE, LabelSchema

RGB = tuple[int, int, int]


def labels_from_colors(pixels: NDArray[np.uint8], palette: Mapping[RGB, int], where: str) -> NDArray[np.uint8]:
    """Class ids of a colour image, by exact colour.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
    palette : mapping of (r, g, b) to class id
    where : str
        Name of the file, for the message.

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    InputError
        When a colour is not of the palette; the message names it and the nearest one, since blurred or JPEG labels
        hold many of them.
    """
    packed = _packed(pixels)
    labels = np.zeros(packed.shape, np.uint8)
    is_known = np.zeros(packed.shape, bool)
    for color, class_id in palette.items():
        found = packed == _packed(np.array(color, np.uint8))
        labels[found] = class_id
        is_known |= found
    if is_known.all():
        return labels
    values, counts = np.unique(packed[~is_known], return_counts=True)
    commonest = int(values[counts.argmax()])
    wrong = _unpacked(commonest)
    near = min(palette, key=lambda color: sum((a - b) ** 2 for a, b in zip(color, wrong, strict=True)))
    raise InputError(
        f"{where} has {int((~is_known).sum())} pixels in {len(values)} colours that are not of the palette, most of "
        f"them {wrong}; the nearest of the palette is {near}. Save labels without smoothing or JPEG, or give their "
        "own palette."
    )


def labels_in_colors(pixels: NDArray[np.uint8], schema: LabelSchema, where: str) -> NDArray[np.uint8]:
    """Class ids of an image in the colours of ``schema``, or those that a published palette gives its classes.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3) or (H, W, 4)
        Transparent pixels have no class.
    schema : LabelSchema
    where : str
        Name of the file, for the message.

    Raises
    ------
    InputError
        When a colour is of none of the palettes; the message names the nearest of the schema's own.
    """
    is_clear = pixels[..., 3] == 0 if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], bool)
    seen = {_unpacked(value) for value in np.unique(_packed(pixels)[~is_clear]).tolist()}
    candidates = [{c.rgb: c.id for c in palette.apply(schema).classes} for palette in PALETTES]
    fitting = next((palette for palette in candidates if seen <= palette.keys()), candidates[0])
    colors = np.where(is_clear[..., None], np.array(next(iter(fitting)), np.uint8), pixels[..., :3])
    labels = labels_from_colors(colors, fitting, where)
    labels[is_clear] = IGNORE
    return labels


def _unpacked(value: int) -> RGB:
    return value >> 16, value >> 8 & 255, value & 255


def _packed(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    red, green, blue = (pixels[..., k].astype(np.uint32) for k in range(3))
    return (red << 16 | green << 8 | blue).astype(np.uint32)
