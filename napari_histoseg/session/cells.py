"""What a person does to the cells of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from napari_histoseg.core import cell_shapes
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_outlines import split_each
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.session.cell_look import CellLook, Ids, places_of

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit


class CellWork(CellLook):
    """Changes cells of the open project, each call as one step that undo takes back.

    Every call returns the edit, or None when nothing changed, and emits ``edited`` of the session and ``changed``.
    Numbers None mean all cells of the image; acts on chosen cells are a person's word for them, acts on all are not.
    All raise ``InputError`` for cells and classes that do not exist, and ``ProjectError`` when no project is open, the
    disk is full or the project is read-only; then nothing has changed.
    """

    changed = Signal(str, Box)
    """Id of an image and the box whose cells look different."""

    def set_class(self, image_id: str, ids: Ids, class_id: int) -> Edit | None:
        """Give cells a class; ``IGNORE`` for an unknown one."""
        return self._done(self._project.set_class(image_id, self._chosen(image_id, ids), class_id))

    def verify(self, image_id: str, ids: Ids) -> Edit | None:
        """Vouch for outline and class of cells."""
        return self._done(self._project.verify_cells(image_id, self._chosen(image_id, ids)))

    def delete(self, image_id: str, ids: Ids) -> Edit | None:
        """Remove cells."""
        return self._done(self._project.delete_cells(image_id, self._chosen(image_id, ids)))

    def merge(self, image_id: str, ids: ArrayLike) -> Edit | None:
        """Make one cell of several; number and class are those of the largest."""
        return self._done(self._project.merge_cells(image_id, self._chosen(image_id, ids)))

    def split(self, image_id: str, line: ArrayLike) -> Edit | None:
        """Cut every cell that a line (n, 2) crosses from side to side; the largest part keeps the number."""
        crossed = self.crossed(image_id, line)
        if not crossed.size:
            raise InputError("The line crosses no cell; draw it across the cells that should be cut.")
        return self._split(image_id, crossed, line, cell_shapes.split_by_line)

    def split_at(self, image_id: str, points: ArrayLike) -> Edit | None:
        """Part every cell that holds two or more of the points (n, 2) between them."""
        places = places_of(points)
        held = np.array([self.at(image_id, y, x) for y, x in places], np.int64)
        ids, counts = np.unique(held[held > 0], return_counts=True)
        if not (counts > 1).any():
            raise InputError("No cell holds two of the points; set one in each part that a cell should have.")
        return self._split(image_id, ids[counts > 1], places, cell_shapes.split_by_points)

    def _split(self, image_id: str, ids: NDArray[np.int64], places: ArrayLike, cut: Any) -> Edit | None:
        cells = self.of(image_id)
        box = cells.box_around(ids)
        parts = {int(k): Box(*b.tolist()).relative_to(box) for k, b in zip(ids, cells.boxes(ids), strict=True)}
        local = places_of(places) - (box.y0, box.x0)
        after, parents = split_each(cells.instances[box.slices], parts, local, cells.next_id, cut)
        if not parents:
            raise InputError("No cell was cut in two; draw across a cell from side to side.")
        classes = {new: int(cells.class_of(old)[0]) for new, old in parents.items()}
        points: dict[int, tuple[float, float] | None] = {}
        marked = cells.points(box)
        for old, y, x in zip(marked.ids.tolist(), marked.y.tolist(), marked.x.tolist(), strict=True):
            owner = int(after[round(y) - box.y0, round(x) - box.x0])
            if parents.get(owner) == old:
                points |= {old: None, owner: (y, x)}
        return self._edit(image_id, box, after, tool="split", classes=classes, points=points)

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
        return self._done(
            project.edit_cells(
                image_id, box, after, tool=tool, classes=classes, points=points, origin=origin, verified=verified
            )
        )

    def _done(self, edit: Edit | None) -> Edit | None:
        if edit is not None:
            self._review.tell(edit)
        return edit
