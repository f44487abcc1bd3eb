"""Points as attributes of cells: placed, moved, taken away, kept, brought back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import assert_same, disks, new_project, state_of

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import NO_POINT, Origin
from napari_histoseg.core.cell_plane import Cells
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE


@pytest.fixture
def study(tmp_path: Path) -> Iterator[tuple[Project, str]]:
    """Cells of a model, of three classes."""
    project, image_id = new_project(tmp_path / "study.histoseg")
    with project:
        project.replace_cells(
            image_id, disks(), {k: 1 + k % 3 for k in range(1, 36)}, tool="model", origin=Origin.MODEL, scores={3: 0.25}
        )
        yield project, image_id


def told(cells: Cells, box: Box | None = None) -> list[tuple[int, float, float, int]]:
    points = cells.points(box)
    return list(zip(points.ids.tolist(), points.y.tolist(), points.x.tolist(), points.class_ids.tolist(), strict=True))


def test_a_point_is_an_attribute_of_its_cell(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    assert len(cells.points()) == 0
    box = Box(0, 0, 12, 12)
    as_it_is = cells.instances[box.slices].copy()
    edit = project.edit_cells(
        image_id, box, as_it_is, tool="point", points={1: (6.25, 5.5), 9: (17, 20)}, origin=Origin.POINT, verified=None
    )
    assert edit is not None and (edit.cells, edit.changed) == (2, 0) and edit.box == cells.box_around([1, 9])
    assert told(cells) == [(1, 6.25, 5.5, 2), (9, 17, 20, 1)]
    assert told(cells, box) == told(cells, Box(6, 6, 7, 7)) == [(1, 6.25, 5.5, 2)], "5.5 is nearest to pixel 6"
    assert told(cells, Box(7, 5, 20, 20)) == []
    assert cells.rows([1, 9])["origin"].tolist() == [Origin.POINT] * 2 and not cells.is_verified([1, 9]).any()
    project.set_class(image_id, [9], 3)
    assert told(cells)[1] == (9, 17, 20, 3)
    project.edit_cells(image_id, box, as_it_is, tool="point", points={1: None}, origin=None, verified=None)
    assert told(cells) == [(9, 17, 20, 3)]
    project.delete_cells(image_id, [9])
    assert told(cells) == []
    for expected in ([(9, 17, 20, 3)], [(1, 6.25, 5.5, 2), (9, 17, 20, 3)], [(1, 6.25, 5.5, 2), (9, 17, 20, 1)], []):
        project.undo(image_id)
        assert told(cells) == expected


def test_a_placed_point_makes_a_cell_at_once(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    box = Box(50, 70, 60, 80)
    after = np.where(np.hypot(*np.mgrid[-5:5, -5:5]) < 3, 36, 0)
    edit = project.edit_cells(
        image_id, box, after, tool="point", classes={36: 3}, points={36: (55, 75)}, origin=Origin.POINT, verified=None
    )
    assert edit is not None and told(cells) == [(36, 55, 75, 3)]
    assert cells.rows([36]).tolist() == [(3, Origin.POINT, 0, 1.0, 55.0, 75.0)]
    state = state_of(cells)
    project.undo(image_id)
    assert told(cells) == []
    project.redo(image_id)
    assert_same(cells, state)


def test_origin_and_word_and_score_can_stay_as_they_are(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    project.verify_cells(image_id, [2])
    box = Box(0, 0, 12, 40)
    after = cells.instances[box.slices].copy()
    after[:3] = 0
    after[0, 0] = 36
    edit = project.edit_cells(image_id, box, after, tool="grow", classes={3: 2}, origin=None, verified=None)
    assert edit is not None and edit.changed > 3
    assert cells.rows([1, 2, 3, 36]).tolist() == [
        (2, Origin.MODEL, 0, 1.0, NO_POINT, NO_POINT),
        (3, Origin.MODEL, 1, 1.0, NO_POINT, NO_POINT),
        (2, Origin.MODEL, 0, 1.0, NO_POINT, NO_POINT),  # the score was of another class
        (IGNORE, Origin.PERSON, 0, 1.0, NO_POINT, NO_POINT),
    ]
    project.undo(image_id)
    after[0, 0] = 37
    project.edit_cells(image_id, box, after, tool="grow", origin=None, verified=True)
    assert cells.rows([3])["score"] == 0.25 and cells.is_verified([1, 2, 3, 37]).all()


def test_cells_with_points_come_as_a_whole_and_stay(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    project.replace_cells(
        image_id, disks(), {1: 3}, tool="points", origin=Origin.POINT, points={1: (5, 6), 2: (6, 18), 3: (6, 30)}
    )
    assert told(cells) == [(36, 5, 6, 3), (37, 6, 18, IGNORE), (38, 6, 30, IGNORE)], "numbers are not used twice"
    project.delete_cells(image_id, cells.ids[5:])
    project.replace_cells(image_id, np.roll(disks(), 1, axis=1), {}, tool="model", origin=Origin.MODEL)
    assert told(cells) == [(36, 5, 6, 3), (37, 6, 18, IGNORE), (38, 6, 30, IGNORE)]
    assert len(cells) == 35 and cells.persons_ids.tolist() == [36, 37, 38, 39, 40]
    np.testing.assert_array_equal(np.isin(cells.instances, range(36, 41)), (disks() > 0) & (disks() <= 5))
    project.replace_cells(image_id, disks(), {}, tool="import", origin=Origin.IMPORT, verified=True)
    assert told(cells) == []


@pytest.mark.parametrize("x", [2.0, 10.0])
def test_a_split_cell_leaves_its_point_where_it_lies(study: tuple[Project, str], x: float) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    point = {1: (6.0, x)}
    project.edit_cells(image_id, Box(0, 0, 1, 1), np.zeros((1, 1)), tool="point", points=point, verified=None)
    project.split_cells(image_id, 1, [(-2, 6.6), (20, 6.6)])
    (number,) = cells.points().ids
    assert number == cells.instances[6, int(x)] and cells.class_of([1, 36]).tolist() == [2, 2]
    assert {number} != {1, 36}


def test_a_merged_cell_keeps_a_point(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    blank = Box(0, 0, 1, 1), np.zeros((1, 1))
    project.edit_cells(image_id, *blank, tool="point", points={2: (6, 17), 3: (6, 30)}, verified=None)
    project.merge_cells(image_id, [1, 2])
    assert told(cells) == [(1, 6, 17, 2), (3, 6, 30, 1)], "the other's, where the larger one has none"
    project.merge_cells(image_id, [1, 3])
    assert told(cells) == [(1, 6, 17, 2)]


def test_points_come_back_after_reopening(study: tuple[Project, str]) -> None:
    project, image_id = study
    blank = Box(0, 0, 1, 1), np.zeros((1, 1))
    project.edit_cells(image_id, *blank, tool="point", points={1: (6, 5.1), 2: (-0.5, 17)}, verified=None)
    project.checkpoint()
    project.edit_cells(image_id, *blank, tool="point", points={1: None, 3: (6, 29)}, verified=None)
    state = state_of(project.cells(image_id))
    project.close()
    for folder in ("whole", "without checkpoints"):
        with Project.open(project.path) as again:
            assert again.notes == ()
            assert_same(again.cells(image_id), state)
            assert again.cells(image_id).points().ids.tolist() == [2, 3], folder
        shutil.rmtree(project.path / "checkpoints")
