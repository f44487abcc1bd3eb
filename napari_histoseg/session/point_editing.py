"""Placing, moving and removing single points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import NO_POINT, Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.session.grounds import Grounds
from napari_histoseg.session.point_growth import Growth, places, regrown

if TYPE_CHECKING:
    from napari_histoseg.core.cell_plane import Cells
    from napari_histoseg.core.cells import CellPoints
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.inference.points import PointRules
    from napari_histoseg.session.review import Review

Mode = Literal["marker", "contour"]
Unlabelled = Literal["background", "ignore"]

_MODE, _UNLABELLED = "points.mode", "points.unlabelled"
_BACKGROUND = 0


class PointEditing:
    """Points of the open project, one by one; a point is an attribute of the cell that grows from it.

    Every act is one step that undo takes back, and emits ``edited`` of the session and ``changed`` of its cells. All
    raise ``InputError`` for cells and classes that do not exist and while the µm per pixel of the image is unknown, and
    ``ProjectError`` when no project is open, the disk is full or the project is read-only; then nothing has changed.

    Cells that a person drew or that somebody vouched for stay as they are, and others grow around them; what a model or
    a file outlined gives way where a point is placed on it.

    Parameters
    ----------
    review : Review
        Has the open project.
    """

    def __init__(self, review: Review) -> None:
        self._review = review
        self._grounds = Grounds(review)

    @property
    def mode(self) -> Mode:
        """How points become cells, see `PointRules`; remembered in the project."""
        return "contour" if self._review.get_setting(_MODE) == "contour" else "marker"

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._review.set_setting(_MODE, mode)

    @property
    def unlabelled(self) -> Unlabelled:
        """What stained nuclei without a point become in label files; remembered in the project."""
        return "background" if self._review.get_setting(_UNLABELLED) == "background" else "ignore"

    @unlabelled.setter
    def unlabelled(self, unlabelled: Unlabelled) -> None:
        self._review.set_setting(_UNLABELLED, unlabelled)

    @property
    def rules(self) -> PointRules:
        """How points become cells in the open project."""
        from napari_histoseg.inference.points import PointRules

        return PointRules(self.mode, self.unlabelled)

    def of(self, image_id: str) -> CellPoints:
        """The points of an image."""
        return self._cells(image_id).points()

    def add(self, image_id: str, y: float, x: float, class_id: int) -> Edit | None:
        """Place a point, (y, x) in pixels of the image, and grow its cell.

        On a cell that a person drew or that somebody vouched for, the point becomes that cell's and gives it its class.

        Raises
        ------
        InputError
            Also when the point lies outside the image, on another point, or on a cell that stays and has one.
        """
        if class_id == _BACKGROUND:
            raise InputError("Background is no class of a cell; choose another class, then place the point.")
        cells, (y, x) = self._cells(image_id), _rounded(y, x)
        self._check_free(image_id, y, x)
        growth = Growth.of(cells, keeps_found=True)
        owner = _owner(cells, y, x)
        if owner and growth.stays[owner] and not _gives_way(cells, owner):
            if cells.rows([owner])["point_y"][0] != NO_POINT:
                raise InputError(f"Cell {owner} has a point and is not grown anew, since a person shaped it; split it.")
            return self._attach(image_id, owner, y, x, class_id)
        gone = [owner] if owner and growth.stays[owner] else []
        number = cells.next_id
        growth = growth.without(gone).with_point(number, y, x, class_id)
        return self._regrow(image_id, growth, gone, [_pixel(y, x)], "point", {number: class_id}, {number: (y, x)})

    def move(self, image_id: str, cell_id: int, y: float, x: float) -> Edit | None:
        """Move the point of a cell, which keeps its number and class; a drawn cell grows anew only when it is left.

        Raises
        ------
        InputError
            Also when the cell has no point, or as in `add`.
        """
        cells, (y, x) = self._cells(image_id), _rounded(y, x)
        row = cells.rows([cell_id])[0]
        if row["point_y"] == NO_POINT:
            raise InputError(f"Cell {cell_id} has no point that could be moved; place one in it first.")
        self._check_free(image_id, y, x, but=cell_id)
        growth = Growth.of(cells, keeps_found=True)
        owner = _owner(cells, y, x)
        if owner == cell_id and growth.stays[cell_id]:
            return self._attach(image_id, cell_id, y, x, None)
        gone = [cell_id]
        if owner not in (0, cell_id) and growth.stays[owner]:
            if not _gives_way(cells, owner):
                raise InputError(f"Cell {owner} lies there and stays, since a person shaped or accepted it.")
            gone.append(owner)
        growth = growth.without(gone).with_point(cell_id, y, x, int(row["class_id"]))
        changed = [_pixel(float(row["point_y"]), float(row["point_x"])), _pixel(y, x)]
        return self._regrow(image_id, growth, gone, changed, "move point", {}, {cell_id: (y, x)})

    def remove(self, image_id: str, ids: ArrayLike) -> Edit | None:
        """Take away points with their cells; the neighbours grow into what gets free."""
        cells = self._cells(image_id)
        gone = np.unique(np.asarray(ids, np.int64))
        if not gone.size:
            return None
        rows = cells.rows(gone)
        marked = rows[rows["point_y"] != NO_POINT]
        changed = places(marked["point_y"], marked["point_x"])
        growth = Growth.of(cells, keeps_found=True).without(gone.tolist())
        return self._regrow(image_id, growth, gone.tolist(), changed, "remove points", {}, {})

    def _regrow(
        self,
        image_id: str,
        growth: Growth,
        gone: list[int],
        changed: list[Box],
        tool: str,
        classes: dict[int, int],
        points: dict[int, tuple[float, float]],
    ) -> Edit | None:
        cells = self._cells(image_id)
        shaped = np.array(gone, np.int64)[cells.origin_of(gone) != Origin.POINT] if gone else gone
        changed = [*changed, *(Box(*corners) for corners in cells.boxes(shaped).tolist())]
        box, after = regrown(cells, growth, gone, changed, ground=self._grounds.of(image_id), rules=self.rules)
        return self._commit(image_id, box, after, tool, classes, points)

    def _commit(
        self,
        image_id: str,
        box: Box,
        after: NDArray[np.uint32],
        tool: str,
        classes: dict[int, int],
        points: dict[int, tuple[float, float]],
    ) -> Edit | None:
        edit = self._review.need_project().edit_cells(
            image_id, box, after, tool=tool, classes=classes, points=points, origin=Origin.POINT, verified=None
        )
        return self._review.tell(edit)

    def _attach(self, image_id: str, cell_id: int, y: float, x: float, class_id: int | None) -> Edit | None:
        """Give a cell that stays a point, and its class."""
        cells = self._cells(image_id)
        box = _pixel(y, x)
        classes = {} if class_id is None else {cell_id: class_id}
        edit = self._review.need_project().edit_cells(
            image_id,
            box,
            cells.instances[box.slices],
            tool="point",
            classes=classes,
            points={cell_id: (y, x)},
            origin=None,
            verified=None,
        )
        return self._review.tell(edit)

    def _check_free(self, image_id: str, y: float, x: float, *, but: int = 0) -> None:
        """``InputError`` when no point of another cell than ``but`` can be placed there."""
        cells, name = self._cells(image_id), self._review.need_project().image(image_id).name
        on_pixel = np.rint([y, x])
        if not ((on_pixel >= 0) & (on_pixel < cells.shape)).all():
            raise InputError(f"The point at x {x:.0f}, y {y:.0f} lies outside '{name}'; place it on the image.")
        pixel = _pixel(y, x)
        same_px = self.rules.same_um / self._grounds.mpp(image_id)
        near = cells.points(pixel.pad(int(same_px) + 1))
        is_same = np.hypot(near.y - y, near.x - x) < same_px
        is_same |= (np.rint(near.y) == pixel.y0) & (np.rint(near.x) == pixel.x0)
        others = near.ids[is_same & (near.ids != but)]
        if others.size:
            raise InputError(f"There is a point in this place already, that of cell {int(others[0])}; move that one.")

    def _cells(self, image_id: str) -> Cells:
        return self._review.need_project().cells(image_id)


def _rounded(y: float, x: float) -> tuple[float, float]:
    """A position as the project keeps it, which decides on which pixel it lies."""
    return float(np.float32(y)), float(np.float32(x))


def _pixel(y: float, x: float) -> Box:
    row, column = int(np.rint(y)), int(np.rint(x))
    return Box(row, column, row + 1, column + 1)


def _owner(cells: Cells, y: float, x: float) -> int:
    return int(cells.instances[_pixel(y, x).slices][0, 0])


def _gives_way(cells: Cells, cell_id: int) -> bool:
    """Whether a model or a file outlined a cell and nobody vouched for it."""
    return int(cells.origin_of([cell_id])[0]) in (Origin.MODEL, Origin.IMPORT) and not cells.is_verified([cell_id])[0]
