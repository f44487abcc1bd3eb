"""The project as a person uses it: edits, undo, model output, images, coming back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import State
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS5, EPITHELIUM

SHAPE = (90, 70)
WHOLE = Box.of_shape(SHAPE)


def picture(seed: int = 0, *, shape: tuple[int, int] = SHAPE, path: str | None = None) -> ImageRef:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    return image_from_array(pixels, name=f"picture {seed}", path=path)


@pytest.fixture
def project(tmp_path: Path):
    with Project.create(tmp_path / "study.histoseg", EPITHELIUM) as project:
        yield project


@pytest.fixture
def image_id(project: Project) -> str:
    return project.add_image(picture()).id


def propose(project: Project, image_id: str, value: int | np.ndarray, box: Box = WHOLE) -> None:
    run_id = project.begin_run(image_id, model="unet", revision="starter", box=box)
    labels = np.broadcast_to(np.asarray(value, np.uint8), box.shape)
    project.propose(image_id, box, labels, run_id=run_id)
    project.end_run(run_id, "done")


def paint(project: Project, image_id: str, value: int, box: Box):
    return project.record(image_id, tool="paint", box=box, after=np.full(box.shape, value, np.uint8))


def test_only_pixels_that_differ_from_what_was_shown_become_edited(project: Project, image_id: str) -> None:
    propose(project, image_id, 1)
    propose(project, image_id, 2, Box(0, 0, 10, 70))
    edit = paint(project, image_id, 2, Box(5, 0, 15, 20))
    assert edit is not None
    assert (edit.box, edit.changed, edit.kind, edit.tool) == (Box(10, 0, 15, 20), 100, "edit", "paint")
    planes = project.planes(image_id)
    assert int((planes.state == State.EDITED).sum()) == 100
    assert (planes.labels == IGNORE).sum() == WHOLE.area - 100
    assert project.counts(image_id) == {0: 0, 1: 0, 2: 100}
    assert project.edit_count(image_id) == 1


def test_a_stroke_that_changes_nothing_is_no_edit(project: Project, image_id: str) -> None:
    propose(project, image_id, 1)
    assert paint(project, image_id, 1, Box(0, 0, 9, 9)) is None
    assert project.edit_count(image_id) == 0
    assert project.last_saved_at is None


def test_model_output_never_replaces_a_label_and_undo_never_brings_old_output_back(
    project: Project, image_id: str
) -> None:
    propose(project, image_id, 1)
    stroke = Box(20, 20, 40, 40)
    paint(project, image_id, 2, stroke)
    propose(project, image_id, 0)
    assert (project.planes(image_id).displayed(stroke) == 2).all()
    project.undo(image_id)
    assert (project.planes(image_id).displayed() == 0).all()


def test_accept_takes_what_is_shown_where_nobody_has_edited(project: Project, image_id: str) -> None:
    view = Box(0, 0, 20, 20)
    propose(project, image_id, 1, Box(0, 0, 10, 70))
    paint(project, image_id, 2, Box(0, 0, 5, 5))
    edit = project.accept(image_id, view.pad(5))
    assert edit is not None and edit.kind == "accept"
    assert edit.changed == 10 * 25 - 25, "neither the edited pixels nor those without a class"
    planes = project.planes(image_id)
    assert (planes.state[:5, :5] == State.EDITED).all()
    assert (planes.state[5:10, :25] == State.VERIFIED).all()
    assert (planes.state[10:] == State.UNREVIEWED).all()
    assert project.accept(image_id, view) is None
    propose(project, image_id, 0)
    assert (planes.displayed(Box(5, 0, 10, 25)) == 1).all(), "verified pixels keep their class"


def test_painting_ignore_takes_the_label_back(project: Project, image_id: str) -> None:
    propose(project, image_id, 1)
    paint(project, image_id, 2, Box(0, 0, 4, 4))
    edit = paint(project, image_id, IGNORE, Box(0, 0, 8, 8))
    assert edit is not None and edit.changed == 16
    assert (project.planes(image_id).displayed() == 1).all()
    assert not project.planes(image_id).state.any()


def test_undo_and_redo_are_rows_of_the_journal_and_survive_reopening(project: Project, image_id: str) -> None:
    propose(project, image_id, 1)
    for column in range(5):
        paint(project, image_id, 2, Box(0, column * 10, 9, column * 10 + 9))
    shown = project.planes(image_id).displayed()
    for _ in range(3):
        assert project.undo(image_id) is not None
    project.close()
    with Project.open(project.path) as again:
        assert again.edit_count(image_id) == 2
        for _ in range(3):
            assert again.redo(image_id) is not None
        assert again.redo(image_id) is None and not again.can_redo(image_id)
        np.testing.assert_array_equal(again.planes(image_id).displayed(), shown)
        kinds = [edit.kind for edit in again.edits(image_id)]
        assert kinds == ["edit"] * 5 + ["undo"] * 3 + ["redo"] * 3
        while again.undo(image_id):
            pass
        assert (again.planes(image_id).displayed() == 1).all() and not again.can_undo(image_id)


def test_a_new_stroke_ends_redo(project: Project, image_id: str) -> None:
    paint(project, image_id, 2, Box(0, 0, 4, 4))
    project.undo(image_id)
    paint(project, image_id, 1, Box(0, 0, 2, 2))
    assert not project.can_redo(image_id)


def test_each_image_has_its_own_undo(project: Project, image_id: str) -> None:
    other = project.add_image(picture(1)).id
    paint(project, image_id, 2, Box(0, 0, 4, 4))
    paint(project, other, 1, Box(0, 0, 4, 4))
    project.undo(image_id)
    assert (project.planes(other).labels[:4, :4] == 1).all()
    assert not project.can_undo(image_id) and project.can_undo(other)


def test_everything_is_there_after_reopening(project: Project, image_id: str) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE, np.uint8)
    propose(project, image_id, labels)
    paint(project, image_id, 2, Box(3, 3, 30, 30))
    project.accept(image_id, Box(20, 20, 60, 60))
    project.set_mpp(image_id, 0.25)
    project.set_setting("view", {"zoom": 1.5, "center": [1, 2]})
    planes = project.planes(image_id)
    before = [planes.proposal.copy(), planes.labels.copy(), planes.state.copy()]
    shares, counts = project.class_shares(image_id), project.counts(image_id)
    saved_at = project.last_saved_at
    project.close()
    project.close()
    with Project.open(project.path) as again:
        assert again.notes == ()
        assert again.schema == EPITHELIUM and again.name == "study"
        assert again.last_saved_at == saved_at
        planes = again.planes(image_id)
        for array, old in zip((planes.proposal, planes.labels, planes.state), before, strict=True):
            np.testing.assert_array_equal(array, old)
        assert again.get_setting("view") == {"zoom": 1.5, "center": [1, 2]}
        assert again.get_setting("absent", 7) == 7
        assert again.image(image_id).mpp == 0.25
        assert (again.class_shares(image_id), again.counts(image_id)) == (shares, counts)
        assert again.image_ref(image_id).mpp == 0.25


def test_shares_are_of_displayed_pixels_with_a_class(project: Project, image_id: str) -> None:
    assert project.class_shares(image_id) == {0: 0.0, 1: 0.0, 2: 0.0}
    propose(project, image_id, 1, Box(0, 0, 30, 70))
    paint(project, image_id, 2, Box(0, 0, 15, 70))
    assert project.class_shares(image_id) == {0: 0.0, 1: 0.5, 2: 0.5}
    propose(project, image_id, IGNORE, Box(0, 0, 30, 70))
    assert project.class_shares(image_id) == {0: 0.0, 1: 0.0, 2: 1.0}


def test_verified_import_is_one_edit_that_can_be_undone(project: Project, image_id: str) -> None:
    labels = np.full(SHAPE, IGNORE, np.uint8)
    labels[:40] = 2
    edit = project.import_labels(image_id, labels, verified=True, author="pathologist")
    assert edit is not None and (edit.kind, edit.author, edit.changed) == ("import", "pathologist", 40 * 70)
    assert (project.planes(image_id).state[:40] == State.VERIFIED).all()
    project.undo(image_id)
    assert not project.planes(image_id).state.any()


def test_import_without_a_persons_word_is_a_proposal(project: Project, image_id: str) -> None:
    assert project.import_labels(image_id, np.full(SHAPE, 1, np.uint8), verified=False) is None
    assert (project.planes(image_id).proposal == 1).all()
    assert not project.planes(image_id).state.any()
    assert [run.model for run in project.runs()] == ["import"]


def test_runs_are_kept_for_the_record(project: Project, image_id: str) -> None:
    box = Box(1, 2, 30, 40)
    run_id = project.begin_run(image_id, model="unet", revision="r0001", box=box)
    (run,) = project.runs(image_id)
    assert (run.id, run.model, run.revision, run.box, run.state) == (run_id, "unet", "r0001", box, "running")
    project.end_run(run_id, "cancelled")
    assert project.runs(image_id)[0].state == "cancelled"
    assert project.runs("another") == ()
    project.begin_run(image_id, model="unet", revision=None, box=box)
    project.close()
    with Project.open(project.path) as again:
        assert [run.state for run in again.runs()] == ["cancelled", "interrupted"]


def test_the_planes_cannot_be_written_past_the_journal(project: Project, image_id: str) -> None:
    planes = project.planes(image_id)
    for array in (planes.labels, planes.state, planes.proposal):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


@pytest.mark.parametrize(
    ("box", "after", "says"),
    [
        (Box(80, 0, 95, 10), np.zeros((15, 10), np.uint8), "does not lie inside"),
        (Box(5, 5, 5, 5), np.zeros((0, 0), np.uint8), "does not lie inside"),
        (Box(0, 0, 5, 5), np.zeros((5, 6), np.uint8), r"\(5, 6\) px but \(5, 5\)"),
        (Box(0, 0, 5, 5), np.full((5, 5), 7, np.uint8), "label value 7.*epithelium"),
        (Box(0, 0, 5, 5), np.full((5, 5), 258, np.int32), "outside 0 to 255"),
        (Box(0, 0, 5, 5), np.full((5, 5), -1, np.int8), "outside 0 to 255"),
    ],
)
def test_wrong_strokes_are_refused_and_change_nothing(
    project: Project, image_id: str, box: Box, after: np.ndarray, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        project.record(image_id, tool="paint", box=box, after=after)
    assert project.edits() == () and not project.planes(image_id).state.any()


def test_wrong_model_output_is_refused(project: Project, image_id: str) -> None:
    run_id = project.begin_run(image_id, model="unet", revision=None, box=WHOLE)
    with pytest.raises(InputError, match="label value 9"):
        project.propose(image_id, WHOLE, np.full(SHAPE, 9, np.uint8), run_id=run_id)
    with pytest.raises(InputError, match="Run 99 was not begun"):
        project.propose(image_id, WHOLE, np.full(SHAPE, 1, np.uint8), run_id=99)
    assert (project.planes(image_id).proposal == IGNORE).all()


def test_schemas_without_class_0_refuse_it(tmp_path: Path) -> None:
    with Project.create(tmp_path / "breast", BCSS5) as project:
        image_id = project.add_image(picture()).id
        with pytest.raises(InputError, match="label value 0"):
            paint(project, image_id, 0, Box(0, 0, 3, 3))
        assert paint(project, image_id, 5, Box(0, 0, 3, 3)) is not None


def test_the_same_pixels_are_the_same_image(project: Project, image_id: str) -> None:
    again = project.add_image(picture(path="/somewhere/else.png").with_mpp(0.5))
    assert again.id == image_id and len(project.images) == 1
    assert (again.path, again.mpp, again.is_stored) == ("/somewhere/else.png", 0.5, True)
    kept = project.add_image(picture())
    assert (kept.mpp, kept.path) == (0.5, "/somewhere/else.png"), "what is known is not forgotten"
    assert project.image_ref(image_id).mpp == 0.5


def test_pixels_without_a_file_are_stored_with_all_their_levels(tmp_path: Path) -> None:
    top = np.random.default_rng(0).integers(0, 256, (1300, 1100, 3), np.uint8)
    ref = image_from_array([top, top[::4, ::4]], name="layer", mpp=0.5)
    with Project.create(tmp_path / "p", EPITHELIUM) as project:
        entry = project.add_image(ref)
        assert entry.is_stored and entry.path is None
    with Project.open(tmp_path / "p") as project:
        again = project.image_ref(entry.id)
        assert again.levels == ref.levels and again.content_id == ref.content_id and again.mpp == 0.5
        np.testing.assert_array_equal(again.read(0, Box.of_shape(top.shape)), top)
        np.testing.assert_array_equal(again.read(1, Box(3, 5, 100, 200)), top[::4, ::4][3:100, 5:200])


def test_images_with_a_file_are_read_from_it_and_matched_by_content(tmp_path: Path) -> None:
    file = tmp_path / "data" / "slide.npy"
    file.parent.mkdir()
    ref = picture(path=str(file))
    np.save(file, ref.read(0, WHOLE))

    def open_file(path: str) -> ImageRef:
        return image_from_array(np.load(path), name="slide", path=path)

    with Project.create(tmp_path / "p", EPITHELIUM) as project:
        entry = project.add_image(ref)
        assert not entry.is_stored
        assert project.image_ref(entry.id) is not None, "no reader is needed while it is open"
    with Project.open(tmp_path / "p") as project:
        with pytest.raises(ProjectError, match="open that image again"):
            project.image_ref(entry.id)
        np.testing.assert_array_equal(project.image_ref(entry.id, open_file).read(0, WHOLE), ref.read(0, WHOLE))
    file.rename(tmp_path / "slide.npy")
    with Project.open(tmp_path / "p") as project:
        assert project.image_ref(entry.id, open_file).content_id == entry.content_id, "found beside the project"
    (tmp_path / "slide.npy").unlink()
    with Project.open(tmp_path / "p") as project:
        with pytest.raises(ProjectError, match="no longer there; put it back"):
            project.image_ref(entry.id, open_file)
        np.save(file, picture(5).read(0, WHOLE))
        with pytest.raises(ProjectError, match="has changed"):
            project.image_ref(entry.id, open_file)


def test_a_huge_image_is_refused_before_anything_is_allocated(project: Project) -> None:
    dask = pytest.importorskip("dask.array")
    huge = dask.zeros((200_000, 100_000, 3), dtype=np.uint8, chunks=(1000, 1000, 3))
    with pytest.raises(InputError, match="crop the region"):
        project.add_image(image_from_array(huge, name="huge"))
    assert project.images == ()


def test_a_large_layer_without_a_file_is_usable_but_not_copied(project: Project) -> None:
    dask = pytest.importorskip("dask.array")
    large = dask.zeros((12_000, 12_000, 3), dtype=np.uint8, chunks=(1000, 1000, 3))
    entry = project.add_image(image_from_array(large, name="large"))
    assert not entry.is_stored
    assert project.image_ref(entry.id).read(0, Box(0, 0, 20, 20)).shape == (20, 20, 3)
    project.close()
    with Project.open(project.path) as again, pytest.raises(ProjectError, match="open that image again"):
        again.image_ref(entry.id)


def test_unknown_images_and_wrong_resolutions_are_sentences(project: Project, image_id: str) -> None:
    with pytest.raises(ProjectError, match="no image 'nonsense'"):
        project.planes("nonsense")
    with pytest.raises(ProjectError, match="no image 'nonsense'"):
        project.undo("nonsense")
    for mpp in (0.0, -1.0, float("nan"), 1e6):
        with pytest.raises(InputError, match="not a microscope's resolution"):
            project.set_mpp(image_id, mpp)


def test_checkpoint_if_due_writes_in_small_steps(project: Project, image_id: str, monkeypatch) -> None:
    monkeypatch.setattr("napari_histoseg.core.labels._EVERY_S", 0.0)
    propose(project, image_id, 1)
    paint(project, image_id, 2, Box(0, 0, 9, 9))
    dirty = len(project.planes(image_id).dirty)
    assert dirty == 3
    steps = 0
    while project.planes(image_id).dirty:
        project.checkpoint_if_due(budget_s=0.0)
        steps += 1
        assert len(project.planes(image_id).dirty) == dirty - steps
    zarr = pytest.importorskip("zarr")
    saved = zarr.open_group(str(project.path / "checkpoints" / f"{image_id}.zarr"), mode="r")
    for name in ("proposal", "labels", "state"):
        np.testing.assert_array_equal(saved[name][:], getattr(project.planes(image_id), name))
