"""A killed program whose journal was damaged at its end: back to the last whole act, and told in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import State, assert_consistent, assert_same, disks, new_project, state_of

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.project import Project


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, str, list[State]]:
    """A project as a killed program left it, and its cells after each number of acts."""
    project, image_id = new_project(tmp_path / "study.histoseg")
    with project:
        cells = project.cells(image_id)
        states = [state_of(cells)]
        one = Box(0, 0, 1, 1), np.zeros((1, 1))
        acts = [
            lambda: project.replace_cells(image_id, disks(), {1: 2}, tool="model", origin=Origin.MODEL),
            lambda: project.set_class(image_id, [3], 2),
            lambda: project.edit_cells(image_id, *one, tool="point", points={4: (6, 42)}, origin=Origin.POINT),
            lambda: project.delete_cells(image_id, [5]),
            lambda: project.undo(image_id),
            lambda: project.merge_cells(image_id, [1, 2]),
            *(lambda number=number: project.set_class(image_id, [number], 3) for number in range(6, 20)),
        ]
        for number, act in enumerate(acts):
            assert act() is not None
            states.append(state_of(cells))
            if number == 2:
                project.checkpoint()
        shutil.copytree(project.path, tmp_path / "killed.histoseg")
    (tmp_path / "killed.histoseg" / "lock").unlink()
    return tmp_path / "killed.histoseg", image_id, states


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("how", ["flipped", "zeroed"])
def test_what_came_before_the_damage_is_whole(killed: tuple[Path, str, list[State]], where: float, how: str) -> None:
    path, image_id, states = killed
    log = path / "journal.sqlite-wal"
    content = bytearray(log.read_bytes())
    at = int(where * len(content))
    if how == "flipped":
        content[at] ^= 255
    else:
        content[at : at + 4096] = bytes(4096)
    log.write_bytes(content)
    with Project.open(path) as project:
        assert any("The end of the journal" in note and "could not be read" in note for note in project.notes)
        rows = len(project.edits(image_id)) if project.images else 0
        assert rows < len(states) - 1
        if rows >= 3:  # what the checkpoint holds comes back without its history
            assert_same(project.cells(image_id), states[rows])
            assert_consistent(project.cells(image_id))
            while project.undo(image_id):
                pass
            assert_same(project.cells(image_id), states[0])
    with Project.open(path) as project:
        assert project.notes == ()


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_log_that_was_cut_ends_with_the_last_whole_act(killed: tuple[Path, str, list[State]], where: float) -> None:
    path, image_id, states = killed
    log = path / "journal.sqlite-wal"
    log.write_bytes(log.read_bytes()[: int(where * log.stat().st_size)])
    with Project.open(path) as project:
        rows = len(project.edits(image_id))
        assert 3 <= rows < len(states) - 1
        assert_same(project.cells(image_id), states[rows])


def test_an_undamaged_end_is_not_spoken_of(killed: tuple[Path, str, list[State]]) -> None:
    path, image_id, states = killed
    with Project.open(path) as project:
        assert project.notes == ()
        assert_same(project.cells(image_id), states[-1])
