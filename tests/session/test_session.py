"""The main job without a window: open, segment, correct, retrain, come back."""

from __future__ import annotations

import shlex
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tissue import image, tissue

from napari_histoseg.cli import main
from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS5, EPITHELIUM
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.io.labels import read_labels
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.gate import Verdict
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.models.weights import resolve
from napari_histoseg.session import JobStatus, Session

Ready = tuple[Session, str]
PLAN = FineTunePlan(steps=2, tile_px=32, batch_size=1)


def wait(session: Session) -> None:
    assert session._lane.wait(60), "the lane did not become idle"


def statuses(session: Session) -> list[JobStatus]:
    seen: list[JobStatus] = []
    session.job_changed.connect(seen.append)
    return seen


def messages(session: Session) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    session.message.connect(lambda level, text: seen.append((level, text)))
    return seen


def paint(session: Session, image_id: str, box: Box, class_id: int) -> Any:
    return session.record(image_id, "paint", box, np.full(box.shape, class_id, np.uint8))


# segmenting


def test_what_is_on_screen_comes_first_and_the_result_is_that_of_the_command(ready: Ready) -> None:
    session, image_id = ready
    boxes: list[Box] = []
    session.labels_changed.connect(lambda _id, box: boxes.append(box))
    seen = statuses(session)
    visible = Box(10, 20, 70, 90)
    session.segment(image_id, visible)
    assert session.is_running("predict")
    wait(session)
    assert boxes[0] == visible
    assert [seen[0].state, seen[-1].state] == ["queued", "done"]
    assert not session.is_running("predict")
    model = session.active
    assert model is not None
    whole = run_job(predict(PredictRequest(session.image_ref(image_id), "unet", model.weights, device="cpu")))
    assert whole.labels is not None and len(np.unique(whole.labels)) > 1
    np.testing.assert_array_equal(session.displayed(image_id), whole.labels)
    assert sum(session.shares(image_id).values()) == pytest.approx(1)


def test_command_gives_the_same_labels(ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, image_id = ready
    session.segment(image_id)
    wait(session)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(session.command("predict"))
    assert words[0] == "napari-histoseg"
    assert main([*words[1:], "--device", "cpu"]) == 0
    np.testing.assert_array_equal(read_labels(tmp_path / "a-labels" / "tissue 1.tif"), session.displayed(image_id))


def test_no_model_ever_overwrites_an_edit(ready: Ready) -> None:
    session, image_id = ready
    box = Box(0, 0, 50, 50)
    assert paint(session, image_id, box, 1) is not None
    session.segment(image_id)
    wait(session)
    assert (session.displayed(image_id, box) == 1).all()
    session.undo(image_id)
    assert session.state(image_id).max() == 0
    assert session.displayed(image_id, box).max() < IGNORE, "the model's present answer shows where the edit was"


def test_unknown_resolution_is_asked_for_and_remembered(ready: Ready, tmp_path: Path) -> None:
    session, _ = ready
    image_id = session.add_image(image(seed=2, mpp=None)).id
    with pytest.raises(InputError, match="µm per pixel of 'tissue 2' is not known; set it"):
        session.segment(image_id)
    assert session.estimate(image_id) is None
    session.set_mpp(image_id, 1.0)
    session.close_project()
    session.open_project(tmp_path / "a.histoseg")
    assert session.image_ref(image_id).mpp == 1.0
    session.segment(image_id)
    wait(session)
    assert session.displayed(image_id).max() < IGNORE


def test_the_time_left_is_known_once_the_model_was_timed(ready: Ready) -> None:
    session, image_id = ready
    seen: list[bool] = []
    session.estimated.connect(lambda: seen.append(True))
    assert session.estimate(image_id) is None
    assert session.estimate(image_id) is None, "a second question starts no second measurement"
    wait(session)
    assert seen == [True]
    cost = session.estimate(image_id)
    assert cost is not None and 0 < cost.seconds < 30
    assert 1e6 < cost.memory_bytes < 1e9


def test_cancel_keeps_what_is_done(session: Session, tiny_weights: Path, tmp_path: Path) -> None:
    session.create_project(tmp_path / "a.histoseg")
    session.choose_model("unet", str(tiny_weights))
    image_id = session.add_image(image(3072)).id
    seen = statuses(session)
    session.segment(image_id, Box(0, 0, 64, 64))
    while session.displayed(image_id, Box(0, 0, 1, 1))[0, 0] == IGNORE:
        session._lane.wait(0.01)
    began = time.monotonic()
    session.cancel("predict")
    assert not session.is_running("predict")
    wait(session)
    assert time.monotonic() - began < 2
    assert seen[-1].state == "cancelled"
    shown = session.displayed(image_id)
    assert shown[0, 0] != IGNORE and shown[-1, -1] == IGNORE
    assert session.project is not None and session.project.runs(image_id)[-1].state == "cancelled"


def test_starting_again_drops_the_replies_of_the_first_run(ready: Ready) -> None:
    session, image_id = ready
    other = session.add_image(image(seed=2)).id
    session.segment(image_id)
    session.segment(other)
    wait(session)
    assert (session.displayed(image_id) == IGNORE).all()
    assert session.displayed(other).max() < IGNORE


def test_choosing_another_model_stops_the_run(ready: Ready) -> None:
    session, image_id = ready
    session.segment(image_id)
    session.choose_model("unet", "random")
    wait(session)
    assert (session.displayed(image_id) == IGNORE).all()


def test_a_failing_image_becomes_a_sentence(ready: Ready) -> None:
    session, _ = ready

    class Torn:
        def __init__(self, whole: ImageRef) -> None:
            self.whole, self.reads = whole, 0

        def read(self, level: int, box: Box) -> np.ndarray:
            self.reads += 1
            if self.reads > 4:
                raise InputError("'torn.tif' cannot be read; copy it again.")
            return self.whole.read(level, box)

    whole = image(seed=5)
    torn = ImageRef("torn" * 8, "torn.tif", whole.levels, 1.0, Torn(whole), path="torn.tif")
    image_id = session.add_image(torn).id
    torn.source.reads = 9  # type: ignore[attr-defined]
    seen, told = statuses(session), messages(session)
    session.segment(image_id)
    wait(session)
    assert seen[-1].state == "failed"
    assert told == [("error", "'torn.tif' cannot be read; copy it again.")]


def test_a_disk_that_fills_up_during_a_run_ends_it_with_a_sentence(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, image_id = ready
    seen, told = statuses(session), messages(session)
    session.segment(image_id)

    def full(*_args: object, **_options: object) -> None:
        raise ProjectError("The disk is full; free some space.")

    monkeypatch.setattr(session.project, "propose", full)
    wait(session)
    assert seen[-1].state == "failed" and ("error", "The disk is full; free some space.") in told
    assert not session.is_running("predict")


# classes


def test_weights_of_other_classes_are_refused_in_a_project_somebody_made(ready: Ready) -> None:
    session, _ = ready
    before = session.active
    with pytest.raises(InputError, match="no class has a name in common"):
        session.choose_model("unet", str(foreign_weights(session)))
    assert session.active == before


def test_an_automatic_project_takes_the_classes_of_the_model(session: Session) -> None:
    image_id = session.add_image(image()).id
    session.choose_model("unet", str(foreign_weights(session)))
    assert session.project is not None
    assert session.project.schema.classes == BCSS5.classes
    assert [entry.id for entry in session.project.images] == [image_id]
    session.segment(image_id)
    wait(session)
    assert set(np.unique(session.displayed(image_id))) <= set(BCSS5.ids)


def test_an_automatic_project_with_edits_keeps_its_classes(session: Session) -> None:
    image_id = session.add_image(image()).id
    paint(session, image_id, Box(0, 0, 9, 9), 2)
    with pytest.raises(InputError, match="no class has a name in common"):
        session.choose_model("unet", str(foreign_weights(session)))
    assert session.project is not None and session.project.edit_count(image_id) == 1


def foreign_weights(session: Session) -> Path:
    """Tiny weights with the classes of BCSS."""
    from napari_histoseg.models.weights import Weights, WeightsCard, build_network, save_weights

    card = WeightsCard("foreign", "unet", BCSS5.classes, 2.0, variant={"width": 4})
    path = session.default_project_path().parent / "foreign.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, build_network(Weights("foreign", "unet", None, card)).state_dict(), card)
    return path


# retraining


def test_retrain_promotes_segments_again_and_comes_back(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_histoseg.learning.finetune.judge", lambda *_a, **_k: Verdict(True, "Better."))
    session, image_id = ready
    session.segment(image_id)
    wait(session)
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    losses: list[tuple[int, float]] = []
    session.loss_added.connect(lambda step, loss: losses.append((step, loss)))
    seen, told = statuses(session), messages(session)
    session.retrain(PLAN)
    with pytest.raises(InputError, match="is running"):
        session.retrain(PLAN)
    wait(session)
    assert [step for step, _ in losses] == [1, 2]
    (revision,) = session.revisions()
    assert (revision.verdict, revision.parent) == ("promoted", "tiny")
    assert session.active is not None and session.active.revision_id == revision.id
    assert ("info", "Better.") in told
    again = [s for s in seen if s.kind == "predict"]
    assert again and again[-1].state == "done", "the image was segmented anew"
    shown, state = session.displayed(image_id), session.state(image_id)
    assert (shown[state > 0] == 1).all() and np.count_nonzero(state) > 1000
    assert session.command("finetune").endswith(f"--model unet --from {revision.id}")

    session.close_project()
    session.open_project(tmp_path / "a.histoseg")
    assert session.active is not None and session.active.revision_id == revision.id
    np.testing.assert_array_equal(session.displayed(image_id), shown)
    np.testing.assert_array_equal(session.state(image_id), state)

    session.rollback()
    wait(session)
    assert session.active.revision_id is None and session.active.weights.name == "tiny"
    with pytest.raises(InputError, match="nothing to roll back"):
        session.rollback()
    session.choose_model("unet", revision.id)
    assert session.active.revision_id == revision.id


def test_a_worse_candidate_is_kept_but_not_activated(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_histoseg.learning.finetune.judge", lambda *_a, **_k: Verdict(False, "Worse."))
    session, image_id = ready
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    told = messages(session)
    session.retrain(PLAN)
    wait(session)
    assert [r.verdict for r in session.revisions()] == ["refused"]
    assert session.active is not None and session.active.revision_id is None
    assert told == [("warning", "Worse.")]


def test_cancelled_retrain_leaves_no_revision(ready: Ready) -> None:
    session, image_id = ready
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    seen = statuses(session)
    session.retrain(FineTunePlan(steps=5000, tile_px=32, batch_size=1))
    while not any(s.state == "running" and s.done > 1 for s in seen):
        session._lane.wait(0.01)
    began = time.monotonic()
    session.cancel("finetune")
    wait(session)
    assert time.monotonic() - began < 2
    assert seen[-1].state == "cancelled" and session.revisions() == ()
    assert session.project is not None
    assert not list((session.project.path / "revisions").glob("*"))


def test_another_revision_activated_meanwhile_stays(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_histoseg.learning.finetune.judge", lambda *_a, **_k: Verdict(True, "Better."))
    session, image_id = ready
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    session.retrain(PLAN)
    wait(session)
    first = session.revisions()[0].id
    session.rollback()
    session.retrain(PLAN)
    session.activate(first)
    told = messages(session)
    wait(session)
    assert session.active is not None and session.active.revision_id == first
    assert len(session.revisions()) == 2 and any("activated meanwhile" in text for _, text in told)


def test_a_reference_folder_judges(ready: Ready, tmp_path: Path) -> None:
    from napari_histoseg.io.labels import write_labels

    session, image_id = ready
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    folder = tmp_path / "reference"
    folder.mkdir()
    with pytest.raises(InputError, match="holds no labelled images"):
        session.retrain(PLAN, folder)
    tifffile.imwrite(folder / "a.tif", tissue(seed=4), resolution=(10_000, 10_000), resolutionunit="CENTIMETER")
    labels = np.full((192, 192), 2, np.uint8)
    write_labels(folder / "a_labels.png", labels, file_format="png", schema=EPITHELIUM, mpp=None)
    session.retrain(PLAN, folder)
    wait(session)
    assert session.revisions()[0].metrics["folder"]["n"] == 1


def test_nothing_to_learn_from(ready: Ready) -> None:
    session, _ = ready
    with pytest.raises(InputError, match="no corrections to learn from"):
        session.retrain()
    assert not session.is_running("finetune")


# projects


def test_an_image_without_a_project_gets_one_and_finds_it_again(session: Session, user_folder: Path) -> None:
    entry = session.add_image(image())
    assert session.project is not None
    made = session.project.path
    assert made.is_relative_to(user_folder)
    paint(session, entry.id, Box(3, 3, 20, 20), 2)
    session.close_project()
    assert session.recent_projects() == (made,)
    told = messages(session)
    again = session.add_image(image())
    assert session.project is not None and session.project.path == made
    assert again.id == entry.id and session.counts(again.id)[2] == 17 * 17
    assert told[0][0] == "info" and "opened again" in told[0][1]


def test_a_locked_earlier_project_is_left_alone(session: Session) -> None:
    session.add_image(image())
    second = Session()
    told = messages(second)
    second.add_image(image())
    assert second.project is not None and session.project is not None
    assert second.project.path != session.project.path
    assert told[0][0] == "warning"
    second.close()


def test_undo_redo_accept_tell_what_changed(ready: Ready) -> None:
    session, image_id = ready
    edits: list[str] = []
    changed: list[Box] = []
    session.edited.connect(lambda edit: edits.append(edit.kind))
    session.labels_changed.connect(lambda _id, box: changed.append(box))
    box = Box(0, 0, 8, 8)
    paint(session, image_id, box, 2)
    assert changed == [], "the layer shows a stroke already"
    session.undo(image_id)
    session.redo(image_id)
    assert session.undo(image_id) is not None and session.undo(image_id) is None
    assert edits == ["edit", "undo", "redo", "undo"] and changed == [box] * 3
    session.segment(image_id)
    wait(session)
    assert session.accept(image_id, Box(0, 0, 50, 50)) is not None
    assert session.state(image_id, Box(0, 0, 50, 50)).min() == 2
    session.import_labels(image_id, np.ones((192, 192), np.uint8), verified=True)
    assert changed[-1] == Box(0, 0, 192, 192)


def test_damaged_revision_gives_way_to_another_model(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_histoseg.learning.finetune.judge", lambda *_a, **_k: Verdict(True, "Better."))
    session, image_id = ready
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    session.retrain(PLAN)
    wait(session)
    folder = session.revisions()[0].folder
    session.close_project()
    (folder / "weights.json").write_text("{")
    told = messages(session)
    session.open_project(tmp_path / "a.histoseg")
    assert session.project is not None and len(session.project.images) == 1
    assert [level for level, _ in told] == ["warning"]


def test_read_only_project_can_be_looked_at_only(ready: Ready, tmp_path: Path) -> None:
    session, image_id = ready
    paint(session, image_id, Box(0, 0, 96, 96), 1)
    other = Session()
    other.open_project(tmp_path / "a.histoseg", read_only=True)
    assert other.counts(image_id)[1] == 96 * 96
    for act in (lambda: other.segment(image_id), lambda: other.retrain(PLAN), lambda: other.undo(image_id)):
        with pytest.raises(ProjectError, match="read"):
            act()
    other.close()


def test_opening_the_open_project_again_changes_nothing(ready: Ready, tmp_path: Path) -> None:
    session, _ = ready
    project = session.project
    assert session.open_project(tmp_path / "a.histoseg") is project


def test_without_a_project_everything_says_so(session: Session) -> None:
    for act in (lambda: session.undo("x"), lambda: session.image_ref("x"), lambda: session.segment("x")):
        with pytest.raises(ProjectError, match="No project is open"):
            act()
    assert session.revisions() == () and session.get_setting("view", 3) == 3
    session.set_setting("view", 4)


def test_a_moved_image_file_is_named(ready: Ready, tmp_path: Path) -> None:
    from PIL import Image

    from napari_histoseg.io.images import open_image

    session, _ = ready
    path = tmp_path / "slide.png"
    Image.fromarray(tissue(seed=9)).save(path)
    image_id = session.add_image(open_image(path, mpp=1.0)).id
    session.close_project()
    path.unlink()
    session.open_project(tmp_path / "a.histoseg")
    with pytest.raises(ProjectError, match=r"slide\.png"):
        session.segment(image_id)


def test_close_leaves_no_thread(tiny_weights: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    session = Session()
    session.create_project(tmp_path / "a.histoseg")
    session.choose_model("unet", str(tiny_weights))
    session.segment(session.add_image(image(1024)).id)
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 2.5
    assert set(threading.enumerate()) <= before


def test_models_are_listed_with_their_weights(session: Session, tiny_weights: Path) -> None:
    infos = {info.id: info for info in session.models()}
    assert {"unet", "spade_segresnet"} <= set(infos)
    total, trainable = infos["unet"].parameters()
    assert total == trainable == 31_032_005
    assert resolve("unet", tiny_weights).name == "tiny"


def test_a_second_window_looks_but_does_not_touch(ready: tuple[Session, str]) -> None:
    first, image_id = ready
    assert first.project is not None
    first.record(image_id, "paint", Box(0, 0, 4, 4), np.full((4, 4), 2, np.uint8))
    second, heard = Session(device="cpu"), []
    second.message.connect(lambda level, text: heard.append((level, text)))
    try:
        project = second.open_or_view_project(first.project.path)
        assert project.read_only
        assert (second.displayed(image_id, Box(0, 0, 4, 4)) == 2).all()
        assert heard[0][0] == "warning" and "another window" in heard[0][1]
        with pytest.raises(ProjectError, match="reading only"):
            second.record(image_id, "paint", Box(0, 0, 4, 4), np.full((4, 4), 1, np.uint8))
        second.save()
    finally:
        second.close()
    assert (first.displayed(image_id, Box(0, 0, 4, 4)) == 2).all()
