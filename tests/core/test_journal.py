"""The journal alone: order, transactions, versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import Patch
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.journal import DamagedEditError, Journal
from napari_histoseg.core.stacks import push


def patch(value: int, side_px: int = 4) -> Patch:
    count = side_px**2
    values = [np.full(count, v, np.uint8) for v in (255, 0, value, 1)]
    return Patch(Box(10, 20, 10 + side_px, 20 + side_px), np.ones((side_px, side_px), bool), *values)


@pytest.fixture
def journal(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def test_an_edit_is_committed_when_append_returns(journal: Journal, tmp_path: Path) -> None:
    edit = journal.append("a", author="me", tool="paint", kind="edit", patch=patch(2))
    other = sqlite3.connect(tmp_path / "journal.sqlite")
    assert other.execute("SELECT seq, image_id, author FROM edits").fetchall() == [(edit.seq, "a", "me")]
    other.close()
    (again,) = journal.edits("a")
    assert again == edit
    np.testing.assert_array_equal(again.patch.after_labels, edit.patch.after_labels)


def test_power_loss_is_guarded_against(journal: Journal) -> None:
    assert journal._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert journal._db.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"


def test_edits_come_in_order_and_by_image(journal: Journal) -> None:
    for number in range(6):
        journal.append("ab"[number % 2], author="me", tool="paint", kind="edit", patch=patch(number))
    assert [edit.seq for edit in journal.edits()] == [1, 2, 3, 4, 5, 6]
    assert [edit.seq for edit in journal.edits("b", after=2)] == [4, 6]
    assert journal.last_seq() == 6


def test_an_undo_stores_no_pixels_and_reads_as_the_reverse(journal: Journal) -> None:
    done = journal.append("a", author="me", tool="paint", kind="edit", patch=patch(2))
    journal.append("a", author="me", tool="paint", kind="undo", patch=done.patch.reversed(), target=done.seq)
    journal.append("a", author="me", tool="paint", kind="redo", patch=done.patch, target=done.seq)
    _, undo, redo = journal.edits("a")
    assert (undo.patch.after_labels == 255).all() and (redo.patch.after_labels == 2).all()
    sizes = journal._db.execute("SELECT length(patch) FROM edits ORDER BY seq").fetchall()
    assert sizes[1:] == [(None,), (None,)]
    assert journal.stacks("a") == ([done.seq], [])


def test_stacks_follow_the_rows() -> None:
    done: list[int] = []
    undone: list[int] = []
    rows = [(1, "edit", None), (2, "accept", None), (3, "undo", 2), (4, "undo", 1), (5, "redo", 1), (6, "import", None)]
    expected = [([1], []), ([1, 2], []), ([1], [2]), ([], [2, 1]), ([1], [2]), ([1, 6], [])]
    for (seq, kind, target), stacks in zip(rows, expected, strict=True):
        push(done, undone, seq, kind, target)
        assert (done, undone) == stacks


def test_a_failed_write_leaves_no_transaction_open(journal: Journal) -> None:
    journal.append("a", author="me", tool="paint", kind="edit", patch=patch(2))
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ProjectError, match="disk is full"):
        journal.put_setting("big", "x" * 50_000)
    assert not journal._db.in_transaction
    assert journal.setting("big") is None
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.put_setting("big", "y")
    assert journal.setting("big") == "y"


def test_a_writer_from_outside_is_waited_for_and_then_named(journal: Journal, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal._db.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(ProjectError, match="Another program holds the journal"):
        journal.put_setting("a", 1)
    other.execute("ROLLBACK")
    other.close()
    journal.put_setting("a", 1)


def test_settings_are_json_and_can_be_forgotten(journal: Journal) -> None:
    journal.put_setting("view", {"zoom": [1, 2.5], "name": "ä"})
    assert journal.setting("view") == {"zoom": [1, 2.5], "name": "ä"}
    journal.put_setting("view", None)
    assert journal.setting("view", "default") == "default"


def test_missing_edits_are_damage(journal: Journal) -> None:
    with pytest.raises(DamagedEditError, match="Edit 5 is missing"):
        journal.edit(5)


def test_reading_creates_nothing(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.sqlite").close()
    reader = Journal(tmp_path / "journal.sqlite", read_only=True)
    with pytest.raises(ProjectError, match="reading only"):
        reader.put_setting("a", 1)
    reader.close()
    with pytest.raises(sqlite3.OperationalError):
        Journal(tmp_path / "absent.sqlite", read_only=True)
    assert not (tmp_path / "absent.sqlite").exists()


def test_numbers_are_not_used_twice(journal: Journal) -> None:
    journal.skip_to(41)
    assert journal.append("a", author="me", tool="paint", kind="edit", patch=patch(2)).seq == 42
    journal.skip_to(7)
    assert journal.append("a", author="me", tool="paint", kind="edit", patch=patch(2)).seq == 43
