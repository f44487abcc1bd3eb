"""Points one by one and all at once: local is what the whole would be, what a person shaped stays, undo brings back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_pictures import assert_consistent, assert_same, state_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.points import solve_box
from napari_histoseg.session import JobStatus, Session
from napari_histoseg.session.point_growth import Growth

SHAPE = (300, 340)
MPP = 0.5
TUMOUR, NORMAL = 1, 2
PLACES = np.random.default_rng(5).uniform(8, 290, (150, 2))


def nuclei(places: NDArray[np.float64] = PLACES, shape: tuple[int, int] = SHAPE) -> ImageRef:
    """Violet disks of 3 µm radius on noisy pink."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for cy, cx in places:
        inside |= np.hypot(y - cy, x - cx) <= 6
    pixels = np.where(inside[..., None], (70, 40, 130), (225, 150, 195)).astype(float)
    pixels = ndimage.gaussian_filter(pixels, (0.7, 0.7, 0)) + np.random.default_rng(0).normal(0, 9, pixels.shape)
    return image_from_array(np.clip(pixels, 0, 255).astype(np.uint8), name="nuclei", mpp=MPP)


def wait(session: Session) -> None:
    assert session._lane.wait(60), "the lane did not become idle"


class Bench:
    """A session with an image of nuclei, and what it told."""

    def __init__(self, session: Session, folder: Path, image: ImageRef | None = None) -> None:
        self.session = session
        session.create_project(folder / "points.histoseg", "cellularity")
        self.image_id = session.add_image(image or nuclei()).id
        self.points = session.points
        self.statuses: list[JobStatus] = []
        self.errors: list[str] = []
        session.job_changed.connect(self.statuses.append)
        session.message.connect(lambda _level, text: self.errors.append(text))

    @property
    def cells(self) -> Any:
        return self.session.cells.of(self.image_id)

    def place(self, places: NDArray[np.float64], class_id: int = TUMOUR) -> None:
        for y, x in places:
            self.points.add(self.image_id, y, x, class_id)

    def solve(self) -> None:
        self.points.solve(self.image_id)
        wait(self.session)

    def write(self, path: Path, lines: list[str]) -> Path:
        path.write_text("x,y,class\n" + "\n".join(lines) + "\n")
        return path

    def fill(self, folder: Path) -> None:
        """A solved image with a point in each nucleus."""
        lines = [f"{x},{y},malignant" for y, x in PLACES]
        self.points.import_csv(self.image_id, self.write(folder / "all.csv", lines))
        wait(self.session)


@pytest.fixture
def bench(session: Session, tmp_path: Path) -> Bench:
    return Bench(session, tmp_path)


@pytest.fixture
def full(bench: Bench, tmp_path: Path) -> Bench:
    bench.fill(tmp_path)
    return bench


def whole_solve(bench: Bench) -> NDArray[np.int32]:
    """What a full solve would give now."""
    growth = Growth.of(bench.cells, keeps_found=False)
    ground = bench.points._grounds.of(bench.image_id)
    return solve_box(
        ground,
        growth.points,
        Box.of_shape(SHAPE),
        rules=bench.points.rules,
        is_taken=lambda box: growth.taken(bench.cells.instances[box.slices]),
    )


def assert_solved(bench: Bench) -> None:
    solved, instances = whole_solve(bench), bench.cells.instances
    stays = Growth.of(bench.cells, keeps_found=False).stays
    np.testing.assert_array_equal(np.where(stays[instances], 0, instances), solved)


def test_a_point_makes_a_cell_of_its_class_at_once(bench: Bench) -> None:
    y, x = PLACES[0]
    edit = bench.points.add(bench.image_id, y, x, NORMAL)
    assert edit is not None and edit.tool == "point" and len(bench.cells) == 1
    number = bench.session.cells.at(bench.image_id, y, x)
    marked = bench.points.of(bench.image_id)
    assert marked.ids.tolist() == [number] and marked.class_ids.tolist() == [NORMAL]
    np.testing.assert_array_equal([marked.y[0], marked.x[0]], np.float32([y, x]))
    assert bench.cells.origin_of([number])[0] == Origin.POINT and not bench.cells.is_verified([number])[0]
    assert bench.cells.areas_px([number])[0] > 40
    bench.session.undo(bench.image_id)
    assert len(bench.cells) == 0 and len(bench.points.of(bench.image_id)) == 0


def test_every_act_is_one_step_back_and_told(full: Bench) -> None:
    told: list[Box] = []
    full.session.cells.changed.connect(lambda _id, box: told.append(box))
    ids = full.points.of(full.image_id).ids
    y, x = full.cells.centroids([ids[5]])[0]
    before = state_of(full.cells)
    for act in (
        lambda: full.points.add(full.image_id, y + 9, x, NORMAL),
        lambda: full.points.move(full.image_id, int(ids[5]), y, x + 3),
        lambda: full.points.remove(full.image_id, ids[[5, 70, 100]]),
    ):
        told.clear()
        edit = act()
        after = state_of(full.cells)
        assert edit is not None and told == [edit.box] and edit.box.area < 200 * 200 * 9
        assert_consistent(full.cells)
        full.session.undo(full.image_id)
        assert_same(full.cells, before)
        full.session.redo(full.image_id)
        assert_same(full.cells, after)
        full.session.undo(full.image_id)


@pytest.mark.parametrize("mode", ["marker", "contour"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_what_changes_is_what_a_full_solve_would_give(full: Bench, mode: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if full.points.mode != mode:
        full.points.mode = mode
        full.solve()
    for _ in range(6):
        marked = full.points.of(full.image_id)
        k = int(rng.integers(len(marked)))
        y, x = rng.uniform(0, np.array(SHAPE) - 1)
        if rng.random() < 0.4:
            y, x = np.clip([marked.y[k], marked.x[k]] + rng.normal(0, 5, 2), 0, np.array(SHAPE) - 1)
        kind = rng.integers(5)
        try:
            if kind == 0:
                full.points.remove(full.image_id, rng.choice(marked.ids, int(rng.integers(1, 14)), replace=False))
            elif kind < 3:
                full.points.move(full.image_id, int(marked.ids[k]), y, x)
            else:
                full.points.add(full.image_id, y, x, TUMOUR)
        except InputError as error:
            assert "already" in str(error)  # a point is there
    assert_solved(full)
    assert_consistent(full.cells)


def test_cells_grow_around_those_that_a_person_shaped(full: Bench) -> None:
    box = Box(100, 100, 130, 130)
    ids = full.cells.ids
    mask = np.ones(box.shape, bool)
    full.session.cells.delete(full.image_id, np.setdiff1d(np.unique(full.cells.instances[box.slices]), [0]))
    full.session.cells.draw(full.image_id, box, mask, NORMAL)
    drawn = full.session.cells.at(full.image_id, 115, 115)
    assert drawn not in ids
    shape = full.cells.instances == drawn
    full.points.add(full.image_id, 98, 110, TUMOUR)
    full.solve()
    np.testing.assert_array_equal(full.cells.instances == drawn, shape)
    assert_solved(full)
    with pytest.raises(InputError, match="stays"):
        full.points.move(full.image_id, full.cells.next_id - 1, 115, 115)


def test_a_point_on_a_shaped_cell_is_that_cells_and_gives_it_its_class(bench: Bench) -> None:
    box = Box(100, 100, 130, 130)
    bench.session.cells.draw(bench.image_id, box, np.ones(box.shape, bool), NORMAL)
    number = bench.session.cells.at(bench.image_id, 115, 115)
    bench.points.add(bench.image_id, 110, 110, TUMOUR)
    assert bench.cells.ids.tolist() == [number] and bench.cells.class_of([number])[0] == TUMOUR
    assert bench.cells.areas_px([number])[0] == 900 and bench.cells.origin_of([number])[0] == Origin.PERSON
    with pytest.raises(InputError, match="split"):
        bench.points.add(bench.image_id, 120, 120, TUMOUR)
    bench.points.move(bench.image_id, number, 125, 125)
    assert bench.cells.areas_px([number])[0] == 900
    bench.points.move(bench.image_id, number, 200, 200)
    assert bench.cells.origin_of([number])[0] == Origin.POINT and not bench.cells.instances[box.slices].any()
    bench.session.undo(bench.image_id)
    assert bench.cells.areas_px([number])[0] == 900


def found_by_a_model(bench: Bench) -> int:
    """One big cell that a model found, alone on the image."""
    instances = np.zeros(SHAPE, np.int64)
    instances[40:80, 40:90] = 1
    project = bench.session.project
    assert project is not None
    project.replace_cells(bench.image_id, instances, {1: NORMAL}, tool="model", origin=Origin.MODEL)
    return int(bench.cells.instances[60, 60])


def test_a_point_takes_the_place_of_what_a_model_found_there(bench: Bench) -> None:
    number = found_by_a_model(bench)
    bench.points.add(bench.image_id, 150, 150, TUMOUR)
    assert number in bench.cells and len(bench.cells) == 2
    bench.points.add(bench.image_id, 60, 60, TUMOUR)
    assert number not in bench.cells and len(bench.cells) == 2
    assert bench.session.cells.at(bench.image_id, 60, 60) == bench.cells.next_id - 1
    assert not bench.cells.instances[40, 40]


def test_what_a_model_found_goes_when_all_cells_grow_unless_somebody_vouched_for_it(bench: Bench) -> None:
    number = found_by_a_model(bench)
    bench.points.add(bench.image_id, 150, 150, TUMOUR)
    bench.solve()
    assert number not in bench.cells and len(bench.cells) == 1
    bench.session.undo(bench.image_id)
    bench.session.cells.verify(bench.image_id, [number])
    bench.solve()
    assert number in bench.cells and len(bench.cells) == 2


def test_all_at_once_is_one_step_and_keeps_numbers_and_classes(full: Bench) -> None:
    marked = full.points.of(full.image_id)
    full.session.cells.set_class(full.image_id, marked.ids[:7], NORMAL)
    full.session.cells.delete(full.image_id, marked.ids[20:22])
    before = state_of(full.cells)
    full.solve()
    after = full.points.of(full.image_id)
    assert after.ids.tolist() == np.delete(marked.ids, [20, 21]).tolist()
    assert (after.class_ids[:7] == NORMAL).all() and full.cells.is_verified(after.ids[:7]).all()
    assert (full.cells.origin_of(after.ids) == Origin.POINT).all()
    assert_solved(full)
    full.session.undo(full.image_id)
    assert_same(full.cells, before)


def test_a_solve_of_what_is_solved_changes_nothing_also_tomorrow(full: Bench) -> None:
    project = full.session.project
    assert project is not None
    before, edits = state_of(full.cells), project.edit_count(full.image_id)
    full.session.close_project()
    full.session.open_project(project.path)
    full.solve()
    assert_same(full.cells, before)
    assert full.session.project.edit_count(full.image_id) == edits


def test_progress_is_told_and_a_cancelled_run_leaves_everything(full: Bench) -> None:
    before = state_of(full.cells)
    full.points.mode = "contour"
    full.points.solve(full.image_id)
    assert full.session.is_running("points")
    full.session.cancel("points")
    wait(full.session)
    assert not full.session.is_running("points") and full.statuses[-1].state == "cancelled"
    assert_same(full.cells, before)
    full.solve()
    states = [status.state for status in full.statuses if status.kind == "points"]
    assert "running" in states and states[-1] == "done"
    assert (full.cells.instances != before[0]).any()


def test_cells_changed_meanwhile_are_not_overwritten(full: Bench) -> None:
    full.points.mode = "contour"
    full.points.solve(full.image_id)
    full.session.cells.delete(full.image_id, [full.cells.ids[3]])
    before = state_of(full.cells)
    wait(full.session)
    assert_same(full.cells, before)
    assert full.statuses[-1].state == "failed" and "start again" in full.errors[-1]


def test_bad_places_are_refused_in_a_sentence_and_change_nothing(full: Bench) -> None:
    before = state_of(full.cells)
    marked = full.points.of(full.image_id)
    for act, words in (
        (lambda: full.points.add(full.image_id, -5, 10, TUMOUR), "outside"),
        (lambda: full.points.add(full.image_id, float("nan"), 10, TUMOUR), "outside"),
        (lambda: full.points.add(full.image_id, 10, 1e12, TUMOUR), "outside"),
        (lambda: full.points.add(full.image_id, marked.y[0] + 0.1, marked.x[0], TUMOUR), "already"),
        (lambda: full.points.add(full.image_id, 1, 1, 0), "Background"),
        (lambda: full.points.add(full.image_id, 1, 1, 77), "77"),
        (lambda: full.points.move(full.image_id, 9999, 1, 1), "9999"),
        (lambda: full.points.remove(full.image_id, [9999]), "9999"),
    ):
        with pytest.raises(InputError, match=words):
            act()
    assert full.points.remove(full.image_id, []) is None
    assert_same(full.cells, before)


def test_without_a_resolution_nothing_grows(session: Session, tmp_path: Path) -> None:
    image = nuclei()
    bench = Bench(session, tmp_path, image_from_array(image.read(0, Box.of_shape(SHAPE)), name="nuclei"))
    with pytest.raises(InputError, match="µm per pixel"):
        bench.points.add(bench.image_id, 10, 10, TUMOUR)
    with pytest.raises(InputError, match="µm per pixel"):
        bench.points.solve(bench.image_id)


def test_another_resolution_grows_other_cells(full: Bench) -> None:
    before = full.cells.instances.copy()
    full.session.set_mpp(full.image_id, 0.4)
    full.solve()
    assert (full.cells.instances != before).any()
    assert_solved(full)


def test_points_go_out_and_come_back(full: Bench, session: Session, tmp_path: Path) -> None:
    full.session.cells.set_class(full.image_id, full.cells.ids[:40], NORMAL)
    full.session.cells.set_class(full.image_id, full.cells.ids[40:44], IGNORE)
    marked, instances = full.points.of(full.image_id), full.cells.instances.copy()
    full.points.export_csv(full.image_id, tmp_path / "out.csv")
    full.points.remove(full.image_id, marked.ids)
    assert len(full.cells) == 0
    assert full.points.import_csv(full.image_id, tmp_path / "out.csv") == ()
    wait(session)
    again = full.points.of(full.image_id)
    for name in ("y", "x", "class_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(marked, name))
    np.testing.assert_array_equal(full.cells.instances > 0, instances > 0)


def test_lines_that_are_no_good_are_told_and_the_rest_is_taken(bench: Bench, tmp_path: Path) -> None:
    box = Box(100, 100, 130, 130)
    bench.session.cells.draw(bench.image_id, box, np.ones(box.shape, bool), NORMAL)
    lines = ["10,10,malignant", "10.2,10.2,malignant", "30,30,martian", "50,50,unknown", "-4,3,malignant"]
    lines += ["90,20,background", "115,115,malignant", "400,3,malignant", "70,70,lymphocyte"]
    notes = bench.points.import_csv(bench.image_id, bench.write(tmp_path / "bad.csv", lines))
    wait(bench.session)
    assert len(notes) == 5
    for note, words in zip(notes, ("martian", "background", "outside", "shaped", "another point"), strict=True):
        assert words in note and note.endswith(".")
    assert "2 points" in notes[2] and "1 point." in notes[0]
    marked = bench.points.of(bench.image_id)
    assert sorted(marked.x.tolist()) == [10, 30, 50, 70]
    assert marked.class_ids[marked.x == 30] == IGNORE and marked.class_ids[marked.x == 50] == IGNORE
    count = len(bench.cells)
    notes = bench.points.import_csv(bench.image_id, bench.write(tmp_path / "bad.csv", ["10,10,malignant"]))
    assert "another point" in notes[0] and not bench.session.is_running("points") and len(bench.cells) == count
    with pytest.raises(InputError, match="Line 2"):
        bench.points.import_csv(bench.image_id, bench.write(tmp_path / "bad.csv", ["ten,10,malignant"]))


def test_more_points_than_fit_are_each_a_cell_or_told(bench: Bench, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{x:.2f},{y:.2f},malignant" for y, x in rng.uniform(0, 299, (20_000, 2))]
    notes = bench.points.import_csv(bench.image_id, bench.write(tmp_path / "many.csv", lines))
    wait(bench.session)
    left_out = int(notes[0].split(": ")[1].split()[0])
    assert len(bench.points.of(bench.image_id)) + left_out == 20_000
    assert len(bench.cells) == len(bench.points.of(bench.image_id))


def test_cells_become_labels_and_unmarked_nuclei_by_the_setting(full: Bench) -> None:
    marked = full.points.of(full.image_id)
    y, x = full.cells.centroids([marked.ids[0]])[0].round().astype(int)
    full.points.remove(
        full.image_id, [k for k in marked.ids if np.hypot(*(full.cells.centroids([k])[0] - (y, x))) < 30]
    )
    full.session.cells.set_class(full.image_id, full.points.of(full.image_id).ids[:1], IGNORE)
    cells, classes = full.cells.instances.copy(), full.cells.class_lookup.copy()
    full.points.to_labels(full.image_id)
    wait(full.session)
    labels = full.session.displayed(full.image_id)
    np.testing.assert_array_equal(labels[cells > 0], classes[cells[cells > 0]])
    assert labels[y, x] == IGNORE and 0.5 < (labels[cells == 0] == 0).mean() < 1
    full.points.unlabelled = "background"
    full.points.to_labels(full.image_id)
    wait(full.session)
    assert (full.session.displayed(full.image_id)[cells == 0] == 0).all()
    full.session.undo(full.image_id)
    np.testing.assert_array_equal(full.session.displayed(full.image_id), labels)


def test_without_cells_no_labels_are_replaced(bench: Bench) -> None:
    with pytest.raises(InputError, match="no cells"):
        bench.points.to_labels(bench.image_id)


def test_a_project_for_reading_only_starts_nothing(full: Bench) -> None:
    project = full.session.project
    assert project is not None
    full.session.close_project()
    full.session.open_project(project.path, read_only=True)
    assert len(full.points.of(full.image_id)) == len(PLACES)
    with pytest.raises(ProjectError, match="reading only"):
        full.points.solve(full.image_id)
    with pytest.raises(ProjectError, match="reading only"):
        full.points.add(full.image_id, 2, 2, TUMOUR)


def test_settings_are_remembered_with_the_project(bench: Bench) -> None:
    assert (bench.points.mode, bench.points.unlabelled) == ("marker", "ignore")
    bench.points.mode, bench.points.unlabelled = "contour", "background"
    path = bench.session.project.path
    bench.session.close_project()
    bench.session.open_project(path)
    assert (bench.points.mode, bench.points.unlabelled) == ("contour", "background")


def test_a_full_disk_is_told_and_doubtful_cells_are_shown_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_project: Project, _key: str, _value: object) -> None:
        raise ProjectError("The disk is full.")

    monkeypatch.setattr(Project, "set_setting", full_disk)
    bench.points.refresh_doubts(bench.image_id)
    wait(bench.session)
    assert bench.points.doubts(bench.image_id)
    assert bench.errors == ["The disk is full."]


def test_doubtful_cells_are_found_and_forgotten_with_the_project(full: Bench) -> None:
    heard: list[str] = []
    full.points.doubts_changed.connect(heard.append)
    marked = full.points.of(full.image_id)
    lonely = int(marked.ids[0])
    y, x = PLACES[0]
    full.points.remove(full.image_id, [lonely])
    full.points.refresh_doubts(full.image_id)
    wait(full.session)
    assert heard == [full.image_id]
    found = full.points.doubts(full.image_id)
    assert found and all(0 <= d.weight <= 1 and d.sentence.endswith(".") for d in found)
    assert [d.weight for d in found] == sorted((d.weight for d in found), reverse=True)
    assert any(d.cell_id == 0 and np.hypot(d.y - y, d.x - x) < 8 for d in found)
    doubted = next(d.cell_id for d in found if d.cell_id)
    full.session.cells.delete(full.image_id, [doubted])
    assert all(d.cell_id != doubted for d in full.points.doubts(full.image_id))
    assert any(d.cell_id == 0 and np.hypot(d.y - y, d.x - x) < 8 for d in full.points.doubts(full.image_id))
    full.points.add(full.image_id, y, x, TUMOUR)
    left = full.points.doubts(full.image_id)
    assert left and all(d.cell_id or np.hypot(d.y - y, d.x - x) >= 8 for d in left)
    vouched = [d.cell_id for d in left if d.cell_id]
    full.session.cells.verify(full.image_id, vouched)
    assert vouched and not any(d.cell_id for d in full.points.doubts(full.image_id))
    path = full.session.project.path
    full.session.close_project()
    full.session.open_project(path)
    assert full.points.doubts(full.image_id) == ()
