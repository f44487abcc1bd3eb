"""What happens to a project when the world is unkind: locks, damage, full disks, read-only folders."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import ProjectError, ProjectLockedError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import EPITHELIUM

SHAPE = (600, 700)
WHOLE = Box.of_shape(SHAPE)


def fill(project: Project, *, strokes: int = 12) -> str:
    """Add an image with model output and strokes; the last of them are not in the checkpoint."""
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    image_id = project.add_image(image_from_array(pixels, name="tissue", mpp=0.5)).id
    run_id = project.begin_run(image_id, model="unet", revision=None, box=WHOLE)
    project.propose(image_id, WHOLE, np.full(SHAPE, 1, np.uint8), run_id=run_id)
    project.end_run(run_id, "done")
    rng = np.random.default_rng(1)
    for number in range(strokes):
        if number == strokes - 3:
            project.checkpoint()
        y, x = rng.integers(0, 500, 2)
        project.record(image_id, tool="paint", box=Box(y, x, y + 90, x + 90), after=blob(rng))
    return image_id


def blob(rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random((90, 90)) < 0.7, 2, 0).astype(np.uint8)


def labels_of(project: Project, image_id: str) -> list[np.ndarray]:
    planes = project.planes(image_id)
    return [planes.labels.copy(), planes.state.copy()]


def assert_labels(project: Project, image_id: str, expected: list[np.ndarray]) -> None:
    for array, old in zip(labels_of(project, image_id), expected, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.fixture
def closed(tmp_path: Path) -> tuple[Path, str, list[np.ndarray]]:
    with Project.create(tmp_path / "study.histoseg", EPITHELIUM) as project:
        image_id = fill(project)
        labels = labels_of(project, image_id)
    return tmp_path / "study.histoseg", image_id, labels


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("a small disk can only be made as root with the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path, closed: tuple[Path, str, list[np.ndarray]]) -> Iterator[Path]:
    """The closed project on a disk that cannot be written."""
    folder = tmp_path / "cd"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a read-only disk can only be made as root with the right to mount")
    steps = (["mount", "--bind", str(closed[0]), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)])
    for step in steps:
        if subprocess.run(step, capture_output=True, check=False).returncode != 0:
            pytest.skip("a read-only disk can only be made as root with the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


# the same folder twice ------------------------------------------------------------------------------------------------


def test_a_second_opener_is_told_who_has_it_and_may_read(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", EPITHELIUM) as project:
        image_id = fill(project)
        with pytest.raises(ProjectLockedError, match=rf"open in another window .*process {os.getpid()}.*reading only"):
            Project.open(tmp_path / "p")
        with Project.open(tmp_path / "p", read_only=True) as reader:
            assert reader.read_only
            assert_labels(reader, image_id, labels_of(project, image_id))
            assert reader.edit_count(image_id) == 12
        project.record(image_id, tool="paint", box=Box(0, 0, 5, 5), after=np.full((5, 5), 0, np.uint8))


def test_the_lock_is_gone_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from napari_histoseg.core.project import Project;"
        "from napari_histoseg.core.schemas import EPITHELIUM;"
        "Project.create(sys.argv[1], EPITHELIUM); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "p")], check=False).returncode == 9
    Project.open(tmp_path / "p").close()


def test_a_lock_of_another_process_is_seen(tmp_path: Path) -> None:
    code = (
        "import sys; from napari_histoseg.core.project import Project;"
        "from napari_histoseg.core.schemas import EPITHELIUM;"
        "project = Project.create(sys.argv[1], EPITHELIUM); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "p")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        with pytest.raises(ProjectLockedError, match=f"process {holder.pid}"):
            Project.open(tmp_path / "p")
        holder.communicate("", timeout=30)
    Project.open(tmp_path / "p").close()


def test_a_disk_without_locks_is_read_only(closed: tuple[Path, str, list[np.ndarray]], monkeypatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Project.open(closed[0]) as project:
        assert project.read_only and "No locks available" in project.notes[0]
        assert_labels(project, closed[1], closed[2])


# what is not a project, or too new ------------------------------------------------------------------------------------


def test_folders_that_are_no_projects_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="There is no project at"):
        Project.open(tmp_path / "absent")
    with pytest.raises(ProjectError, match="is not a napari-histoseg project"):
        Project.open(tmp_path)
    file = tmp_path / "file.histoseg"
    file.write_text("text")
    with pytest.raises(ProjectError, match="is not a napari-histoseg project"):
        Project.open(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.histoseg"]


def test_nothing_is_created_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("years")
    with pytest.raises(ProjectError, match="is not empty"):
        Project.create(tmp_path / "used", EPITHELIUM)
    Project.create(tmp_path / "p", EPITHELIUM).close()
    with pytest.raises(ProjectError, match="is a project already; open it"):
        Project.create(tmp_path / "p", EPITHELIUM)
    (tmp_path / "file").write_text("text")
    with pytest.raises(ProjectError, match="No project could be created"):
        Project.create(tmp_path / "file" / "p", EPITHELIUM)
    (tmp_path / "empty").mkdir()
    Project.create(tmp_path / "empty", EPITHELIUM).close()


def test_a_project_from_a_newer_version_is_left_alone(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path = closed[0]
    header = json.loads((path / "project.json").read_text())
    (path / "project.json").write_text(json.dumps({**header, "format": 7}))
    for read_only in (False, True):
        with pytest.raises(ProjectError, match=r"newer napari-histoseg \(format 7.*update"):
            Project.open(path, read_only=read_only)
    (path / "project.json").write_text(json.dumps(header))
    database = sqlite3.connect(path / "journal.sqlite")
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(ProjectError, match=r"newer napari-histoseg \(journal version 7.*update"):
        Project.open(path)


# damage ---------------------------------------------------------------------------------------------------------------


def test_a_lost_project_file_is_written_again(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, labels = closed
    for damage in (lambda file: file.unlink(), lambda file: file.write_text('{"format": 1, "sch')):
        damage(path / "project.json")
        with Project.open(path) as project:
            assert "project.json" in project.notes[0]
            assert project.schema == EPITHELIUM
            assert_labels(project, image_id, labels)
        with Project.open(path) as project:
            assert project.notes == ()


def test_lost_checkpoints_are_replayed_from_the_journal(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, labels = closed
    shutil.rmtree(path / "checkpoints")
    with Project.open(path) as project:
        assert_labels(project, image_id, labels)
        assert (project.planes(image_id).proposal == IGNORE).all()
    with Project.open(path) as project:
        assert_labels(project, image_id, labels)


@pytest.mark.parametrize("plane", ["labels", "state"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "no metadata"])
def test_damaged_checkpoints_are_rebuilt(closed: tuple[Path, str, list[np.ndarray]], plane: str, damage: str) -> None:
    path, image_id, labels = closed
    array = path / "checkpoints" / f"{image_id}.zarr" / plane
    chunk = array / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 255
    change = {
        "missing": chunk.unlink,
        "empty": lambda: chunk.write_bytes(b""),
        "cut": lambda: chunk.write_bytes(chunk.read_bytes()[:-20]),
        "flipped": lambda: chunk.write_bytes(bytes(content)),
        "no metadata": (array / "zarr.json").unlink,
    }
    change[damage]()
    for _ in range(2):
        with Project.open(path) as project:
            assert_labels(project, image_id, labels)
            assert (project.planes(image_id).proposal == 1).all(), "the other planes are not touched"
            project.record(image_id, tool="paint", box=Box(0, 0, 9, 9), after=np.full((9, 9), 0, np.uint8))
            labels = labels_of(project, image_id)


def test_damaged_model_output_is_forgotten_and_said(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, labels = closed
    (path / "checkpoints" / f"{image_id}.zarr" / "proposal" / "c" / "1" / "1").unlink()
    with Project.open(path) as project:
        assert_labels(project, image_id, labels)
        assert (project.planes(image_id).proposal == IGNORE).all()
        assert "press Segment again" in project.notes[0]


def test_a_lost_journal_is_begun_again_from_the_checkpoints(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, labels = closed
    (path / "journal.sqlite").unlink()
    with pytest.raises(ProjectError, match="lost its journal; open it for writing"):
        Project.open(path, read_only=True)
    with Project.open(path) as project:
        assert any("history of its edits is lost" in note for note in project.notes)
        assert [entry.name for entry in project.images] == ["tissue"]
        assert project.image(image_id).mpp == 0.5
        assert_labels(project, image_id, labels)
        project.record(image_id, tool="paint", box=Box(0, 0, 9, 9), after=np.full((9, 9), 0, np.uint8))
        assert project.image_ref(image_id).shape == SHAPE
        labels = labels_of(project, image_id)
    with Project.open(path) as project:
        assert project.notes == ()
        assert_labels(project, image_id, labels)
        assert [edit.kind for edit in project.edits(image_id)] == ["import", "edit"]


def test_project_file_and_journal_lost_is_a_sentence(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path = closed[0]
    (path / "project.json").unlink()
    (path / "journal.sqlite").unlink()
    with pytest.raises(ProjectError, match="lost its list of classes"):
        Project.open(path)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("how", ["zeroed page", "cut"])
def test_a_damaged_journal_gives_back_what_is_whole(
    closed: tuple[Path, str, list[np.ndarray]], where: float, how: str
) -> None:
    path, image_id, labels = closed
    journal = path / "journal.sqlite"
    content = bytearray(journal.read_bytes())
    page = int(where * len(content)) // 4096 * 4096
    if how == "cut":
        content = content[: max(page, 100)]
    else:
        content[page : page + 4096] = bytes(4096)
    journal.write_bytes(content)
    with Project.open(path) as project:
        assert_labels(project, image_id, labels)
        assert project.schema == EPITHELIUM
        notes = project.notes
        kept = project.edits(image_id)
    assert any("damaged" in note for note in notes), notes
    assert any("damaged" in file.name for file in path.iterdir())
    assert kept
    with Project.open(path) as project:
        assert project.notes == ()
        assert_labels(project, image_id, labels)


def test_a_lost_copy_of_the_pixels_is_replaced_by_adding_the_image_again(
    closed: tuple[Path, str, list[np.ndarray]],
) -> None:
    path, image_id, labels = closed
    shutil.rmtree(path / "images")
    with Project.open(path) as project:
        assert_labels(project, image_id, labels)
        with pytest.raises(ProjectError, match=r"missing or damaged.*open the image again"):
            project.image_ref(image_id)
        pixels = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
        assert project.add_image(image_from_array(pixels, name="tissue")).id == image_id
    with Project.open(path) as project:
        np.testing.assert_array_equal(project.image_ref(image_id).read(0, WHOLE)[..., 0], pixels)
        assert_labels(project, image_id, labels)


def test_a_folder_deleted_while_it_is_open_is_noticed_at_the_next_stroke(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", EPITHELIUM)
    image_id = fill(project, strokes=4)
    labels = labels_of(project, image_id)
    (tmp_path / "p").rename(tmp_path / "moved")
    with pytest.raises(ProjectError, match="moved or deleted while it was open; put the folder back"):
        project.undo(image_id)
    assert_labels(project, image_id, labels)
    with pytest.raises(ProjectError, match="could not be written"):
        project.close()
    with Project.open(tmp_path / "moved") as project:
        assert_labels(project, image_id, labels)
    assert not (tmp_path / "p").exists()


def test_text_in_place_of_the_journal(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, labels = closed
    (path / "journal.sqlite").write_text("this is not a database, sorry " * 300)
    with pytest.raises(ProjectError, match="cannot be read"):
        Project.open(path, read_only=True)
    with Project.open(path) as project:
        assert "0 of its edits could be read" in project.notes[0]
        assert_labels(project, image_id, labels)


def test_an_older_journal_put_back_does_not_lose_what_the_checkpoint_knows(tmp_path: Path) -> None:
    path = tmp_path / "p"
    with Project.create(path, EPITHELIUM) as project:
        image_id = fill(project, strokes=5)
    backup = (path / "journal.sqlite").read_bytes()
    with Project.open(path) as project:
        project.record(image_id, tool="paint", box=Box(0, 0, 30, 30), after=np.full((30, 30), 0, np.uint8))
        labels = labels_of(project, image_id)
    (path / "journal.sqlite").write_bytes(backup)
    with Project.open(path) as project:
        assert any("came back from its last checkpoint" in note for note in project.notes)
        assert_labels(project, image_id, labels)
        seqs = [edit.seq for edit in project.edits()]
        assert seqs == sorted(set(seqs)) and seqs[-1] > 6, "numbers are never used twice"


def test_one_damaged_row_costs_one_stroke(tmp_path: Path) -> None:
    path = tmp_path / "p"
    with Project.create(path, EPITHELIUM) as project:
        image_id = fill(project, strokes=5)
        boxes = [edit.box for edit in project.edits(image_id)]
        labels = labels_of(project, image_id)
    shutil.rmtree(path / "checkpoints")
    database = sqlite3.connect(path / "journal.sqlite")
    database.execute("UPDATE edits SET patch = substr(patch, 1, 40) WHERE seq = 5")
    database.commit()
    database.close()
    with Project.open(path) as project:
        elsewhere = np.ones(SHAPE, bool)
        elsewhere[boxes[-1].slices] = False
        np.testing.assert_array_equal(project.planes(image_id).labels[elsewhere], labels[0][elsewhere])
        assert "Edit 5" in project.notes[0] and "paint it again" in project.notes[0]
        with pytest.raises(ProjectError, match="Edit 5"):
            project.undo(image_id)


def test_a_changed_row_is_noticed(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, _ = closed
    database = sqlite3.connect(path / "journal.sqlite")
    database.execute("UPDATE edits SET x0 = x0 + 1, x1 = x1 + 1 WHERE seq = 3")
    database.commit()
    database.close()
    with Project.open(path) as project, pytest.raises(ProjectError, match=r"Edit 3 .* checksum"):
        project.edits(image_id)


def test_what_a_killed_process_left_unfinished_is_removed(closed: tuple[Path, str, list[np.ndarray]]) -> None:
    path, image_id, labels = closed
    for folder in ("images/.incoming-x.zarr/0", "revisions/.incoming-0a1b"):
        (path / folder).mkdir(parents=True)
        (path / folder / "weights").write_text("half")
    for file in (f"checkpoints/{image_id}.zarr/labels/c/0/.incoming-0-abc", ".incoming-project.json-77"):
        (path / file).write_text("half")
    with Project.open(path) as project:
        assert_labels(project, image_id, labels)
    assert not list(path.rglob(".incoming-*"))


# disks ----------------------------------------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    with Project.create(small_disk / "p", EPITHELIUM) as project:
        image_id = fill(project, strokes=4)
        free = shutil.disk_usage(small_disk).free
        (small_disk / "movie").write_bytes(bytes(max(0, free - 100_000)))
        rng = np.random.default_rng(5)
        with pytest.raises(ProjectError, match=r"disk is full; free some space|disk cannot be written"):
            for _ in range(200):
                held = labels_of(project, image_id), project.edit_count(image_id), project.counts(image_id)
                after = rng.integers(0, 3, (300, 300), np.uint8)
                project.record(image_id, tool="paint", box=Box(0, 0, 300, 300), after=after)
        assert_labels(project, image_id, held[0])
        assert (project.edit_count(image_id), project.counts(image_id)) == held[1:]
        with pytest.raises(ProjectError, match=r"checkpoint.*free some disk space.*Every edit is safe"):
            project.checkpoint()
        with pytest.raises(ProjectError, match="new revision could not be saved"):
            project.revisions.publish(
                "unet", lambda folder: (folder / "w").write_bytes(bytes(10**6)) and None, {"verdict": "refused"}
            )
        big = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
        with pytest.raises(ProjectError, match="could not be copied"):
            project.add_image(image_from_array(big, name="second"))
        assert len(project.images) == 1
        (small_disk / "movie").unlink()
        project.record(image_id, tool="paint", box=Box(0, 0, 300, 300), after=np.full((300, 300), 0, np.uint8))
        labels = labels_of(project, image_id)
    with Project.open(small_disk / "p") as project:
        assert_labels(project, image_id, labels)
        assert project.notes == ()
        assert not list(project.path.rglob(".incoming-*"))


def test_closing_on_a_full_disk_frees_the_folder_and_keeps_the_edits(small_disk: Path) -> None:
    project = Project.create(small_disk / "p", EPITHELIUM)
    image_id = fill(project, strokes=4)
    labels = labels_of(project, image_id)
    (small_disk / "movie").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(ProjectError, match="Every edit is safe"):
        project.close()
    (small_disk / "movie").unlink()
    with Project.open(small_disk / "p") as project:
        assert_labels(project, image_id, labels)


def test_no_project_on_a_full_disk(small_disk: Path) -> None:
    (small_disk / "movie").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(ProjectError, match=r"No project could be created.*free space"):
        Project.create(small_disk / "p", EPITHELIUM)
    assert [path.name for path in small_disk.iterdir()] == ["movie"]


def test_a_journal_that_cannot_grow_changes_nothing(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", EPITHELIUM) as project:
        image_id = fill(project, strokes=4)
        pages = project._journal._db.execute("PRAGMA page_count").fetchone()[0]
        project._journal._db.execute(f"PRAGMA max_page_count = {pages}")
        labels, saved_at = labels_of(project, image_id), project.last_saved_at
        after = np.random.default_rng(5).integers(0, 3, (300, 300), np.uint8)
        with pytest.raises(ProjectError, match=r"The disk is full; free some space.*was not saved"):
            project.record(image_id, tool="paint", box=Box(0, 0, 300, 300), after=after)
        assert_labels(project, image_id, labels)
        assert project.last_saved_at == saved_at and project.edit_count(image_id) == 4
        project._journal._db.execute("PRAGMA max_page_count = 100000")
        assert project.record(image_id, tool="paint", box=Box(0, 0, 300, 300), after=after) is not None


def test_a_read_only_folder_opens_for_reading_and_says_so(
    closed: tuple[Path, str, list[np.ndarray]], read_only: Path
) -> None:
    with Project.open(read_only) as project:
        assert project.read_only
        assert "cannot be written" in project.notes[0] and "reading only" in project.notes[0]
        check_reader(project, closed[1], closed[2])


def test_a_read_only_folder_with_an_unfinished_journal(
    closed: tuple[Path, str, list[np.ndarray]], tmp_path: Path
) -> None:
    """Killed while painting, then burnt on a disk: the last strokes lie in the write-ahead log."""
    if os.geteuid() != 0:
        pytest.skip("a read-only disk can only be made as root with the right to mount")
    project = Project.open(closed[0])
    project.record(closed[1], tool="paint", box=Box(0, 0, 9, 9), after=np.full((9, 9), 0, np.uint8))
    labels = labels_of(project, closed[1])
    shutil.copytree(closed[0], tmp_path / "killed")
    project.close()
    (tmp_path / "killed" / "journal.sqlite-shm").unlink()
    (tmp_path / "cd").mkdir()
    target = str(tmp_path / "cd")
    for step in (["--bind", str(tmp_path / "killed"), target], ["-o", "remount,ro,bind", target]):
        if subprocess.run(["mount", *step], capture_output=True, check=False).returncode != 0:
            pytest.skip("a read-only disk can only be made as root with the right to mount")
    try:
        with Project.open(tmp_path / "cd") as reader:
            check_reader(reader, closed[1], labels)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "cd")], check=True)


def check_reader(project: Project, image_id: str, labels: list[np.ndarray]) -> None:
    assert_labels(project, image_id, labels)
    box = Box(0, 0, 9, 9)
    painted = 2 - project.planes(image_id).displayed(box) // 2
    attempts = (
        lambda: project.record(image_id, tool="paint", box=box, after=painted),
        lambda: project.undo(image_id),
        lambda: project.propose(image_id, box, np.zeros((9, 9), np.uint8), run_id=1),
        lambda: project.set_setting("a", 1),
        lambda: project.set_mpp(image_id, 1.0),
        lambda: project.begin_run(image_id, model="unet", revision=None, box=box),
        lambda: project.add_image(image_from_array(np.ones((50, 50), np.uint8), name="new")),
        lambda: project.revisions.activate("unet", None),
    )
    for attempt in attempts:
        with pytest.raises(ProjectError, match=r"open for reading only.*copy the folder"):
            attempt()
    assert_labels(project, image_id, labels)
    project.checkpoint()
