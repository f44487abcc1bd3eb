"""Everything that changes the cells of a project, one undoable edit each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core import cell_shapes
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_geometry import pixel_counts
from napari_histoseg.core.cell_outlines import Cut, split_each
from napari_histoseg.core.cell_patch import NO_CELL, NO_POINT, CellPatch, Origin
from napari_histoseg.core.cell_plane import MOST_AHEAD, Cells
from napari_histoseg.core.edit import Edit, Kind, Patch
from napari_histoseg.core.entry import ImageEntry
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema

_LEAST_LEFT = 0.5
"""A found cell of which a vouched-for cell leaves less than this is the same cell."""


_MOST_COUNTED = 1 << 24  # beyond it, sorting the numbers takes less memory than counting them


class CellEditing(ABC):
    """The part of a project that changes cells; see `napari_histoseg.core.project.Project`.

    Every method commits one edit, which `Project.undo` takes back, and returns it, or None when nothing changes.
    ``image_id`` is an image of the project, ``author`` by default the name of the user. All raise ``InputError`` for
    numbers and classes that do not exist, and ``ProjectError`` when the disk is full or the project is read-only; then
    nothing has changed.
    """

    @property
    @abstractmethod
    def schema(self) -> LabelSchema: ...

    @abstractmethod
    def image(self, image_id: str) -> ImageEntry: ...

    @abstractmethod
    def cells(self, image_id: str) -> Cells: ...

    @abstractmethod
    def _commit(
        self, image_id: str, kind: Kind, tool: str, patch: Patch | CellPatch | None, author: str | None
    ) -> Edit | None: ...

    def set_class(
        self, image_id: str, ids: ArrayLike, class_id: int, *, tool: str = "class", author: str | None = None
    ) -> Edit | None:
        """Give cells a class, on a person's word: they are verified from then on.

        Parameters
        ----------
        ids : array_like of int
        class_id : int
            Of the schema, or ``IGNORE`` for an unknown class.
        tool : str
            Name for the record.
        """
        self._check_classes([class_id])
        return self._commit(image_id, "edit", tool, self.cells(image_id).class_patch(ids, class_id), author)

    def verify_cells(self, image_id: str, ids: ArrayLike, *, author: str | None = None) -> Edit | None:
        """Vouch for outline and class of cells."""
        return self._commit(image_id, "accept", "accept", self.cells(image_id).verified_patch(ids), author)

    def edit_cells(
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
        author: str | None = None,
    ) -> Edit | None:
        """Change outlines inside a box.

        Parameters
        ----------
        box : Box
            In pixels of the image; the smaller, the faster.
        after : ndarray of int, shape (h, w)
            Number of the cell at each pixel of the box, 0 for none. New cells are numbered from ``cells.next_id`` on;
            a cell without a pixel left is gone.
        tool : str
            Name for the record: "split", "merge", "grow".
        classes : mapping of int to int, optional
            Class ids by number, of new cells and of those whose class changes; a new cell without one has an unknown
            class.
        points : mapping of int to (float, float), optional
            (y, x) in pixels of the image by number, of cells whose point is placed or moved; None takes it away.
        origin : Origin or None
            Who drew the cells whose outline, class or point changes. None leaves that, and the score, as they are; a
            new cell is then a person's.
        verified : bool or None
            Whether a person vouches for them. None leaves that as it is; nobody vouches for a new cell then.
        """
        classes = dict(classes or {})
        self._check_classes(classes.values())
        values = self._checked_cells(image_id, box, after, "The region of cells")
        places = self._checked_points(image_id, points or {})
        patch = self.cells(image_id).edit_patch(box, values, classes, places, origin=origin, verified=verified)
        return self._commit(image_id, "edit", tool, patch, author)

    def delete_cells(self, image_id: str, ids: ArrayLike, *, author: str | None = None) -> Edit | None:
        """Remove cells."""
        box = self.cells(image_id).box_around(ids)
        if box.is_empty:
            return None
        after = cell_shapes.delete(self.cells(image_id).instances[box.slices], ids)
        return self.edit_cells(image_id, box, after, tool="delete", author=author)

    def merge_cells(self, image_id: str, ids: ArrayLike, *, author: str | None = None) -> Edit | None:
        """Make one cell of several; number and class are those of the largest, gaps of up to four pixels close.

        The point is that of the largest too, or of another one where that has none.
        """
        cells = self.cells(image_id)
        box, numbers = cells.box_around(ids), np.unique(np.asarray(ids, np.int64))
        if numbers.size < 2:
            raise InputError("One cell alone cannot be merged; choose two or more.")
        keep = int(numbers[cells.areas_px(numbers).argmax()])
        after = cell_shapes.merge(cells.instances[box.slices], numbers, keep)
        rows = cells.rows(numbers)
        marked = rows[rows["point_y"] != NO_POINT]
        points: dict[int, tuple[float, float] | None] = {}
        if marked.size and cells.rows([keep])["point_y"][0] == NO_POINT:
            points = {keep: (float(marked["point_y"][0]), float(marked["point_x"][0]))}
        return self.edit_cells(image_id, box, after, tool="merge", points=points, author=author)

    def split_cells(self, image_id: str, ids: ArrayLike, line: ArrayLike, *, author: str | None = None) -> Edit | None:
        """Cut cells along a line; the largest part keeps the number, all keep the class, the point goes where it lies.

        Parameters
        ----------
        ids : array_like of int
        line : array_like of float, shape (n, 2)
            Corners of the line as (y, x) in pixels of the image; ``InputError`` when it cuts none of the cells.
        """
        return self._split(image_id, ids, line, cell_shapes.split_by_line, author)

    def split_cells_at(
        self, image_id: str, ids: ArrayLike, points: ArrayLike, *, author: str | None = None
    ) -> Edit | None:
        """Part cells between points, one in each part, (n, 2) as (y, x); otherwise as `split_cells`."""
        return self._split(image_id, ids, points, cell_shapes.split_by_points, author)

    def replace_cells(
        self,
        image_id: str,
        instances: NDArray[Any],
        class_ids: Mapping[int, int],
        *,
        tool: str,
        origin: Origin,
        scores: Mapping[int, float] | None = None,
        points: Mapping[int, tuple[float, float]] | None = None,
        verified: bool = False,
        author: str | None = None,
    ) -> Edit | None:
        """Put the cells of a model run, of points or of a file in the place of those there are.

        Unless the new ones are verified, cells that a person vouched for or that grew from a person's point stay, and
        a new cell that mostly lies on them is left out.

        Parameters
        ----------
        instances : ndarray of int, shape (H, W)
            Number of the cell at each pixel, 0 for none. The numbers are kept when none of them was ever used in this
            image; otherwise the cells are numbered from ``cells.next_id`` on, in their order.
        class_ids : mapping of int to int
            Class id by number; unknown where absent.
        tool : str
            Name for the record: the model, "points", "import".
        origin : Origin
        scores : mapping of int to float, optional
            0 to 1 by number; 1 where absent.
        points : mapping of int to (float, float), optional
            (y, x) in pixels of the image by number, of the cells that have a point.
        verified : bool
            Whether a person vouches for all of them.
        """
        self._check_classes(class_ids.values())
        cells = self.cells(image_id)
        values = self._checked_cells(image_id, Box.of_shape(cells.shape), instances, "The instance map")
        numbers, lookup = _numbering(values, cells.next_id)
        rows = np.full(int(lookup.max(initial=0)) + 1, NO_CELL)
        rows["class_id"][lookup[1:]] = [class_ids.get(number, IGNORE) for number in numbers.tolist()]
        rows["score"][lookup[1:]] = [(scores or {}).get(number, 1.0) for number in numbers.tolist()]
        places = self._checked_points(image_id, points or {})
        given = np.array([places.get(number, (NO_POINT, NO_POINT)) for number in numbers.tolist()]).reshape(-1, 2)
        rows["point_y"][lookup[1:]], rows["point_x"][lookup[1:]] = given.T
        rows["origin"][lookup[1:]], rows["verified"][lookup[1:]] = origin, verified
        if not np.isfinite(rows["score"]).all():
            raise InputError("A cell has a score that is no number; scores lie between 0 and 1.")
        new = _renumbered(values, numbers, lookup)
        if not verified:
            new, rows = _beside_persons(cells, new, rows)
        kind: Kind = "import" if origin is Origin.IMPORT else "run"
        return self._commit(image_id, kind, tool, cells.replacement_patch(new, rows), author)

    def _split(self, image_id: str, ids: ArrayLike, places: ArrayLike, cut: Cut, author: str | None) -> Edit | None:
        cells = self.cells(image_id)
        box = cells.box_around(ids)
        numbers = np.unique(np.asarray(ids, np.int64)).tolist()
        boxes = {k: Box(*corners).relative_to(box) for k, corners in zip(numbers, cells.boxes(numbers), strict=True)}
        local = np.asarray(places, np.float64).reshape(-1, 2) - (box.y0, box.x0)
        after, parents = split_each(np.asarray(cells.instances[box.slices]), boxes, local, cells.next_id, cut)
        classes = {new: int(cells.class_of(old)[0]) for new, old in parents.items()}
        points: dict[int, tuple[float, float] | None] = {}
        marked = cells.points(box)
        for old, y, x in zip(marked.ids.tolist(), marked.y.tolist(), marked.x.tolist(), strict=True):
            owner = int(after[round(y) - box.y0, round(x) - box.x0])
            if parents.get(owner) == old:
                points |= {old: None, owner: (y, x)}
        return self.edit_cells(image_id, box, after, tool="split", classes=classes, points=points, author=author)

    def _check_classes(self, class_ids: Any) -> None:
        for class_id in set(class_ids) - {IGNORE}:
            self.schema.by_id(class_id)

    def _checked_points(
        self, image_id: str, points: Mapping[int, tuple[float, float] | None]
    ) -> dict[int, tuple[float, float]]:
        """The points, with `NO_POINT` for none; ``InputError`` when one does not lie in the image."""
        entry = self.image(image_id)
        places = {number: (NO_POINT, NO_POINT) if place is None else place for number, place in points.items()}
        for number, place in points.items():
            on_pixel = np.zeros(2) if place is None else np.rint(np.asarray(place, np.float32))
            if not ((on_pixel >= 0) & (on_pixel < entry.shape)).all():
                raise InputError(
                    f"The point of cell {number} at {place} (y, x) does not lie inside '{entry.name}', which is "
                    f"{entry.shape} px."
                )
        return places

    def _checked_cells(self, image_id: str, box: Box, after: NDArray[Any], where: str) -> NDArray[np.uint32]:
        wrong = "values that are no numbers of cells; whole numbers from 0 on are needed"
        return self.image(image_id).fitted(box, after, np.uint32, where, wrong)


def _numbering(instances: NDArray[np.uint32], next_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers that occur, ascending, and the numbers they get, with 0 for the background in front."""
    largest = int(instances.max(initial=0))
    is_dense = largest < _MOST_COUNTED
    numbers = np.flatnonzero(pixel_counts(instances, largest + 1)) if is_dense else np.unique(instances)
    numbers = numbers[numbers > 0].astype(np.int64)
    is_free = numbers.size == 0 or (numbers[0] >= next_id and numbers[-1] < next_id + MOST_AHEAD)
    given = numbers if is_free else np.arange(next_id, next_id + numbers.size)
    return numbers, np.append(0, given)


def _renumbered(
    instances: NDArray[np.uint32], numbers: NDArray[np.int64], lookup: NDArray[np.int64]
) -> NDArray[np.uint32]:
    if np.array_equal(numbers, lookup[1:]):
        return instances
    return lookup.astype(np.uint32)[np.searchsorted(np.append(0, numbers), instances)]


def _beside_persons(
    cells: Cells, new: NDArray[np.uint32], rows: NDArray[np.void]
) -> tuple[NDArray[np.uint32], NDArray[np.void]]:
    """New cells around those that a person vouched for or placed a point in, and the rows of all by number."""
    kept = cells.persons_ids
    if not kept.size:
        return new, rows
    count = max(len(rows), cells.next_id)
    is_kept = np.zeros(count, bool)
    is_kept[kept] = True
    stays = is_kept[cells.instances]
    is_same = pixel_counts(np.where(stays, 0, new), count) < _LEAST_LEFT * pixel_counts(new, count)
    is_same[0] = False
    merged = np.where(stays, cells.instances, np.where(is_same[new], 0, new)).astype(np.uint32)
    all_rows = np.full(count, NO_CELL)
    all_rows[: len(rows)] = rows
    all_rows[kept] = cells.rows(kept)
    return merged, all_rows
