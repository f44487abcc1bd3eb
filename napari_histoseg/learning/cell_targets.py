"""What cells teach a model of nuclei: their inside, the border that parts them, and the background around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.cell_outlines import nearest
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.edit import State
from napari_histoseg.core.schema import IGNORE, LabelClass

BORDER_UM = 1.0
"""Width of the border inside of nuclei. Where only a few cells teach, a thin one is learned too faintly to part nuclei
that touch: on the other halves of two MoNuSeg images, mean PQ stayed 0.41 with 0.5 µm and rose to 0.47 with this."""
RING_UM = 2.0
"""So far around a cell that somebody vouched for, what is no cell's is background."""

_BORDER = "boundary"


def nucleus_target(instances: NDArray[np.integer], boundary_px: int) -> NDArray[np.uint8]:
    """Background 0, nucleus 1 and, within ``boundary_px`` of its outline or of another nucleus, boundary 2.

    The boundary lies inside the nuclei, so that nucleus and boundary together are all of a nucleus.

    Parameters
    ----------
    instances : ndarray of int, shape (H, W)
        0 is background.
    boundary_px : int
        In pixels of ``instances``.
    """
    from scipy import ndimage

    largest = ndimage.maximum_filter(instances, size=2 * boundary_px + 1)
    smallest = ndimage.minimum_filter(instances, size=2 * boundary_px + 1)
    target = np.where(largest == smallest, 1, 2).astype(np.uint8)
    target[instances == 0] = 0
    return target


@dataclass(frozen=True, eq=False)
class CellTeacher:
    """Turns cells into labels that a model of nuclei learns from.

    Parameters
    ----------
    classes : tuple of LabelClass
        Of the labels: those of the review, and with numbers of their own those that only the model has.
    inside : ndarray of uint8, shape (256,)
        Label of a cell by its class id; ``IGNORE`` for cells that teach nothing.
    background : int
        Label of what is no cell's.
    border : int or None
        Label of the border; None for models without one.
    """

    classes: tuple[LabelClass, ...]
    inside: NDArray[np.uint8]
    background: int
    border: int | None

    @classmethod
    def of(cls, review: Sequence[LabelClass], model: Sequence[LabelClass]) -> CellTeacher:
        """For labels of a review with those classes and a model with those.

        A model that knows one kind of cells learns from all; one that knows more learns from cells whose class has the
        name, or a former name, of one of its classes.
        """
        known = {name.casefold(): c.id for c in review for name in c.former} | {c.name.casefold(): c.id for c in review}
        free = (number for number in range(IGNORE) if number not in known.values())
        missing = tuple(replace(c, id=next(free), key=None) for c in model if c.name.casefold() not in known)
        known |= {c.name.casefold(): c.id for c in missing}
        background, *others = (known[c.name.casefold()] for c in model)
        border = known[_BORDER] if any(c.name.casefold() == _BORDER for c in model) else None
        kinds = [label for label in others if label != border]
        inside = np.full(256, kinds[0] if len(kinds) == 1 else IGNORE, np.uint8)
        inside[[background, *kinds]] = [background, *kinds]
        return cls((*review, *missing), inside, background, border)

    def vouched_for(self, cells: Cells) -> NDArray[np.int64]:
        """Numbers of the cells that teach: those that a person drew, classed, accepted or placed a point in."""
        ids = cells.persons_ids
        return np.asarray(ids[self.inside[cells.class_of(ids)] != IGNORE])

    def teach(
        self, cells: Cells, mpp: float, labels: NDArray[np.uint8], state: NDArray[np.uint8]
    ) -> NDArray[np.uint32]:
        """Write what cells teach over what was painted.

        Parameters
        ----------
        cells : Cells
            Of an image (H, W).
        mpp : float
            µm per pixel of the image.
        labels, state : ndarray of uint8, shape (H, W)
            Changed in place: inside and border of the cells and the ring around them. Cells that a person drew or
            placed a point in count as edited, others as verified.

        Returns
        -------
        ndarray of uint32, shape (H, W)
            Number of the cell that each pixel learns from; 0 for none.
        """
        teacher = np.zeros(cells.shape, np.uint32)
        ids = self.vouched_for(cells)
        if not ids.size:
            return teacher
        window = cells.box_around(ids).pad(int(np.ceil(RING_UM / mpp)) + 1).clip(cells.shape)
        instances = np.asarray(cells.instances[window.slices])
        is_taught = np.zeros(cells.next_id, bool)
        is_taught[ids] = True
        owner = nearest(instances, RING_UM / mpp)
        owner[~is_taught[owner]] = 0
        teacher[window.slices] = owner

        target = self.inside[cells.class_lookup[instances]]
        if self.border is not None:
            is_border = nucleus_target(instances, max(1, round(BORDER_UM / mpp))) == 2
            target[is_border & (target != self.background)] = self.border
        target[instances == 0] = self.background
        by_number = np.full(cells.next_id, State.VERIFIED, np.uint8)
        by_number[ids[np.isin(cells.origin_of(ids), (Origin.PERSON, Origin.POINT))]] = State.EDITED
        is_known = owner > 0
        labels[window.slices][is_known] = target[is_known]
        state[window.slices][is_known] = by_number[owner[is_known]]
        return teacher
