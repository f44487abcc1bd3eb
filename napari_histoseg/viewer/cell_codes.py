"""How cells are put into pixels of a labels layer: a code for each class and part, and a colour for each code."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE, LabelSchema

if TYPE_CHECKING:
    from napari.utils.colormaps import DirectLabelColormap

INSIDE, OUTLINE, PROPOSED = 1, 2, 3
"""Parts of a cell; a code is four times the class id and the part, so that changing classes changes few pixels."""
CHOSEN = 4 * (IGNORE + 1)
"""Outline of a cell that is chosen."""
DRAWN = CHOSEN + 1
"""What the hand is drawing."""
MARGIN_PX = 2
"""So far outside a box the outlines of what it holds may change."""

_UNKNOWN_COLOR = "#9A9A9A"
_BRIGHT = "#00F0FF"  # seen on white, pink and violet
_FAINT = 0.35


def cell_codes(
    instances: NDArray[np.uint32],
    class_ids: NDArray[np.uint8],
    *,
    is_chosen: NDArray[np.bool_],
    is_proposed: NDArray[np.bool_],
    proposed_class: int,
) -> NDArray[np.uint16]:
    """The codes (h, w) of a region of cells.

    Outlines lie inside of each cell, one pixel thick, two where it is chosen or proposed; those of the region's own
    rim are not seen.

    Parameters
    ----------
    instances : ndarray of uint32, shape (h, w)
        Number of the cell at each pixel, 0 for none.
    class_ids : ndarray of uint8, shape (n,)
        Class id by number.
    is_chosen, is_proposed : ndarray of bool, shape (n,)
        By number.
    proposed_class : int
        What the proposed cells would be.
    """
    edge = _spread(instances)
    codes = _lookup(class_ids)[instances]
    codes += edge
    codes[instances == 0] = 0
    if is_chosen.any() or is_proposed.any():
        thick = _spread(instances, edge) | edge
        codes[thick & is_proposed[instances]] = 4 * proposed_class + PROPOSED
        codes[thick & is_chosen[instances]] = CHOSEN
    return codes


def place_codes(shape: tuple[int, int], box: Box) -> tuple[Box, Box]:
    """The box whose codes may change when the cells of ``box`` do, and the one that they are computed from."""
    written = box.pad(MARGIN_PX).clip(shape)
    return written, written.pad(MARGIN_PX).clip(shape)


def cell_colormap(schema: LabelSchema, hidden: Collection[int], *, is_filled: bool) -> DirectLabelColormap:
    """Colours of the codes: the class's, strong for outlines and faint inside; hidden classes are not seen.

    Cells of an unknown class are grey.
    """
    from napari.utils.colormaps import DirectLabelColormap

    inside = _FAINT if is_filled else 0.0
    colors: dict[int | None, Any] = {None: "transparent", 0: "transparent", CHOSEN: _BRIGHT, DRAWN: _BRIGHT}
    for class_id, color in ((IGNORE, _UNKNOWN_COLOR), *((c.id, c.color) for c in schema.classes)):
        rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        alpha = 0.0 if class_id in hidden else 1.0
        colors[4 * class_id + INSIDE] = (*rgb, alpha * inside)
        colors[4 * class_id + OUTLINE] = (*rgb, alpha)
        colors[4 * class_id + PROPOSED] = (*rgb, 1.0)
    return DirectLabelColormap(color_dict=colors)


def cell_features(schema: LabelSchema) -> dict[str, list[Any]]:
    """The table that makes napari show the class of the cell under the pointer."""
    named = [*((c.id, c.name) for c in schema.classes), (IGNORE, "class not known")]
    codes = [(4 * class_id + part, name) for class_id, name in named for part in (INSIDE, OUTLINE, PROPOSED)]
    told = [*codes, (CHOSEN, "chosen"), (DRAWN, "being drawn")]
    return {"index": [0, *(code for code, _ in told)], "cell": ["none", *(name for _, name in told)]}


def _lookup(class_ids: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return class_ids.astype(np.uint16) * np.uint16(4) + np.uint16(INSIDE)


def _spread(instances: NDArray[np.uint32], seed: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Pixels beside one of another number; with ``seed``, beside a seed pixel of the same number."""
    beside = np.zeros(instances.shape, bool)
    for axis in (0, 1):
        low: list[slice] = [slice(None), slice(None)]
        high = list(low)
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        first, second = tuple(low), tuple(high)
        if seed is None:
            differs = instances[first] != instances[second]
            beside[first] |= differs
            beside[second] |= differs
        else:
            same = instances[first] == instances[second]
            beside[first] |= same & seed[second]
            beside[second] |= same & seed[first]
    return beside
