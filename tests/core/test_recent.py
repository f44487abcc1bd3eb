"""Patches that are kept decoded, and the exchange of memory that they make possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_pictures import assert_consistent, assert_same, disks, new_project, state_of

from napari_histoseg.core import cell_plane, recent
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_geometry import Replaced
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.edit import Patch
from napari_histoseg.core.recent import RecentPatches


def patch(side_px: int) -> Patch:
    values = np.zeros(side_px**2, np.uint8)
    return Patch(Box(0, 0, side_px, side_px), np.ones((side_px, side_px), bool), values, values, values, values)


def test_the_oldest_go_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_MOST_BYTES", 1200)
    kept, patches = RecentPatches(), [patch(10) for _ in range(3)]
    assert patches[0].nbytes == 500
    for seq, one in enumerate(patches[:2], start=1):
        kept.put(seq, one)
    kept.put(1, patches[0])
    kept.put(3, patches[2])
    assert (kept.get(1), kept.get(2), kept.get(3)) == (patches[0], None, patches[2])
    kept.put(4, patch(40))
    assert all(kept.get(seq) is None for seq in range(1, 5)), "one alone takes more than there is room for"


@pytest.mark.parametrize(("room_px", "expected"), [(2 * 60 * 80, 8), (60 * 80, 4), (10, 0)])
def test_the_newest_large_changes_are_exchanges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_px: int, expected: int
) -> None:
    """Two changes of everything and a class between them, taken back and done again, twice."""
    monkeypatch.setattr(cell_plane, "_LARGE_PX", 100)
    monkeypatch.setattr(cell_plane, "_MOST_KEPT_PX", room_px)
    exchanges = []
    exchange = Replaced.exchange
    monkeypatch.setattr(Replaced, "exchange", lambda self, *rest: exchanges.append(0) or exchange(self, *rest))
    project, image_id = new_project(tmp_path / "study.histoseg")
    with project:
        cells = project.cells(image_id)
        states = [state_of(cells)]
        for act in (
            lambda: project.replace_cells(image_id, disks(), {}, tool="model", origin=Origin.MODEL),
            lambda: project.set_class(image_id, [3, 4], 2),
            lambda: project.replace_cells(image_id, np.roll(disks(), 4, 1), {}, tool="model", origin=Origin.MODEL),
        ):
            act()
            states.append(state_of(cells))
        for _ in range(2):
            for state in states[-2::-1]:
                project.undo(image_id)
                assert_same(cells, state)
                assert_consistent(cells)
            for state in states[1:]:
                project.redo(image_id)
                assert_same(cells, state)
                assert_consistent(cells)
        assert len(exchanges) == expected
