"""What a person does to the outlines of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core import cell_outlines
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.session.cell_look import CellLook, Ids

if TYPE_CHECKING:
    from napari_histoseg.core.cell_plane import Cells
    from napari_histoseg.core.edit import Edit

Word = tuple[Origin, bool] | tuple[None, None]
"""Who drew the outlines and whether a person vouches for them; None leaves both as they are."""

_SMOOTH_UM = 0.5
_SMOOTH_PX = 2.0
"""Where the µm per pixel is unknown."""


class CellShaping(CellLook):
    """Changes outlines, each call as one step that undo takes back; see `CellWork`."""

    changed = Signal(str, Box)
    """Id of an image and the box whose cells look different."""

    def draw(self, image_id: str, box: Box, mask: NDArray[np.bool_], class_id: int) -> Edit | None:
        """Make a new cell of the pixels of a mask (h, w) of a box that no other cell has."""
        new = self.of(image_id).next_id
        return self._outline(image_id, new, box, mask, tool="draw", classes={new: class_id})

    def reshape(self, image_id: str, cell_id: int, box: Box, mask: NDArray[np.bool_]) -> Edit | None:
        """Give a cell a new outline: the pixels of a mask (h, w) of a box that no other cell has."""
        cells = self.of(image_id)
        around = box.union(cells.box_around([cell_id]))
        whole = np.zeros(around.shape, bool)
        whole[box.relative_to(around).slices] = mask
        return self._outline(image_id, cell_id, around, whole, tool="reshape", classes={})

    def grow(self, image_id: str, ids: Ids, um: float) -> Edit | None:
        """Move the outlines of cells outwards by so many µm, or inwards where negative.

        Growing takes background only, half way to the next cell at most; a cell that would vanish stays as it is.
        """
        change = cell_outlines.grow if um > 0 else cell_outlines.shrink
        distance_px = abs(um) / self._mpp(image_id)
        if 0 < distance_px < 1:
            raise InputError(
                f"{abs(um):g} µm are less than a pixel of this image; give {self._mpp(image_id):g} or more."
            )

        def changed(instances: NDArray[np.uint32], boxes: dict[int, Box]) -> NDArray[np.uint32]:
            return change(instances, np.array(list(boxes), np.int64), distance_px)

        if not um:
            return None
        return self._reshape_all(image_id, ids, changed, int(np.ceil(distance_px)) + 2, "grow" if um > 0 else "shrink")

    def smooth(self, image_id: str, ids: Ids) -> Edit | None:
        """Smooth the outlines of cells."""
        mpp = self._project.image(image_id).mpp
        sigma_px = _SMOOTH_PX if mpp is None else max(1.0, _SMOOTH_UM / mpp)

        def changed(instances: NDArray[np.uint32], boxes: dict[int, Box]) -> NDArray[np.uint32]:
            return cell_outlines.smooth(instances, boxes, sigma_px)

        return self._reshape_all(image_id, ids, changed, int(np.ceil(3 * sigma_px)), "smooth")

    def fill_holes(self, image_id: str, ids: Ids) -> Edit | None:
        """Give background that one cell encloses to the cell."""
        return self._reshape_all(image_id, ids, cell_outlines.fill_holes, 0, "fill holes")

    def delete_smaller(self, image_id: str, um2: float) -> Edit | None:
        """Remove all cells with an area of less than so many µm²."""
        cells = self.of(image_id)
        ids = cells.ids
        small = ids[cells.areas_px(ids) * self._mpp(image_id) ** 2 < um2]
        return self._review.tell(self._project.delete_cells(image_id, small)) if small.size else None

    def _outline(
        self, image_id: str, cell_id: int, box: Box, mask: NDArray[np.bool_], *, tool: str, classes: Mapping[int, int]
    ) -> Edit | None:
        cells = self.of(image_id)
        if mask.shape != box.shape:
            raise InputError(f"The outline has {mask.shape} px but its box {box.shape}; both must be of one size.")
        inside = box.clip(cells.shape)
        part = mask[inside.relative_to(box).slices]
        after = cell_outlines.outline(np.asarray(cells.instances[inside.slices]), cell_id, part)
        if not (after == cell_id).any():
            raise InputError("Other cells have all of these pixels; draw where there is none, or delete them first.")
        return self._edit(image_id, inside, after, tool=tool, classes=classes)

    def _reshape_all(
        self,
        image_id: str,
        ids: Ids,
        change: Callable[[NDArray[np.uint32], dict[int, Box]], NDArray[np.uint32]],
        margin_px: int,
        tool: str,
    ) -> Edit | None:
        """Change outlines by a function of the numbers of a box and of the boxes of the cells inside it."""
        cells, chosen = self.of(image_id), self._chosen(image_id, ids)
        if not chosen.size:
            return None
        box = cells.box_around(chosen).pad(margin_px).clip(cells.shape)
        after = change(np.asarray(cells.instances[box.slices]), boxes_in(cells, chosen, box))
        word: Word = (None, None) if ids is None else (Origin.PERSON, True)
        return self._edit(image_id, box, after, tool=tool, origin=word[0], verified=word[1])

    def _edit(
        self,
        image_id: str,
        box: Box,
        after: NDArray[Any],
        *,
        tool: str,
        classes: Mapping[int, int] | None = None,
        points: Mapping[int, tuple[float, float] | None] | None = None,
        origin: Origin | None = Origin.PERSON,
        verified: bool | None = True,
    ) -> Edit | None:
        project = self._project
        return self._review.tell(
            project.edit_cells(
                image_id, box, after, tool=tool, classes=classes, points=points, origin=origin, verified=verified
            )
        )

    def _mpp(self, image_id: str) -> float:
        entry = self._project.image(image_id)
        if entry.mpp is None:
            raise InputError(f"The µm per pixel of '{entry.name}' is not known; set it first.")
        return entry.mpp


def boxes_in(cells: Cells, ids: NDArray[np.int64], box: Box) -> dict[int, Box]:
    """Where each cell lies in a box, by number."""
    corners = cells.boxes(ids).tolist()
    return {number: Box(*part).relative_to(box) for number, part in zip(ids.tolist(), corners, strict=True)}
