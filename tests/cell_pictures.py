"""Instance maps and projects that several tests of cells need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import CELLULARITY

SHAPE = (60, 80)


def disks(shape: tuple[int, int] = SHAPE, *, step: int = 12, radius: float = 5.0) -> NDArray[np.int64]:
    """Round cells on a grid, numbered from 1, row by row."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.hypot(y % step - step / 2, x % step - step / 2) < radius
    columns = -(-shape[1] // step)
    return np.where(inside, y // step * columns + x // step + 1, 0)


def new_project(path: Path) -> tuple[Project, str]:
    """A project of the cellularity schema with one empty image."""
    project = Project.create(path, CELLULARITY)
    pixels = np.zeros(SHAPE, np.uint8)
    return project, project.add_image(image_from_array(pixels, name="tissue", mpp=0.5)).id


State = tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.void]]


def state_of(cells: Cells) -> State:
    """Everything a person could tell apart, copied."""
    return cells.instances.copy(), cells.ids, cells.rows(cells.ids)


def assert_same(cells: Cells, state: State) -> None:
    for now, then in zip(state_of(cells), state, strict=True):
        np.testing.assert_array_equal(now, then)


def assert_consistent(cells: Cells) -> None:
    """Counts, boxes and middles are those of a count from scratch."""
    instances = cells.instances
    present = np.setdiff1d(np.unique(instances), [0])
    np.testing.assert_array_equal(cells.ids, present)
    assert len(cells) == len(present) and cells.next_id > int(instances.max())
    assert set(cells.class_lookup[np.setdiff1d(np.arange(cells.next_id), present)]) <= {255}
    for number in present:
        y, x = np.nonzero(instances == number)
        assert cells.areas_px(number)[0] == len(y)
        np.testing.assert_allclose(cells.centroids(number)[0], (y.mean(), x.mean()))
        assert cells.boxes(number)[0].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]


def repeat_last_edit(project: Project, count: int) -> None:
    """Lengthen the journal by copies of its last row, far faster than by acts."""
    counter = f"WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < {count})"
    columns = "image_id, at, author, tool, kind, y0, x0, y1, x1, changed, target, patch, checksum, cells"
    last = "(SELECT * FROM edits ORDER BY seq DESC LIMIT 1)"
    project._journal._db.execute(f"INSERT INTO edits ({columns}) {counter} SELECT {columns} FROM n, {last}")
    project._stacks.clear()


def hurried(project: Project) -> Project:
    """The project, not waiting for the disk, whose own pace is measured elsewhere."""
    project._journal._db.execute("PRAGMA synchronous=OFF")
    return project
