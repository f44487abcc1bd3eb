"""Cells as objects of a project: classes, outlines, undo, coming back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from cell_pictures import SHAPE, assert_consistent, assert_same, disks, new_project, state_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_geometry import CellGeometry
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.cell_runs import CellRuns
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.instances import cell_table

ONE = Box(0, 0, 1, 1), np.zeros((1, 1))


@pytest.fixture
def study(tmp_path: Path) -> Iterator[tuple[Project, str]]:
    project, image_id = new_project(tmp_path / "study.histoseg")
    with project:
        project.replace_cells(
            image_id, disks(), {k: 1 + k % 3 for k in range(1, 36)}, tool="model", origin=Origin.MODEL, scores={3: 0.25}
        )
        yield project, image_id


def test_a_run_is_one_edit_with_all_its_cells(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    (edit,) = project.edits(image_id)
    assert (edit.kind, edit.tool, edit.cells, edit.changed) == ("run", "model", 35, int((disks() > 0).sum()))
    np.testing.assert_array_equal(cells.instances, disks())
    np.testing.assert_array_equal(cells.class_of([1, 2, 3]), [2, 3, 1])
    np.testing.assert_array_equal(cells.class_lookup[cells.instances][disks() == 0], IGNORE)
    assert cells.counts() == {1: 11, 2: 12, 3: 12}
    assert (cells.origin_of(cells.ids) == Origin.MODEL).all() and not cells.is_verified(cells.ids).any()
    assert_consistent(cells)
    project.undo(image_id)
    assert len(cells) == 0 and not cells.instances.any() and cells.next_id == 36
    assert project.redo(image_id) is not None
    assert_consistent(cells)


def test_nuclei_that_a_model_found_are_no_edit_of_a_person(study: tuple[Project, str]) -> None:
    project, image_id = study
    assert project.edit_count(image_id) == 1 and not project.is_edited(image_id)
    project.set_class(image_id, [3], 2)
    project.replace_cells(image_id, disks(step=9), {}, tool="model", origin=Origin.MODEL)
    assert project.is_edited(image_id)
    project.undo(image_id)
    project.undo(image_id)
    assert not project.is_edited(image_id)
    project.redo(image_id)
    assert project.is_edited(image_id)
    project.undo(image_id)
    project.undo(image_id)
    assert not project.is_edited(image_id), "nothing at all is in force"


def test_the_table_is_that_of_a_count_from_scratch(study: tuple[Project, str]) -> None:
    project, image_id = study
    table = project.cells(image_id).table(0.5)
    expected = cell_table(
        disks().astype(np.int32), 0.5, class_ids=np.array([1 + k % 3 for k in range(1, 36)], np.uint8)
    )
    for name in ("ids", "class_ids", "x", "y", "area_um2"):
        np.testing.assert_allclose(getattr(table, name), getattr(expected, name))
    assert table.score[2] == 0.25 and table.score[0] == 1
    assert np.isnan(project.cells(image_id).table(None).area_um2).all()


def test_a_class_is_one_small_edit_and_a_persons_word(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    edit = project.set_class(image_id, [3, 9], 2, author="pathologist")
    assert edit is not None
    assert (edit.kind, edit.tool, edit.author, edit.cells, edit.changed) == ("edit", "class", "pathologist", 2, 0)
    assert edit.box == cells.box_around([3, 9])
    assert cells.class_of([3, 9]).tolist() == [2, 2] and cells.is_verified([3, 9]).all()
    assert cells.table(1.0).score[2] == 1, "the score was of another class"
    assert project.set_class(image_id, [3], 2) is None
    assert project.set_class(image_id, [3], IGNORE) is not None
    project.undo(image_id)
    project.undo(image_id)
    assert cells.class_of(3)[0] == 1 and not cells.is_verified(3)[0] and cells.table(1.0).score[2] == 0.25
    size = project._journal._db.execute("SELECT max(length(patch)) FROM edits WHERE kind = 'edit'").fetchone()[0]
    assert size < 120


def test_vouching_for_cells(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    edit = project.verify_cells(image_id, cells.ids)
    assert edit is not None and (edit.kind, edit.cells) == ("accept", 35)
    assert cells.is_verified(cells.ids).all() and (cells.origin_of(cells.ids) == Origin.MODEL).all()
    assert project.verify_cells(image_id, [1, 2]) is None


def test_a_drawn_cell_takes_pixels_from_its_neighbours(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    box = Box(0, 0, 12, 24)
    after = cells.instances[box.slices].copy()
    after[:, :12] = 36
    edit = project.edit_cells(image_id, box, after, tool="paint", classes={36: 3})
    assert edit is not None and edit.cells == 2, "cell 1 is gone, cell 36 is new"
    assert 1 not in cells and 36 in cells and cells.class_of(36)[0] == 3
    assert cells.origin_of(36)[0] == Origin.PERSON and cells.is_verified(36)[0] and not cells.is_verified(2)[0]
    assert_consistent(cells)
    project.undo(image_id)
    assert 1 in cells and 36 not in cells
    with pytest.raises(InputError, match="Number 36 was another cell's; number new cells from 37 on"):
        project.edit_cells(image_id, box, after, tool="paint")
    assert_consistent(cells)


def test_deleted_merged_and_split_cells(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    start = state_of(cells)
    assert project.delete_cells(image_id, [5, 6]) is not None and 5 not in cells and len(cells) == 33
    assert project.merge_cells(image_id, [1, 2]) is not None
    assert cells.areas_px(1)[0] > 2 * start[0][start[0] == 1].size, "the gap between them belongs to the cell"
    assert 2 not in cells
    edit = project.split_cells(image_id, 9, [(-2, 10), (30, 19.4)])
    assert edit is not None and edit.tool == "split" and 36 in cells
    assert cells.class_of(36) == cells.class_of(9)
    assert cells.areas_px(9)[0] + cells.areas_px(36)[0] == (start[0] == 9).sum()
    edit = project.split_cells_at(image_id, 1, [(6, 6), (6, 18), (6, 18)])
    assert edit is not None and cells.areas_px([1, 37]).min() > 60
    assert_consistent(cells)
    end = state_of(cells)
    while project.edit_count(image_id) > 1:
        project.undo(image_id)
    assert_same(cells, start)
    while project.redo(image_id):
        pass
    assert_same(cells, end)


def test_a_line_beside_or_into_a_cell_cuts_nothing(study: tuple[Project, str]) -> None:
    project, image_id = study
    for line in ([(0, 0), (0, 50)], [(6, -5), (6, 6)]):
        with pytest.raises(InputError, match="does not cut cell 1 in two; draw it across"):
            project.split_cells(image_id, 1, line)
    with pytest.raises(InputError, match="Fewer than two points lie in cell 1"):
        project.split_cells_at(image_id, 1, [(6, 6), (6.2, 6.1), (50, 50), (-3, 6)])
    with pytest.raises(InputError, match="One cell alone"):
        project.merge_cells(image_id, [4, 4])
    assert project.edit_count(image_id) == 1


def test_a_speck_beside_a_cell_goes_with_the_nearest_part(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    after = cells.instances[:14, :14].copy()
    after[12, 6] = after[13, 8] = 1
    project.edit_cells(image_id, Box(0, 0, 14, 14), after, tool="paint")
    assert project.split_cells(image_id, 1, [(-2, 6), (20, 6)]) is not None, "the line covers one of the specks"
    assert sorted(np.unique(cells.instances[:14, :14]).tolist()) == [0, 1, 36]
    assert cells.instances[13, 8] == cells.instances[8, 8] != cells.instances[8, 3]
    assert_consistent(cells)


def test_a_model_does_not_replace_what_a_person_vouched_for(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    project.set_class(image_id, [1, 2], 3)
    shifted = np.roll(disks(), 2, axis=1)
    project.replace_cells(image_id, shifted, {}, tool="model", origin=Origin.MODEL)
    assert_consistent(cells)
    np.testing.assert_array_equal(cells.instances == 1, disks() == 1)
    assert cells.class_of([1, 2]).tolist() == [3, 3]
    assert len(cells) == 35 + 2 - 2, "two of the new ones were the same cells"
    assert cells.ids[2:].min() >= 36, "numbers are not used twice"
    project.replace_cells(image_id, disks(), {}, tool="import", origin=Origin.IMPORT, verified=True)
    assert 1 not in cells and len(cells) == 35 and cells.is_verified(cells.ids).all()
    assert project.edits(image_id)[-1].kind == "import"


def test_large_and_sparse_numbers(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    many = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint32).reshape(SHAPE) + 70_000
    project.replace_cells(image_id, many, {70_001: 2}, tool="model", origin=Origin.MODEL)
    assert cells.instances[0, 1] == 70_001 and cells.class_of(70_001)[0] == 2, "numbers never used are kept"
    sparse = np.where(disks() > 0, 4_000_000_000 + disks(), 0)
    project.replace_cells(image_id, sparse, {4_000_000_001: 1}, tool="model", origin=Origin.MODEL)
    first = int(cells.instances[6, 6])
    assert first == 70_000 + many.size and cells.class_of(first)[0] == 1, "numbers too high are given anew"
    assert_consistent(cells)


def test_cells_with_holes_and_in_pieces_live_like_others(study: tuple[Project, str]) -> None:
    project, image_id = study
    cells = project.cells(image_id)
    odd = np.zeros(SHAPE, np.int64)
    distance = np.hypot(*np.mgrid[-20:40, -20:60])
    odd[(distance < 15) & (distance > 8)] = 70_001
    odd[distance < 4] = 70_002  # in the hole
    odd[40:44, 2:9] = odd[50:53, 70:78] = 70_003
    classes = {70_001: 1, 70_002: 2, 70_003: 3}
    project.replace_cells(image_id, odd, classes, tool="import", origin=Origin.IMPORT)
    np.testing.assert_array_equal(cells.instances, odd)
    assert cells.boxes([70_003]).tolist() == [[40, 2, 53, 78]] and cells.areas_px([70_003])[0] == 28 + 24
    assert_consistent(cells)
    start = state_of(cells)
    project.set_class(image_id, [70_003], 1)
    project.split_cells(image_id, 70_001, [(20, -5), (20, 70)])
    assert cells.class_of([70_001, 70_004]).tolist() == [1, 1] and 70_002 in cells
    project.split_cells_at(image_id, 70_003, [(41, 4), (51, 75)])
    assert cells.areas_px([70_003, 70_005]).tolist() == [28, 24]
    project.merge_cells(image_id, [70_002, 70_004])
    project.delete_cells(image_id, [70_003])
    assert_consistent(cells)
    end = state_of(cells)
    project.close()
    with Project.open(project.path) as again:
        assert_same(again.cells(image_id), end)
        while again.edit_count(image_id) > 2:
            again.undo(image_id)
        assert_same(again.cells(image_id), start)
        while again.redo(image_id):
            pass
        assert_same(again.cells(image_id), end)
        assert_consistent(again.cells(image_id))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda p, i: p.set_class(i, [99], 1), "no cell 99 in this image"),
        (lambda p, i: p.set_class(i, [0], 1), "no cell 0 in this image"),
        (lambda p, i: p.set_class(i, [1], 9), "Label value 9 is no class"),
        (lambda p, i: p.delete_cells(i, [1, -4]), "no cell -4"),
        (lambda p, i: p.edit_cells(i, Box(0, 0, 9, 99), np.zeros((9, 99)), tool="t"), "does not lie inside"),
        (lambda p, i: p.edit_cells(i, Box(0, 0, 9, 9), np.zeros((9, 8)), tool="t"), r"\(9, 8\) px but \(9, 9\)"),
        (lambda p, i: p.edit_cells(i, Box(0, 0, 1, 1), np.full((1, 1), -1), tool="t"), "no numbers of cells"),
        (lambda p, i: p.edit_cells(i, Box(0, 0, 1, 1), np.full((1, 1), 2**31), tool="t"), "too high for a new cell"),
        (lambda p, i: p.edit_cells(i, Box(0, 0, 1, 1), np.zeros((1, 1)), tool="t", classes={77: 1}), "no cell 77"),
        (lambda p, i: p.replace_cells(i, disks(), {1: 8}, tool="t", origin=Origin.MODEL), "Label value 8"),
        (lambda p, i: p.replace_cells(i, disks()[1:], {}, tool="t", origin=Origin.MODEL), "pixel by pixel"),
        (lambda p, i: p.edit_cells(i, *ONE, tool="t", points={1: (59.6, 3)}), r"point of cell 1 at \(59.6, 3\)"),
        (lambda p, i: p.edit_cells(i, *ONE, tool="t", points={1: (3, -0.6)}), "does not lie inside 'tissue'"),
        (lambda p, i: p.edit_cells(i, *ONE, tool="t", points={1: (3, float("nan"))}), "does not lie inside 'tissue'"),
        (lambda p, i: p.edit_cells(i, *ONE, tool="t", points={99: (3, 3)}), "no cell 99"),
        (
            lambda p, i: p.replace_cells(i, disks(), {}, tool="t", origin=Origin.POINT, points={2: (6, 80)}),
            "does not lie inside 'tissue'",
        ),
        (
            lambda p, i: p.replace_cells(i, disks(), {}, tool="t", origin=Origin.MODEL, scores={1: float("nan")}),
            "score that is no number",
        ),
    ],
)
def test_mistakes_are_sentences_and_change_nothing(study: tuple[Project, str], act, says: str) -> None:
    project, image_id = study
    before = state_of(project.cells(image_id))
    with pytest.raises(InputError, match=says):
        act(project, image_id)
    assert_same(project.cells(image_id), before)
    assert len(project.edits()) == 1


def test_cells_and_strokes_share_one_undo(study: tuple[Project, str]) -> None:
    project, image_id = study
    project.record(image_id, tool="paint", box=Box(0, 0, 9, 9), after=np.full((9, 9), 2, np.uint8))
    project.set_class(image_id, 4, 3)
    assert [edit.cells for edit in project.edits(image_id)] == [35, None, 1]
    project.undo(image_id)
    assert project.cells(image_id).class_of(4)[0] == 2 and project.planes(image_id).state.any()
    project.undo(image_id)
    assert not project.planes(image_id).state.any() and len(project.cells(image_id)) == 35
    project.close()
    with Project.open(project.path) as again:
        assert again.notes == ()
        assert len(again.cells(image_id)) == 35 and not again.planes(image_id).state.any()
        assert again.redo(image_id) is not None and again.redo(image_id) is not None
        assert again.cells(image_id).class_of(4)[0] == 3
        records, damaged = again.history(image_id)
        assert [record.kind for record in records] == ["run", "edit", "edit", "undo", "undo", "redo", "redo"]
        assert [record.cells for record in records] == [35, None, 1, 1, None, None, 1] and damaged == ()


def test_everything_is_there_after_reopening(study: tuple[Project, str]) -> None:
    project, image_id = study
    project.set_class(image_id, [7], 3)
    project.checkpoint()
    project.delete_cells(image_id, [8])
    project.set_class(image_id, [9], IGNORE)
    state, next_id = state_of(project.cells(image_id)), project.cells(image_id).next_id
    project.close()
    for _ in range(2):
        with Project.open(project.path) as again:
            assert_same(again.cells(image_id), state)
            assert_consistent(again.cells(image_id))
            assert again.cells(image_id).next_id == next_id and again.notes == ()
    with Project.open(project.path, read_only=True) as reader:
        assert_same(reader.cells(image_id), state)
        with pytest.raises(ProjectError, match="reading only"):
            reader.set_class(image_id, [1], 1)
        assert_same(reader.cells(image_id), state)


def test_what_an_image_shows_cannot_be_written_past_the_journal(study: tuple[Project, str]) -> None:
    cells = study[0].cells(study[1])
    for array in (cells.instances, cells.class_lookup):
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = 1


@settings(max_examples=30, deadline=None)
@given(st.lists(hnp.arrays(np.uint32, (7, 9), elements=st.integers(0, 5)), min_size=2, max_size=6), st.integers(0, 2))
def test_geometry_follows_every_change(maps: list[np.ndarray], many: int) -> None:
    with mock.patch("napari_histoseg.core.cell_geometry._MANY", many):
        follow(maps)


def follow(maps: list[np.ndarray]) -> None:
    live = maps[0].copy()
    kept = CellGeometry(live, 6)
    for new in maps[1:]:
        kept.move(Box(0, 0, 7, 9), CellRuns.between(live, new).put(live))
        np.testing.assert_array_equal(live, new)
        fresh = CellGeometry(live, 6)
        ids = np.flatnonzero(fresh.area)
        np.testing.assert_array_equal(kept.area, fresh.area)
        np.testing.assert_array_equal(kept.boxes(ids), fresh.boxes(ids))
        np.testing.assert_array_equal(kept.centroids(ids), fresh.centroids(ids))
