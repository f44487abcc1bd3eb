"""Cells when the world is unkind: damaged checkpoints and journals, projects of an older version."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import State, assert_consistent, assert_same, disks, new_project, state_of

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import NO_POINT, Origin
from napari_histoseg.core.edit import State as PixelState
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.journal import JOURNAL_VERSION
from napari_histoseg.core.project import Project

Closed = tuple[Path, str, State]


@pytest.fixture
def closed(tmp_path: Path) -> Closed:
    """Cells of a model, corrected; the last corrections are not in the checkpoint when the program dies."""
    project, image_id = new_project(tmp_path / "study.histoseg")
    with project:
        project.replace_cells(image_id, disks(), dict.fromkeys(range(1, 36), 1), tool="model", origin=Origin.MODEL)
        project.set_class(image_id, [1, 2, 3], 2)
        project.delete_cells(image_id, [5])
        project.record(image_id, tool="paint", box=Box(0, 0, 9, 9), after=np.full((9, 9), 2, np.uint8))
        project.checkpoint()
        project.split_cells(image_id, 9, [(-2, 10), (30, 19.4)])
        project.set_class(image_id, [7], 3)
        state = state_of(project.cells(image_id))
        shutil.copytree(project.path, tmp_path / "killed.histoseg")
    (tmp_path / "killed.histoseg" / "lock").unlink()
    return tmp_path / "killed.histoseg", image_id, state


def test_what_came_after_the_checkpoint_is_replayed(closed: Closed) -> None:
    path, image_id, state = closed
    for _ in range(2):
        with Project.open(path) as project:
            assert project.notes == ()
            assert_same(project.cells(image_id), state)
            assert_consistent(project.cells(image_id))
            assert project.cells(image_id).next_id == 37


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "no metadata", "note gone", "table cut", "all gone"])
def test_damaged_checkpoints_are_rebuilt(closed: Closed, damage: str) -> None:
    path, image_id, state = closed
    array = path / "checkpoints" / f"{image_id}.zarr" / "instances"
    chunk, note = array / "c" / "0" / "0", path / "checkpoints" / f"{image_id}.cells.json"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 255
    told = json.loads(note.read_text())
    change = {
        "missing": chunk.unlink,
        "cut": lambda: chunk.write_bytes(chunk.read_bytes()[:-20]),
        "flipped": lambda: chunk.write_bytes(bytes(content)),
        "no metadata": (array / "zarr.json").unlink,
        "note gone": note.unlink,
        "table cut": lambda: note.write_text(json.dumps({**told, "table": told["table"][:-12]})),
        "all gone": lambda: shutil.rmtree(path / "checkpoints"),
    }
    change[damage]()
    for number in (10, 11):
        with Project.open(path) as project:
            assert project.notes == ()
            assert_same(project.cells(image_id), state)
            project.set_class(image_id, [number], 3)
            state = state_of(project.cells(image_id))
            assert (damage == "all gone") or project.planes(image_id).labels[0, 0] == 2


def test_a_lost_journal_is_begun_again_from_the_checkpoints(closed: Closed) -> None:
    path, image_id, _ = closed
    with Project.open(path) as project:
        project.cells(image_id)
        project.checkpoint()
        state = state_of(project.cells(image_id))
        project.undo(image_id)
        next_id = project.cells(image_id).next_id
        project.redo(image_id)
    (path / "journal.sqlite").unlink()
    with Project.open(path) as project:
        assert any("35 cells of 'tissue' came back from its last checkpoint" in note for note in project.notes)
        assert_same(project.cells(image_id), state)
        assert project.cells(image_id).next_id == next_id
        assert [edit.kind for edit in project.edits(image_id)] == ["import", "import"]
        project.undo(image_id)
    with Project.open(path) as project:
        assert project.notes == () and len(project.cells(image_id)) == 0


@pytest.mark.parametrize("where", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("how", ["zeroed page", "cut"])
def test_a_damaged_journal_gives_back_what_is_whole(closed: Closed, where: float, how: str) -> None:
    path, image_id, state = closed
    with Project.open(path) as project:
        project.cells(image_id)
    journal = path / "journal.sqlite"
    content = bytearray(journal.read_bytes())
    page = int(where * len(content)) // 4096 * 4096
    if how == "cut":
        content = content[: max(page, 100)]
    else:
        content[page : page + 4096] = bytes(4096)
    journal.write_bytes(content)
    with Project.open(path) as project:
        assert_same(project.cells(image_id), state)
        assert any("damaged" in note for note in project.notes), project.notes
    with Project.open(path) as project:
        assert project.notes == ()
        assert_same(project.cells(image_id), state)


def test_an_older_journal_put_back_does_not_lose_what_the_checkpoint_knows(closed: Closed) -> None:
    path, image_id, _ = closed
    backup = (path / "journal.sqlite").read_bytes(), (path / "journal.sqlite-wal").read_bytes()
    with Project.open(path) as project:
        project.merge_cells(image_id, [1, 2])
        state = state_of(project.cells(image_id))
    (path / "journal.sqlite").write_bytes(backup[0])
    (path / "journal.sqlite-wal").write_bytes(backup[1])
    with Project.open(path) as project:
        assert any("cells of 'tissue' came back" in note for note in project.notes)
        assert_same(project.cells(image_id), state)
        seqs = [edit.seq for edit in project.edits()]
        assert seqs == sorted(set(seqs))


def test_one_damaged_row_costs_one_act_and_is_told(closed: Closed) -> None:
    path, image_id, state = closed
    shutil.rmtree(path / "checkpoints")
    database = sqlite3.connect(path / "journal.sqlite")
    database.execute("UPDATE edits SET patch = substr(patch, 1, 20) WHERE tool = 'delete'")
    database.commit()
    database.close()
    with Project.open(path) as project:
        cells = project.cells(image_id)
        assert project.notes and "Edit 3" in project.notes[0] and "make it again" in project.notes[0]
        assert 5 in cells and len(cells) == len(state[1]) + 1
        assert_consistent(cells)
        records, damaged = project.history(image_id)
        assert len(records) == 6 and damaged == ()
    database = sqlite3.connect(path / "journal.sqlite")
    database.execute("UPDATE edits SET cells = 77 WHERE seq = 2")
    database.commit()
    database.close()
    with Project.open(path) as project:
        records, damaged = project.history()
        assert len(records) == 5 and "Edit 2" in damaged[0] and "checksum" in damaged[0]


def test_a_journal_that_cannot_grow_changes_nothing(closed: Closed) -> None:
    path, image_id, state = closed
    with Project.open(path) as project:
        cells = project.cells(image_id)
        pages = project._journal._db.execute("PRAGMA page_count").fetchone()[0]
        project._journal._db.execute(f"PRAGMA max_page_count = {pages}")
        noise = np.random.default_rng(0).integers(0, 500, cells.shape)
        with pytest.raises(ProjectError, match=r"The disk is full; free some space.*was not saved"):
            for _ in range(20):
                project.replace_cells(image_id, noise, {}, tool="model", origin=Origin.MODEL)
                state = state_of(cells)
        assert_same(cells, state)
        assert_consistent(cells)


# older versions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A project that the version before cells wrote: a stroke, an accepted field, a stroke that was taken back."""
    with zipfile.ZipFile(Path(__file__).with_name("project_of_version_1.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "study.histoseg"


def check_old(project: Project) -> str:
    assert project.notes == ()
    image_id = project.images[0].id
    kinds = [edit.kind for edit in project.edits(image_id)]
    assert kinds[:6] == ["edit", "accept", "edit", "undo", "undo", "redo"]
    planes = project.planes(image_id)
    assert int((planes.labels == 2).sum()) == 170
    assert int((planes.state == PixelState.VERIFIED).sum()) == 600
    assert (planes.proposal == 1).all()
    assert [record.cells for record in project.history(image_id)[0][:6]] == [None] * 6
    return image_id


def version_of(path: Path) -> int:
    database = sqlite3.connect(f"{(path / 'journal.sqlite').as_uri()}?mode=ro", uri=True)
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    database.close()
    return version


def test_an_older_project_is_read_without_being_touched(old: Path) -> None:
    assert version_of(old) == 1
    before = {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}
    with Project.open(old, read_only=True) as project:
        image_id = check_old(project)
        assert len(project.cells(image_id)) == 0
    assert {file: file.read_bytes() for file in before} == before
    assert not (old / "checkpoints" / f"{image_id}.cells.json").exists()


def test_an_older_project_goes_on_as_it_was_and_takes_cells(old: Path) -> None:
    with Project.open(old) as project:
        image_id = check_old(project)
        assert version_of(old) == JOURNAL_VERSION
        for _ in range(2):
            assert project.undo(image_id) is not None
        assert not project.planes(image_id).state.any()
        assert project.redo(image_id) is not None and project.redo(image_id) is not None
        instances = np.zeros((40, 50), np.uint32)
        instances[3:9, 3:9] = 1
        project.replace_cells(image_id, instances, {1: 2}, tool="model", origin=Origin.MODEL)
        project.set_class(image_id, [1], 1)
        state = state_of(project.cells(image_id))
    with Project.open(old) as project:
        check_old(project)
        assert_same(project.cells(image_id), state)


def test_an_older_project_with_a_damaged_journal(old: Path) -> None:
    journal = old / "journal.sqlite"
    content = bytearray(journal.read_bytes())
    journal.write_bytes(content[: len(content) - 4096])
    with Project.open(old) as project:
        assert any("damaged" in note for note in project.notes)
        image_id = project.images[0].id
        assert int((project.planes(image_id).labels == 2).sum()) == 170
        assert version_of(old) == JOURNAL_VERSION


def test_a_move_to_the_new_version_that_was_cut_short_is_made_again(old: Path) -> None:
    database = sqlite3.connect(old / "journal.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("BEGIN")
    database.execute("ALTER TABLE edits ADD COLUMN cells INTEGER")
    shutil.copytree(old, old.with_name("killed"))
    database.execute("ROLLBACK")
    database.close()
    for path in (old, old.with_name("killed")):
        with Project.open(path) as project:
            check_old(project)


@pytest.fixture
def without_points(tmp_path: Path) -> Path:
    """A project of the version before points, killed: cells of a model, corrected, some of it after the checkpoint."""
    with zipfile.ZipFile(Path(__file__).with_name("project_of_version_2.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "study.histoseg"


def check_without_points(project: Project) -> str:
    assert project.notes == ()
    image_id = project.images[0].id
    cells = project.cells(image_id)
    assert cells.ids.tolist() == [*range(1, 7), *range(8, 22)] and cells.next_id == 22
    assert cells.rows([1, 3, 4, 9, 21]).tolist() == [
        (2, Origin.MODEL, 0, 1.0, NO_POINT, NO_POINT),
        (1, Origin.MODEL, 0, 0.25, NO_POINT, NO_POINT),
        (2, Origin.MODEL, 1, 1.0, NO_POINT, NO_POINT),
        (1, Origin.PERSON, 1, 1.0, NO_POINT, NO_POINT),
        (1, Origin.PERSON, 1, 1.0, NO_POINT, NO_POINT),
    ]
    assert len(cells.points()) == 0 and project.planes(image_id).labels[3, 3] == 2
    assert_consistent(cells)
    return image_id


def test_a_project_without_points_is_read_without_being_touched(without_points: Path) -> None:
    with Project.open(without_points, read_only=True) as project:
        check_without_points(project)
    assert version_of(without_points) == 2


@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_a_project_without_points_goes_on_as_it_was_and_takes_points(
    without_points: Path, has_checkpoints: bool
) -> None:
    if not has_checkpoints:
        shutil.rmtree(without_points / "checkpoints")
    with Project.open(without_points) as project:
        image_id = check_without_points(project)
        assert version_of(without_points) == JOURNAL_VERSION
        cells = project.cells(image_id)
        assert project.redo(image_id) is not None and 2 not in cells
        one = Box(0, 0, 1, 1), np.zeros((1, 1))
        project.edit_cells(image_id, *one, tool="point", points={3: (5, 25.5)}, origin=Origin.POINT, verified=None)
        state = state_of(cells)
    with Project.open(without_points) as project:
        cells = project.cells(image_id)
        assert_same(cells, state)
        assert cells.points().ids.tolist() == [3]
        steps = 0
        while project.undo(image_id):
            steps += 1
        assert steps == 7 and len(cells) == 0 and not project.planes(image_id).state.any()
        while project.redo(image_id):
            pass
        assert_same(cells, state)
