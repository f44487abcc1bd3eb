"""Relabelling by similarity: a person chooses a few cells, and those that look alike get the same class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from napari_histoseg.core.cell_patch import CellPatch
from napari_histoseg.core.errors import InputError
from napari_histoseg.inference.cell_features import FEATURES, MARGIN_UM, FeatureRequest, measure_cells
from napari_histoseg.inference.similarity import similarity, standardised
from napari_histoseg.jobs.lane import Priority
from napari_histoseg.session.one_job import OneJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_histoseg.core.cell_plane import Cells
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.jobs.lane import Lane
    from napari_histoseg.session.review import Review
    from napari_histoseg.session.status import JobStatus

MOST_CHOSEN = 5
"""More examples than this are no quick gesture any more."""


class SimilarWork:
    """Measures the cells of images in the background, and finds those that look alike.

    What was measured is kept until the project is closed; after an edit only the cells whose outlines changed are
    measured again.

    Parameters
    ----------
    review : Review
        Has the open project and its cells.
    lane : Lane
    on_status, on_error : callable
        Told how the job stands, and what stopped it.
    """

    measured = Signal(str)
    """Id of an image all of whose cells are measured now."""
    found = Signal(str)
    """Id of an image in which the cells that look like the chosen ones are known now."""

    def __init__(
        self,
        review: Review,
        lane: Lane,
        *,
        on_status: Callable[[JobStatus], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._review = review
        self._on_status = on_status
        self._job = OneJob(lane, "features", on_status=self._on_job_status, on_error=on_error)
        self._known: dict[str, _Known] = {}
        self._batch = _Batch("", _NOBODY, _Known(None))
        self._search = _Search("", _NOBODY)
        review.edited.connect(self._on_edited)
        review.project_changed.connect(self._on_project_changed)

    # -- measuring -------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self._job.is_running

    def measure(self, image_id: str) -> None:
        """Measure the cells that are not measured yet; ends with ``measured``, at once when there are none.

        Raises
        ------
        InputError
            When the µm per pixel of the image is not known.
        ProjectError
            When the image cannot be read any more.
        """
        image = self._review.image_ref(image_id)
        if image.mpp is None:
            raise InputError(f"The µm per pixel of '{image.name}' is not known; set it first, then measure its cells.")
        cells = self._cells(image_id)
        known = self._of(image_id)
        ids = known.missing(cells.ids)
        if not ids.size:
            self._tell(image_id)
            return
        if self.is_running and self._batch.holds(known, ids):
            return
        # Only what is looked at is copied; the rest of the map takes no memory.
        window = cells.box_around(ids).pad(int(np.ceil(MARGIN_UM / image.mpp)) + 1).clip(cells.shape)
        instances = np.zeros(cells.shape, np.uint32)
        instances[window.slices] = cells.instances[window.slices]
        request = FeatureRequest(image, instances, ids, cells.boxes(ids))
        batch = self._batch = _Batch(image_id, ids, known)
        factory, take = partial(measure_cells, request), partial(self._on_measured, batch)
        self._job.start(factory, image_id, take, priority=Priority.INTERACTIVE)

    def cancel(self) -> None:
        """Stop measuring; nobody hears of the cells that were looked for."""
        self._job.cancel()

    def features(self, image_id: str) -> Mapping[str, NDArray[np.float64]]:
        """Each of `FEATURES` by name, aligned with the numbers of the image's cells; NaN where not measured yet."""
        return dict(zip(FEATURES, self._of(image_id).of(self._cells(image_id).ids).T, strict=True))

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, image_id: str, ids: ArrayLike) -> None:
        """Look for cells like one to five chosen ones; ends with ``found``. Errors as in `measure`."""
        chosen = np.unique(np.asarray(ids, np.int64))
        if not 1 <= chosen.size <= MOST_CHOSEN:
            raise InputError(f"{chosen.size} cells are chosen; choose 1 to {MOST_CHOSEN} that look alike.")
        self._cells(image_id).areas_px(chosen)
        self._search = _Search(image_id, chosen)
        self.measure(image_id)

    def chosen(self, image_id: str) -> NDArray[np.int64]:
        """The cells that were chosen and still exist."""
        search = self._search_in(image_id)
        return np.intersect1d(search.chosen, self._cells(image_id).ids)

    def ranked(self, image_id: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The cells that nobody has vouched for, the most similar first, and how similar (0 to 1) they are.

        Empty before ``found``.
        """
        search, cells = self._search_in(image_id), self._cells(image_id)
        ids = cells.ids
        is_offered = np.isin(search.ids, ids[~cells.is_verified(ids)])
        return search.ids[is_offered], search.similarities[is_offered]

    def left_out(self, image_id: str) -> int:
        """How many cells are never proposed, since a person has vouched for them; the chosen are not counted."""
        cells = self._cells(image_id)
        return int(cells.is_verified(np.setdiff1d(cells.ids, self.chosen(image_id))).sum())

    def apply(self, image_id: str, count: int, class_id: int) -> Edit | None:
        """Give a class to the chosen cells and to the ``count`` most similar, on a person's word, as one edit.

        Raises
        ------
        InputError
            When nothing was looked for in that image.
        ProjectError
            When the disk is full or the project is read-only.
        """
        chosen = self.chosen(image_id)
        if not chosen.size:
            raise InputError("No cells are chosen in this image; choose some and find similar ones first.")
        similar = self.ranked(image_id)[0][: max(0, count)]
        return self._review.cells.set_class(image_id, np.append(chosen, similar), class_id)

    def forget(self) -> None:
        """Let go of the chosen cells and of what was found."""
        self._search = _Search("", _NOBODY)

    def _search_in(self, image_id: str) -> _Search:
        return self._search if self._search.image_id == image_id else _Search(image_id, _NOBODY)

    def _rank(self, search: _Search) -> None:
        ids = self._cells(search.image_id).ids
        chosen = np.intersect1d(search.chosen, ids)
        if not chosen.size:
            return
        standard = standardised(self._of(search.image_id).of(ids))
        values = similarity(standard, np.searchsorted(ids, chosen))
        order = np.argsort(-values, kind="stable")
        order = order[~np.isin(ids[order], chosen)]
        search.ids, search.similarities = ids[order], values[order]

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_edited(self, edit: Edit) -> None:
        if isinstance(edit.patch, CellPatch):
            numbers = edit.patch.reshaped_ids
            self._of(edit.image_id).forget(numbers)
            if self.is_running and self._batch.image_id == edit.image_id:
                self._batch.changed.append(numbers)

    def _on_project_changed(self) -> None:
        self.cancel()
        self._known.clear()
        self.forget()

    def _on_measured(self, batch: _Batch, values: NDArray[np.float32]) -> str:
        batch.known.keep(batch.ids, values)
        for numbers in batch.changed:
            batch.known.forget(numbers)
        return f"Measured {len(batch.ids)} cells."

    def _on_job_status(self, status: JobStatus) -> None:
        self._on_status(status)
        if status.state == "done" and status.image_id is not None:
            self._tell(status.image_id)

    def _tell(self, image_id: str) -> None:
        self.measured.emit(image_id)
        search = self._search_in(image_id)
        if search.chosen.size and not search.is_over:
            search.is_over = True
            self._rank(search)
            self.found.emit(image_id)

    def _cells(self, image_id: str) -> Cells:
        return self._review.need_project().cells(image_id)

    def _of(self, image_id: str) -> _Known:
        """What is known of an image; nothing any more when it got another resolution."""
        mpp = self._review.need_project().image(image_id).mpp
        known = self._known.get(image_id)
        if known is None or known.mpp != mpp:
            known = self._known[image_id] = _Known(mpp)
        return known


_NOBODY = np.zeros(0, np.int64)


@dataclass(eq=False)
class _Search:
    """What somebody looks for, and what was found: cells and similarities, the most similar first."""

    image_id: str
    chosen: NDArray[np.int64]
    ids: NDArray[np.int64] = field(default_factory=_NOBODY.copy)
    similarities: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    is_over: bool = False


@dataclass(eq=False)
class _Batch:
    """Cells that are being measured, where that is kept, and numbers of those that changed since that began."""

    image_id: str
    ids: NDArray[np.int64]
    known: _Known
    changed: list[NDArray[np.int64]] = field(default_factory=list)

    def holds(self, known: _Known, ids: NDArray[np.int64]) -> bool:
        """Whether measuring these cells would find nothing else."""
        return self.known is known and not self.changed and bool(np.isin(ids, self.ids).all())


class _Known:
    """The features of an image's cells by number, as far as they are known, at so many µm per pixel."""

    def __init__(self, mpp: float | None) -> None:
        self.mpp = mpp
        self._values = np.full((0, len(FEATURES)), np.nan, np.float32)
        self._is_known = np.zeros(0, bool)

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, len(FEATURES)), NaN where not known."""
        self._make_room(ids)
        return np.where(self._is_known[ids, None], self._values[ids], np.nan).astype(np.float64)

    def missing(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the cells that are to be measured."""
        self._make_room(ids)
        return ids[~self._is_known[ids]]

    def keep(self, ids: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self._make_room(ids)
        self._values[ids] = values
        self._is_known[ids] = True

    def forget(self, numbers: NDArray[np.int64]) -> None:
        """These cells changed."""
        self._is_known[numbers[numbers < len(self._is_known)]] = False

    def _make_room(self, ids: NDArray[np.int64]) -> None:
        more = int(ids.max(initial=-1)) + 1 - len(self._is_known)
        if more > 0:
            self._values = np.concatenate([self._values, np.full((more, len(FEATURES)), np.nan, np.float32)])
            self._is_known = np.append(self._is_known, np.zeros(more, bool))
