"""Which cells are where, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_shapes import line_mask

if TYPE_CHECKING:
    from napari_histoseg.core.cell_plane import Cells
    from napari_histoseg.core.cells import CellTable
    from napari_histoseg.core.project import Project
    from napari_histoseg.session.review import Review

Ids = ArrayLike | None
"""Numbers of cells; None for all cells of the image."""

_LEAST_INSIDE = 0.5
"""Share of its pixels that makes a cell lie inside an outline."""


class CellLook:
    """Asks about the cells of the open project; all positions are (y, x) in pixels of the image.

    Every call raises ``ProjectError`` when no project is open or it has no such image.

    Parameters
    ----------
    review : Review
        Has the open project.
    haematoxylin : callable
        Mean amount in each cell of an image in optical density, by rising number; NaN where it was not measured.
    """

    def __init__(self, review: Review, haematoxylin: Callable[[str], NDArray[np.float64]]) -> None:
        self._review = review
        self._haematoxylin = haematoxylin

    def of(self, image_id: str) -> Cells:
        """The live cells of an image, which may be none at all."""
        return self._project.cells(image_id)

    def table(self, image_id: str) -> CellTable:
        """One row for each cell; NaN for the area where µm per pixel is unknown, for haematoxylin until measured."""
        table = self.of(image_id).table(self._project.image(image_id).mpp)
        return replace(table, haematoxylin=self._haematoxylin(image_id))

    def at(self, image_id: str, y: float, x: float) -> int:
        """Number of the cell at a position; 0 where there is none and outside the image."""
        cells = self.of(image_id)
        row, column = round(y), round(x)
        is_inside = 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]
        return int(cells.instances[row, column]) if is_inside else 0

    def inside(self, image_id: str, polygon: ArrayLike) -> NDArray[np.int64]:
        """Numbers of the cells of which at least half of the pixels lie in a polygon (n, 2), ascending."""
        from skimage.draw import polygon2mask

        cells, corners = self.of(image_id), places_of(polygon)
        box = box_around(corners).clip(cells.shape)
        if box.is_empty or len(corners) < 3:
            return np.zeros(0, np.int64)
        mask = polygon2mask(box.shape, corners - (box.y0, box.x0))
        ids, counts = np.unique(cells.instances[box.slices][mask], return_counts=True)
        ids, counts = ids[ids > 0].astype(np.int64), counts[ids > 0]
        return ids[counts >= _LEAST_INSIDE * cells.areas_px(ids)]

    def crossed(self, image_id: str, line: ArrayLike) -> NDArray[np.int64]:
        """Numbers of the cells that a line (n, 2) touches, ascending."""
        cells, corners = self.of(image_id), places_of(line)
        box = box_around(corners).clip(cells.shape)
        if box.is_empty:
            return np.zeros(0, np.int64)
        drawn = line_mask(corners - (box.y0, box.x0), box.shape)
        ids = np.unique(cells.instances[box.slices][drawn])
        return ids[ids > 0].astype(np.int64)

    @property
    def _project(self) -> Project:
        return self._review.need_project()

    def _chosen(self, image_id: str, ids: Ids) -> NDArray[np.int64]:
        """Those numbers once each, ascending; ``InputError`` when one is of no cell."""
        cells = self.of(image_id)
        if ids is None:
            return cells.ids
        chosen = np.unique(np.asarray(ids, np.int64))
        cells.areas_px(chosen)
        return chosen


def places_of(places: ArrayLike) -> NDArray[np.float64]:
    """Positions as an array (n, 2)."""
    return np.asarray(places, np.float64).reshape(-1, 2)


def box_around(places: NDArray[np.float64]) -> Box:
    """The pixels around positions (n, 2); empty when there are none."""
    if not len(places) or not np.isfinite(places).all():
        return Box(0, 0, 0, 0)
    low, high = np.floor(places.min(axis=0)), np.ceil(places.max(axis=0)) + 1
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
