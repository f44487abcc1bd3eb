"""Points that a person sets in nuclei, and the cells that grow from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.jobs.lane import Priority
from napari_histoseg.session.one_job import OneJob
from napari_histoseg.session.point_editing import PointEditing, Unlabelled
from napari_histoseg.session.point_files import read_marks, write_marks
from napari_histoseg.session.point_growth import Growth, grown_whole

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.inference.doubts import Doubt
    from napari_histoseg.inference.ground import Ground
    from napari_histoseg.inference.points import PointRules, Points
    from napari_histoseg.jobs.job import Job
    from napari_histoseg.jobs.lane import JobFactory, Lane, Ticket
    from napari_histoseg.session.review import Review
    from napari_histoseg.session.status import JobStatus

_BACKGROUND = 0


class PointWork(PointEditing):
    """Points one by one, and all cells of an image from their points as a job.

    Parameters
    ----------
    review : Review
        Has the open project.
    lane : Lane
        Runs the jobs.
    on_status, on_error : callable
        Told of the progress of the full solve, and of what stopped a job.
    """

    doubts_changed = Signal(str)
    """Id of an image whose doubtful cells were found anew."""

    def __init__(
        self,
        review: Review,
        lane: Lane,
        *,
        on_status: Callable[[JobStatus], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        super().__init__(review)
        self._lane = lane
        self._on_error = on_error
        self._job = OneJob(lane, "points", on_status=on_status, on_error=on_error)
        self._doubts: dict[str, tuple[tuple[Doubt, ...], int]] = {}
        self._looking: Ticket | None = None
        self._changes: Counter[str] = Counter()
        review.project_changed.connect(self._on_project_changed)
        review.cells.changed.connect(self._on_cells_changed)

    @property
    def is_running(self) -> bool:
        """Whether cells of a whole image are growing."""
        return self._job.is_running

    def cancel(self) -> None:
        """Stop growing the cells of a whole image; they stay as they were."""
        self._job.cancel()

    def solve(self, image_id: str) -> None:
        """Start growing all cells of an image anew from their points, as a job of the kind "points".

        Returns at once; one edit follows, which undo takes back. What a model or a file outlined and nobody vouched
        for goes. Points keep their numbers. Errors as in `add`.
        """
        self._start(image_id, None)

    def import_csv(self, image_id: str, path: str | Path) -> tuple[str, ...]:
        """Read points from a CSV file with the columns x, y and class and start the full solve with them.

        Returns
        -------
        tuple of str
            A sentence for each kind of line that was left out or taken otherwise than written.

        Raises
        ------
        InputError
            Also when the file cannot be read as points; then nothing has been started.
        """
        project = self._review.need_project()
        growth = Growth.of(self._cells(image_id), keeps_found=False)
        marks, notes = read_marks(
            Path(path),
            project.schema,
            known=self.of(image_id),
            is_taken=growth.taken(self._cells(image_id).instances),
            same_px=self.rules.same_um / self._grounds.mpp(image_id),
        )
        if len(marks):
            self._start(image_id, marks)
        return notes

    def export_csv(self, image_id: str, path: str | Path) -> None:
        """Write the points of an image as CSV with the columns x, y and class; ``ResourceError`` on a full disk."""
        write_marks(Path(path), self.of(image_id), self._review.need_project().schema)

    def _start(self, image_id: str, marks: Points | None) -> None:
        cells = self._cells(image_id)
        self._check_writable()
        growth = Growth.of(cells, keeps_found=False)
        if marks is not None:
            growth = growth.with_points(marks, cells.next_id)
        new = growth.points.only(growth.points.numbers >= cells.next_id)
        ground, finding = self._grounds.known(image_id), self._grounds.finding(image_id)
        changes = self._changes[image_id]

        def take(result: tuple[Ground, NDArray[np.uint32]]) -> str:
            self._grounds.keep(image_id, result[0])
            if self._changes[image_id] != changes:
                raise ProjectError("The cells were changed while they grew, so nothing was replaced; start again.")
            self._replace(image_id, result[1], new)
            return f"{len(growth.points)} cells grew from points."

        job = partial(_solve, ground, finding, cells.instances.copy(), growth, self.rules)
        self._job.start(job, image_id, take)

    def _replace(self, image_id: str, after: NDArray[np.uint32], new: Points) -> Edit | None:
        numbers = new.numbers.tolist()
        edit = self._review.need_project().edit_cells(
            image_id,
            Box.of_shape(after.shape),
            after,
            tool="points",
            classes=dict(zip(numbers, new.class_ids.tolist(), strict=True)),
            points=dict(zip(numbers, zip(new.y.tolist(), new.x.tolist(), strict=True), strict=True)),
            origin=Origin.POINT,
            verified=None,
        )
        return self._review.tell(edit)

    def to_labels(self, image_id: str) -> None:
        """Start painting all cells into the labels with background around them, as a job of the kind "points".

        Stained nuclei without a cell get no label when `unlabelled` is "ignore", so that nobody learns from them, and
        are background otherwise. Returns at once; one edit follows, as a person's. Errors as in `add`, and
        ``InputError`` when there are no cells.
        """
        cells, ground = self._cells(image_id), self._grounds.known(image_id)
        self._check_writable()
        if not len(cells):
            raise InputError("The image has no cells that could be painted; place points or find nuclei first.")
        changes = self._changes[image_id]

        def take(result: tuple[Ground, NDArray[np.uint8]]) -> str:
            self._grounds.keep(image_id, result[0])
            if self._changes[image_id] != changes:
                raise ProjectError("The cells were changed meanwhile, so nothing was painted; start again.")
            whole = Box.of_shape(result[1].shape)
            self._review.tell(
                self._review.need_project().record(image_id, tool="from cells", box=whole, after=result[1])
            )
            return "The cells are in the labels."

        classes = cells.class_lookup.copy()
        classes[0] = _BACKGROUND
        job = partial(_paint, ground, self._grounds.finding(image_id), cells.instances.copy(), classes, self.unlabelled)
        self._job.start(job, image_id, take)

    def _check_writable(self) -> None:
        if self._review.need_project().read_only:
            raise ProjectError("The project is open for reading only, so no cells can grow or be painted in it.")

    # -- doubts ----------------------------------------------------------------------------------------------------

    def doubts(self, image_id: str) -> tuple[Doubt, ...]:
        """What `refresh_doubts` found and nobody has settled since, worst first; empty before.

        A doubt is settled when its cell is gone or somebody vouched for it, and that about a nucleus without a point
        when a new cell lies there.
        """
        found, first_new = self._doubts.get(image_id, ((), 0))
        cells = self._cells(image_id)

        def is_open(doubt: Doubt) -> bool:
            if doubt.cell_id:
                return doubt.cell_id in cells and not cells.is_verified([doubt.cell_id])[0]
            return int(cells.instances[round(doubt.y), round(doubt.x)]) < first_new

        return tuple(filter(is_open, found))

    def refresh_doubts(self, image_id: str) -> None:
        """Look for doubtful cells in the background; ``doubts_changed`` follows. Errors as in `add`."""
        project, cells = self._review.need_project(), self._cells(image_id)
        table = cells.table(self._grounds.mpp(image_id))
        names, first_new = {c.id: c.name for c in project.schema.classes}, cells.next_id
        job = partial(
            _look,
            self._grounds.known(image_id),
            self._grounds.finding(image_id),
            (cells.instances.copy(), table, cells.points(), cells.is_verified(table.ids), names),
        )

        def keep(result: tuple[Ground, tuple[Doubt, ...]]) -> None:
            if self._review.project is not project:
                return
            self._doubts[image_id] = result[1], first_new
            self.doubts_changed.emit(image_id)
            try:
                self._grounds.keep(image_id, result[0])
            except ProjectError as error:  # the project cannot be written any more
                self._on_error(error)

        if self._looking is not None:
            self._looking.cancel()
        self._looking = self._lane.submit(job, priority=Priority.USER, on_done=keep, on_error=self._on_error)

    def _on_cells_changed(self, image_id: str) -> None:
        self._changes[image_id] += 1

    def _on_project_changed(self) -> None:
        self._grounds.clear()
        self._doubts.clear()
        if self._looking is not None:
            self._looking.cancel()


def _solve(
    ground: Ground | None, finding: JobFactory, instances: NDArray[np.uint32], growth: Growth, rules: PointRules
) -> Job[tuple[Ground, NDArray[np.uint32]]]:
    """The ground of an image and its instance map with all cells grown anew."""
    found: Any = (yield from finding()) if ground is None else ground
    after = yield from grown_whole(instances, growth, ground=found, rules=rules)
    return found, after


def _paint(
    ground: Ground | None,
    finding: JobFactory,
    instances: NDArray[np.uint32],
    classes: NDArray[np.uint8],
    unlabelled: Unlabelled,
) -> Job[tuple[Ground, NDArray[np.uint8]]]:
    """The ground of an image and the class of each pixel, by that of its cell."""
    from napari_histoseg.inference.points import ignore_unmarked

    found: Any = (yield from finding()) if ground is None else ground
    labels = classes[instances]
    if unlabelled == "ignore":
        yield from ignore_unmarked(labels, instances, ground=found)
    return found, labels


def _look(ground: Ground | None, finding: JobFactory, cells: tuple[Any, ...]) -> Job[tuple[Ground, tuple[Doubt, ...]]]:
    """The ground of an image and what looks wrong among its cells."""
    from napari_histoseg.inference.doubts import DoubtRequest, find_doubts

    found: Any = (yield from finding()) if ground is None else ground
    doubts = yield from find_doubts(DoubtRequest(found, *cells))
    return found, doubts
