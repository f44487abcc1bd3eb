"""The smart brush: a stroke that snaps to the edge of the cell below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.inference.snap import near, snapped
from napari_histoseg.inference.stain import haematoxylin

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.session.review import Review

_WINDOW_UM = 4.0
_WINDOW_PX = 16
"""So much around the stroke is looked at."""


def stroke(
    review: Review,
    image_id: str,
    box: Box,
    drawn: NDArray[np.bool_],
    *,
    cell_id: int,
    class_id: int,
    takes_away: bool,
) -> Edit | None:
    """Draw a new cell, or mend one near the stroke; its edge snaps to that of the stain below it.

    Where a model has looked for cells, what it saw counts as well.

    Parameters
    ----------
    review : Review
        Has the open project.
    image_id : str
    box : Box
        In pixels of the image.
    drawn : ndarray of bool, shape (h, w)
        What the brush covered of the box.
    cell_id : int
        The cell that the stroke began in, which it changes; 0 for a new one.
    class_id : int
        Class of a new cell.
    takes_away : bool
        Take what was drawn from the cell, just as drawn.

    Raises
    ------
    InputError
        When nothing is left of the cell, or there is no cell to take from.
    """
    from scipy import ndimage

    cells = review.cells.of(image_id)
    if takes_away and not cell_id:
        raise InputError("There is no cell to take from where the stroke begins; begin it inside of one.")
    mpp = review.need_project().image(image_id).mpp
    margin = _WINDOW_PX if mpp is None else round(_WINDOW_UM / mpp)
    window = box.union(cells.box_around([cell_id]) if cell_id else box).pad(margin).clip(cells.shape)
    mask = np.zeros(window.shape, bool)
    mask[box.relative_to(window).slices] = ndimage.binary_fill_holes(drawn)
    own = cells.instances[window.slices] == cell_id
    if takes_away:
        return review.cells.reshape(image_id, cell_id, window, own & ~mask)
    evidence = haematoxylin(review.image_ref(image_id).read(0, window))
    foreground = review.foreground(image_id, window)
    if foreground is not None:
        evidence += foreground
    found = snapped(evidence, own | mask if cell_id else mask, mpp)
    if cell_id:
        return review.cells.reshape(image_id, cell_id, window, np.where(near(mask, mpp), found, own))
    return review.cells.draw(image_id, window, found, class_id)
