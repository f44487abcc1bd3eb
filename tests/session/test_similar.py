"""Relabelling by similarity: measured once, found, applied as one step, and only what changed is measured again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_pictures import disks
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schemas import CELLULARITY
from napari_histoseg.inference.cell_features import FEATURES, FeatureRequest, measure_cells
from napari_histoseg.jobs.job import Job
from napari_histoseg.session import JobStatus, Session, similar

INSTANCES = disks((240, 360), step=24, radius=8.0)
IDS = np.setdiff1d(np.unique(INSTANCES), [0])
DARK = IDS[IDS % 3 == 0]
FIRST, SECOND = (c.id for c in CELLULARITY.classes[1:3])


def picture(mpp: float | None = 0.25) -> ImageRef:
    """Pale cells on pink, every third one dark."""
    rng = np.random.default_rng(0)
    pixels = np.full((*INSTANCES.shape, 3), (235, 200, 225), np.int64)
    pixels[INSTANCES > 0] = (150, 120, 190)
    pixels[np.isin(INSTANCES, DARK)] = (80, 50, 120)
    noisy = np.clip(pixels + rng.integers(-12, 12, pixels.shape), 0, 255).astype(np.uint8)
    return image_from_array(noisy, name="cells", mpp=mpp)


def wait(session: Session) -> None:
    assert session._lane.wait(60), "the lane did not become idle"


@pytest.fixture
def ready(session: Session, tmp_path: Path) -> tuple[Session, str]:
    """A project with a picture of 150 cells that a model found, all of the first class."""
    session.create_project(tmp_path / "a.histoseg", CELLULARITY.id)
    image_id = session.add_image(picture()).id
    classes = dict.fromkeys(IDS.tolist(), FIRST)
    session.need_project().replace_cells(image_id, INSTANCES, classes, tool="model", origin=Origin.MODEL)
    return session, image_id


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.int64]]:
    """The cells of every request to measure some."""
    requests: list[NDArray[np.int64]] = []

    def spy(request: FeatureRequest) -> Job[NDArray[np.float32]]:
        requests.append(request.ids)
        return measure_cells(request)

    monkeypatch.setattr(similar, "measure_cells", spy)
    return requests


def test_similar_cells_are_found_and_get_the_class_as_one_step(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    heard: list[str] = []
    states: list[JobStatus] = []
    session.similar.found.connect(heard.append)
    session.job_changed.connect(states.append)
    chosen = DARK[[3, 11]]
    session.similar.find(image_id, chosen)
    assert session.is_running("features") and not session.similar.ranked(image_id)[0].size
    wait(session)
    assert heard == [image_id] and not session.is_running("features")
    assert {s.kind for s in states} == {"features"} and states[-1].state == "done"

    ids, similarities = session.similar.ranked(image_id)
    assert len(ids) == len(IDS) - 2 and not np.isin(chosen, ids).any()
    assert (np.diff(similarities) <= 0).all()
    assert set(ids[: len(DARK) - 2].tolist()) == set(DARK.tolist()) - set(chosen.tolist())

    cells = session.cells.of(image_id)
    edit = session.similar.apply(image_id, len(DARK) - 2, SECOND)
    assert edit is not None and cells.counts() == {FIRST: len(IDS) - len(DARK), SECOND: len(DARK)}
    assert cells.is_verified(DARK).all()
    session.undo(image_id)
    assert cells.counts() == {FIRST: len(IDS)} and not cells.is_verified(DARK).any()


def test_cells_that_a_person_vouched_for_are_left_out(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    session.cells.verify(image_id, [*DARK[:5], IDS[0]])
    session.similar.find(image_id, [DARK[0]])
    wait(session)
    ids, _ = session.similar.ranked(image_id)
    assert not np.isin(DARK[:5], ids).any() and len(ids) == len(IDS) - 6
    assert session.similar.left_out(image_id) == 5
    session.cells.verify(image_id, ids[:10])
    assert len(session.similar.ranked(image_id)[0]) == len(ids) - 10


def test_only_what_changed_is_measured_again(ready: tuple[Session, str], asked: list[NDArray[np.int64]]) -> None:
    session, image_id = ready
    work = session.similar
    heard: list[str] = []
    work.measured.connect(heard.append)
    assert np.isnan(work.features(image_id)["area"]).all()
    work.measure(image_id)
    work.measure(image_id)
    wait(session)
    assert [ids.tolist() for ids in asked] == [IDS.tolist()] and heard == [image_id]
    before = work.features(image_id)
    assert set(before) == set(FEATURES) and before["haematoxylin"].shape == (len(IDS),)

    session.cells.set_class(image_id, IDS[:3], SECOND)
    work.measure(image_id)
    assert len(asked) == 1 and heard == [image_id] * 2

    y, x = session.cells.of(image_id).centroids([IDS[20]])[0]
    session.cells.split(image_id, [(y - 12, x), (y + 12, x)])
    assert np.isnan(work.features(image_id)["area"]).sum() == 2
    work.measure(image_id)
    wait(session)
    new = session.cells.of(image_id).ids[-1]
    assert asked[-1].tolist() == [IDS[20], new]
    after = work.features(image_id)["area"]
    assert after[20] < 0.7 * before["area"][20] and len(after) == len(IDS) + 1
    session.undo(image_id)
    work.measure(image_id)
    wait(session)
    assert asked[-1].tolist() == [IDS[20]]
    np.testing.assert_allclose(work.features(image_id)["grain"], before["grain"], rtol=1e-4)


def test_what_changes_while_it_is_measured_is_not_taken_for_known(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    session.similar.measure(image_id)
    session.cells.grow(image_id, [IDS[7]], 0.5)
    wait(session)
    assert np.flatnonzero(np.isnan(session.similar.features(image_id)["area"])).tolist() == [7]


def test_another_resolution_makes_what_was_measured_unknown(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    session.similar.measure(image_id)
    wait(session)
    area = session.similar.features(image_id)["area"]
    session.set_mpp(image_id, 0.5)
    assert np.isnan(session.similar.features(image_id)["area"]).all()
    session.similar.measure(image_id)
    session.set_mpp(image_id, 0.4)
    wait(session)
    assert np.isnan(session.similar.features(image_id)["area"]).all(), "measured for the resolution before"
    session.set_mpp(image_id, 0.5)
    session.similar.measure(image_id)
    wait(session)
    np.testing.assert_allclose(session.similar.features(image_id)["area"], 4 * area, rtol=1e-6)


def test_it_can_be_stopped_and_starts_anew(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    heard: list[str] = []
    session.similar.found.connect(heard.append)
    session.similar.find(image_id, [DARK[0]])
    session.cancel("features")
    wait(session)
    assert not heard and np.isnan(session.similar.features(image_id)["area"]).all()
    session.similar.find(image_id, [DARK[0]])
    wait(session)
    assert heard == [image_id]


def test_wrong_questions_are_answered_in_a_sentence(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    for ids, words in (([], "choose 1 to 5"), (IDS[:6], "choose 1 to 5"), ([99999], "There is no cell 99999")):
        with pytest.raises(InputError, match=words):
            session.similar.find(image_id, ids)
    with pytest.raises(InputError, match="No cells are chosen"):
        session.similar.apply(image_id, 5, SECOND)
    blank = session.add_image(image_from_array(np.zeros((64, 64, 3), np.uint8), name="blank"))
    session.cells.draw(blank.id, Box(0, 0, 9, 9), np.ones((9, 9), bool), FIRST)
    with pytest.raises(InputError, match="µm per pixel"):
        session.similar.measure(blank.id)


def test_nothing_is_kept_of_a_closed_project(ready: tuple[Session, str], tmp_path: Path) -> None:
    session, image_id = ready
    session.similar.find(image_id, [DARK[0]])
    wait(session)
    session.create_project(tmp_path / "b.histoseg", CELLULARITY.id)
    assert session.add_image(picture()).id == image_id
    moved = np.roll(INSTANCES, 5, axis=1)
    session.need_project().replace_cells(image_id, moved, {}, tool="model", origin=Origin.MODEL)
    assert not session.similar.ranked(image_id)[0].size
    assert np.isnan(session.similar.features(image_id)["area"]).all()


def test_chosen_cells_may_vanish(ready: tuple[Session, str]) -> None:
    session, image_id = ready
    session.similar.find(image_id, DARK[:2])
    session.cells.delete(image_id, DARK[:1])
    wait(session)
    assert session.similar.chosen(image_id).tolist() == [DARK[1]]
    assert len(session.similar.ranked(image_id)[0]) == len(IDS) - 2
    session.cells.delete(image_id, session.similar.ranked(image_id)[0][:4])
    assert len(session.similar.ranked(image_id)[0]) == len(IDS) - 6
