"""A project that forgets how old work was done, and nothing else."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import SHAPE, disks, new_project
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.journal import CompactedEditError
from napari_histoseg.core.project import Project
from napari_histoseg.core.recovery import salvage_journal

DAY_S = 86_400.0
NOW = 1_000 * DAY_S


def act(project: Project, image_id: str, kind: int, value: int) -> None:
    """One of the things a person does; nothing when it is not possible."""
    cells = project.cells(image_id)
    chosen = cells.ids[value % len(cells) : value % len(cells) + 2] if len(cells) else []
    if kind == 0:
        box = Box(value % 40, value % 50, value % 40 + 9, value % 50 + 9)
        project.record(image_id, tool="paint", box=box, after=np.full((9, 9), value % 4, np.uint8))
    elif kind == 1 and len(chosen):
        project.set_class(image_id, chosen, value % 4)
    elif kind == 2 and len(chosen):
        project.delete_cells(image_id, chosen)
    elif kind == 3 and len(chosen) == 2:
        project.merge_cells(image_id, chosen)
    elif kind == 4:
        project.replace_cells(image_id, disks(step=12 + value % 5), {}, tool="model", origin=Origin.MODEL)
    elif kind == 5:
        project.undo(image_id)
    elif kind == 6:
        project.redo(image_id)
    elif kind == 7:
        project.accept(image_id, Box.of_shape(SHAPE))


def everything(project: Project, image_id: str) -> dict[str, object]:
    planes, cells = project.planes(image_id), project.cells(image_id)
    return {
        "labels": planes.labels.tobytes(),
        "state": planes.state.tobytes(),
        "instances": cells.instances.tobytes(),
        "rows": cells.rows(cells.ids).tobytes(),
        "next": cells.next_id,
        "history": project.history(image_id),
        "stacks": project.stacks(image_id),
    }


def date_rows(project: Project, days: list[int]) -> None:
    """Let the rows of the journal be made on those days, one after the other."""
    from napari_histoseg.core.journal import _checksum

    db = project._journal._db
    names = "image_id, at, author, tool, kind, y0, x0, y1, x1, changed, target, cells"
    for (seq, *fields, cells), day in zip(
        db.execute(f"SELECT seq, {names} FROM edits ORDER BY seq").fetchall(), days, strict=True
    ):
        row = (fields[0], day * DAY_S, *fields[2:])
        db.execute("UPDATE edits SET at = ?, checksum = ? WHERE seq = ?", (row[1], _checksum(row, cells), seq))


def worked(path: Path, acts: list[tuple[int, int]]) -> tuple[Project, str]:
    project, image_id = new_project(path)
    project.replace_cells(image_id, disks(), {1: 1}, tool="model", origin=Origin.MODEL)
    for kind, value in acts:
        act(project, image_id, kind, value)
    date_rows(project, list(range(1, 1 + len(project.history()[0]))))
    return project, image_id


ACTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 60)), min_size=1, max_size=14)


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(acts=ACTS, later=ACTS, days=st.integers(0, 15), again=st.integers(0, 10))
def test_everything_stays_but_the_way_back(
    acts: list[tuple[int, int]],
    later: list[tuple[int, int]],
    days: int,
    again: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    project, image_id = worked(tmp_path_factory.mktemp("any") / "p", acts)
    before = everything(project, image_id)
    limit_days = float(max(0, len(before["history"][0]) - days))
    project.compact(limit_days, now=(len(before["history"][0]) + 1) * DAY_S)
    assert everything(project, image_id) == before
    # from the journal alone
    project.close()
    shutil.rmtree(project.path / "checkpoints")
    project = Project.open(project.path)
    assert everything(project, image_id) == before and not project.notes
    # work goes on, and a second compaction leaves the same
    for kind, value in later:
        try:
            act(project, image_id, kind, value)
        except CompactedEditError:
            assert not (project.can_undo(image_id) if kind == 5 else project.can_redo(image_id))
    end = everything(project, image_id)
    project.compact(float(again), now=(len(before["history"][0]) + 1) * DAY_S)
    assert everything(project, image_id) == end
    steps = 0
    while project.can_undo(image_id):
        project.undo(image_id)
        steps += 1
    for _ in range(steps):
        project.redo(image_id)
    assert {**everything(project, image_id), "history": None} == {**end, "history": None}
    project.close()
    shutil.rmtree(project.path / "checkpoints")
    with Project.open(project.path) as project:
        assert {**everything(project, image_id), "history": None} == {**end, "history": None}


def test_undo_stops_with_a_sentence(tmp_path: Path) -> None:
    project, image_id = worked(tmp_path / "p", [(0, 3), (1, 4), (2, 9)])
    assert project.compact(2, now=5 * DAY_S).edits == 2
    assert project.undo(image_id) and project.undo(image_id)
    assert not project.can_undo(image_id)
    with pytest.raises(CompactedEditError, match="cannot be taken back"):
        project.undo(image_id)
    assert [record.seq for record in project.history()[0]] == [1, 2, 3, 4, 5, 6], "who did what and when is all there"
    assert project.redo(image_id) and project.redo(image_id)
    assert project.is_compacted(1) and not project.is_compacted(3)
    assert [record.seq for record in project.compacted(image_id)] == [1, 2] and not project.compacted(image_id, after=2)
    project.close()


def test_it_gets_smaller(tmp_path: Path) -> None:
    project, _ = worked(tmp_path / "p", [(4, k) for k in range(40)])
    done = project.compact(0)
    assert done.edits == 41 and done.after_bytes < done.before_bytes / 2
    assert project.compact(0).edits == 0, "a second time there is nothing to drop"
    project.close()


def test_nothing_is_old_enough(tmp_path: Path) -> None:
    project, image_id = worked(tmp_path / "p", [(0, 3)])
    before = everything(project, image_id)
    assert project.compact(10, now=5 * DAY_S).edits == 0
    assert everything(project, image_id) == before and len(project.edits()) == 2
    with pytest.raises(InputError, match="number of days"):
        project.compact(-1)
    project.close()
    with Project.open(project.path, read_only=True) as opened, pytest.raises(ProjectError, match="reading only"):
        opened.compact(0)


def test_an_old_checkpoint_is_brought_up_to_date(tmp_path: Path) -> None:
    project, image_id = new_project(tmp_path / "p")
    project.replace_cells(image_id, disks(), {1: 1}, tool="model", origin=Origin.MODEL)
    act(project, image_id, 0, 3)
    project.close()
    shutil.copytree(project.path / "checkpoints", tmp_path / "old")
    project = Project.open(project.path)
    project.delete_cells(image_id, [1, 2])
    project.undo(image_id)
    project.delete_cells(image_id, [3])
    project.record(image_id, tool="erase", box=Box(0, 0, 20, 20), after=np.full((20, 20), 255, np.uint8))
    project.compact(0)
    wanted = everything(project, image_id)
    project.close()
    shutil.rmtree(project.path / "checkpoints")
    shutil.copytree(tmp_path / "old", project.path / "checkpoints")
    with Project.open(project.path) as project:
        assert everything(project, image_id) == wanted


def test_stopped_anywhere_it_is_as_before(tmp_path: Path) -> None:
    """SQLite is interrupted after each few steps of its machine; the next attempt succeeds."""
    project, image_id = worked(tmp_path / "p", [(k % 8, 7 * k) for k in range(20)])
    before, edits = everything(project, image_id), len(project.edits())
    project.checkpoint()
    db, stops = project._journal._db, 0
    for stop_after in range(1, 2_000):
        calls = iter(range(stop_after))
        db.set_progress_handler(lambda calls=calls: next(calls, None) is None, 20)
        try:
            project.compact(0)
        except (ProjectError, sqlite3.OperationalError):
            stops += 1
        else:
            break
        finally:
            db.set_progress_handler(None, 0)
        if project.is_compacted(1):  # only the room was not given back
            break
        assert everything(project, image_id) == before and len(project.edits()) == edits
    assert stops > 5 and project.is_compacted(1)
    assert everything(project, image_id) == before
    project.close()


def test_a_compacted_journal_is_salvaged_like_any_other(tmp_path: Path) -> None:
    project, image_id = worked(tmp_path / "p", [(k, 7 * k) for k in (0, 1, 2, 3, 0)])
    project.compact(2, now=6 * DAY_S)
    before = everything(project, image_id)
    project.close()
    assert "edits could be read" in salvage_journal(project.path / "journal.sqlite")
    shutil.rmtree(project.path / "checkpoints")
    with Project.open(project.path) as project:
        assert everything(project, image_id) == before


def test_a_damaged_journal_is_left_alone(tmp_path: Path) -> None:
    project, _ = worked(tmp_path / "p", [(0, 3), (1, 4), (2, 9)])
    project._journal._db.execute("UPDATE edits SET patch = x'00' WHERE seq = 4")
    project.close()
    with Project.open(project.path) as project, pytest.raises(ProjectError, match="not compacted"):
        project.compact(2, now=5 * DAY_S)
    with Project.open(project.path) as project:
        assert not project.is_compacted(1)
