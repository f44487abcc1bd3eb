"""What a person does to the cells of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_outlines import outline_each
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.edit import State
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.cell_finding import Outline
from napari_histoseg.session.cell_look import Ids, places_of
from napari_histoseg.session.cell_shaping import CellShaping, Word, boxes_in

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.session.review import Review


Repaint = Callable[[str, Mapping[int, Outline], Callable[[Mapping[int, Outline]], str]], None]


class CellWork(CellShaping):
    """Changes cells of the open project, each call as one step that undo takes back.

    Every call returns the edit, or None when nothing changed, and emits ``edited`` of the session and ``changed``.
    Numbers None mean all cells of the image; acts on chosen cells are a person's word for them, outlines changed in
    all cells at once are not. All raise ``InputError`` for cells and classes that do not exist and where the µm per
    pixel is needed but unknown, and ``ProjectError`` when no project is open, the disk is full or the project is
    read-only; then nothing has changed.

    Parameters
    ----------
    review : Review
        Has the open project.
    repaint : callable
        Starts the active model on the outlines of cells of an image and hands what it found to a function.
    haematoxylin : callable
        See `CellLook`.
    """

    def __init__(self, review: Review, repaint: Repaint, haematoxylin: Callable[[str], NDArray[np.float64]]) -> None:
        super().__init__(review, haematoxylin)
        self._repaint = repaint

    def set_class(self, image_id: str, ids: Ids, class_id: int) -> Edit | None:
        """Give cells a class; ``IGNORE`` for an unknown one."""
        return self._review.tell(self._project.set_class(image_id, self._chosen(image_id, ids), class_id))

    def verify(self, image_id: str, ids: Ids) -> Edit | None:
        """Vouch for outline and class of cells."""
        return self._review.tell(self._project.verify_cells(image_id, self._chosen(image_id, ids)))

    def delete(self, image_id: str, ids: Ids) -> Edit | None:
        """Remove cells."""
        return self._review.tell(self._project.delete_cells(image_id, self._chosen(image_id, ids)))

    def merge(self, image_id: str, ids: ArrayLike) -> Edit | None:
        """Make one cell of several; number and class are those of the largest."""
        return self._review.tell(self._project.merge_cells(image_id, self._chosen(image_id, ids)))

    def split(self, image_id: str, line: ArrayLike) -> Edit | None:
        """Cut every cell that a line (n, 2) crosses from side to side; the largest part keeps the number."""
        crossed = self.crossed(image_id, line)
        if not crossed.size:
            raise InputError("The line crosses no cell; draw it across the cells that should be cut.")
        return self._review.tell(self._project.split_cells(image_id, crossed, line))

    def split_at(self, image_id: str, points: ArrayLike) -> Edit | None:
        """Part every cell that holds two or more of the points (n, 2) between them."""
        places = places_of(points)
        held = np.array([self.at(image_id, y, x) for y, x in places], np.int64)
        ids, counts = np.unique(held[held > 0], return_counts=True)
        if not (counts > 1).any():
            raise InputError("No cell holds two of the points; set one in each part that a cell should have.")
        return self._review.tell(self._project.split_cells_at(image_id, ids[counts > 1], places))

    def from_regions(self, image_id: str, class_ids: ArrayLike) -> Edit | None:
        """Make a cell of each connected region that the labels show of those classes; cells that are there stay.

        The new cells are verified where a person vouched for the labels of all of them.
        """
        from skimage.measure import label

        cells, chosen = self.of(image_id), np.unique(np.asarray(class_ids, np.int64))
        for class_id in chosen.tolist():
            self._project.schema.by_id(class_id)
        labels = self._review.displayed(image_id)
        is_new = np.isin(labels, chosen) & (cells.instances == 0)
        box = Box.of_mask(is_new)
        if box.is_empty:
            raise InputError("The labels show no region of these classes beside the cells; choose other classes.")
        is_new, shown = is_new[box.slices], labels[box.slices]
        regions = label(np.where(is_new, shown.astype(np.int32) + 1, 0), connectivity=1)
        numbers, first = np.unique(regions, return_index=True)
        classes = dict(zip((numbers + cells.next_id - 1).tolist(), shown.ravel()[first].tolist(), strict=True))
        classes.pop(cells.next_id - 1, None)
        after = np.where(is_new, regions + (cells.next_id - 1), cells.instances[box.slices])
        is_vouched_for = bool((self._review.state(image_id, box)[is_new] != State.UNREVIEWED).all())
        return self._edit(image_id, box, after, tool="from regions", classes=classes, verified=is_vouched_for)

    def to_regions(self, image_id: str, ids: Ids) -> Edit | None:
        """Paint cells of known class into the labels, as a person's."""
        cells, chosen = self.of(image_id), self._chosen(image_id, ids)
        known = chosen[cells.class_of(chosen) != IGNORE]
        if not known.size:
            raise InputError("None of these cells has a class; give them one first.")
        box = cells.box_around(known)
        is_painted = np.zeros(cells.next_id, bool)
        is_painted[known] = True
        instances = cells.instances[box.slices]
        painted, shown = cells.class_lookup[instances], self._review.displayed(image_id, box)
        after = np.where(is_painted[instances], painted, shown)
        return self._review.tell(self._project.record(image_id, tool="from cells", box=box, after=after))

    def repaint(self, image_id: str, ids: Ids) -> None:
        """Start outlining cells anew with the active model, as a job of the kind "repaint". Returns at once.

        They keep number and class, and take pixels that no other cell has; it is one step of undo. ``InputError`` also
        when no model of nuclei is active.
        """
        cells, chosen = self.of(image_id), self._chosen(image_id, ids)
        corners = (Box(*part) for part in cells.boxes(chosen).tolist())
        outlines = {
            number: (box, cells.instances[box.slices] == number)
            for number, box in zip(chosen.tolist(), corners, strict=True)
        }
        if outlines:
            word: Word = (None, None) if ids is None else (Origin.MODEL, True)
            self._repaint(image_id, outlines, partial(self._take_outlines, image_id, len(outlines), word))

    def _take_outlines(self, image_id: str, asked: int, word: Word, outlines: Mapping[int, Outline]) -> str:
        """Give cells that are still there the outlines that a model found; what came of it, in a sentence."""
        cells = self.of(image_id)
        there = {number: found for number, found in outlines.items() if number in cells}
        if not there:
            return "The model sees no cell there; nothing was changed."
        ids = np.array(list(there), np.int64)
        box = cells.box_around(ids)
        for around, _ in there.values():
            box = box.union(around)
        local = {number: (around.relative_to(box), mask) for number, (around, mask) in there.items()}
        after = outline_each(np.asarray(cells.instances[box.slices]), boxes_in(cells, ids, box), local)
        self._edit(image_id, box, after, tool="repaint", origin=word[0], verified=word[1])
        return f"{len(there)} of {asked} cells outlined anew." if asked > 1 else "The cell was outlined anew."
