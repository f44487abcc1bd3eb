"""Single cells beside the classes: found in any project, never in the way of its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.revision import Revision
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.instances import instances_from_probabilities
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.models.weights import resolve
from napari_histoseg.session import JobStatus, Session
from napari_histoseg.session.choosing import base_model

WATERSHED = "haematoxylin_watershed"
MIDDLES = [(40, 40), (40, 120), (120, 60), (150, 150), (90, 170)]


def nuclei() -> ImageRef:
    """Five violet disks of 4 µm radius on pale pink, at 0.5 µm per pixel."""
    pixels = np.full((192, 192, 3), (240, 215, 230), np.uint8)
    for middle in MIDDLES:
        pixels[disk(middle, 8)] = (70, 40, 120)
    return image_from_array(pixels, name="nuclei", mpp=0.5)


def wait(session: Session) -> None:
    assert session._lane.wait(60), "the lane did not become idle"


def test_cells_are_found_on_the_first_day_and_their_classes_drawn(session: Session) -> None:
    heard: list[tuple[str, Box]] = []
    session.cells.changed.connect(lambda image_id, box: heard.append((image_id, box)))
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    assert len(session.cells.of(image_id)) == 0
    session.segment(image_id)
    wait(session)
    cells = session.cells.of(image_id)
    assert heard == [(image_id, cells.box_around(cells.ids))]
    assert len(cells) == len(MIDDLES) == len(np.unique(cells.instances)) - 1
    assert len({int(cells.instances[middle]) for middle in MIDDLES} - {0}) == len(MIDDLES)
    labels = session.displayed(image_id)
    nucleus = session.project.schema.by_name("nucleus").id
    assert all(labels[middle] == nucleus for middle in MIDDLES)
    assert cells.counts() == {nucleus: len(MIDDLES)}
    assert session.draws_classes


def test_cells_are_those_of_the_command(session: Session) -> None:
    session.choose_model(WATERSHED)
    image = nuclei()
    image_id = session.add_image(image).id
    session.segment(image_id)
    wait(session)
    request = PredictRequest(image, WATERSHED, resolve(WATERSHED), device="cpu", keep_probabilities=True)
    alone = instances_from_probabilities(run_job(predict(request)).probabilities, 0.5)
    np.testing.assert_array_equal(session.cells.of(image_id).instances, alone)


def test_in_a_project_of_regions_the_labels_stay(session: Session, tiny_weights: Path, tmp_path: Path) -> None:
    session.create_project(tmp_path / "regions.histoseg")
    session.choose_model("unet", str(tiny_weights))
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    before = session.displayed(image_id)
    session.choose_model(WATERSHED)
    assert not session.draws_classes
    session.segment(image_id)
    wait(session)
    np.testing.assert_array_equal(session.displayed(image_id), before)
    assert session.cells.of(image_id).counts() == {IGNORE: len(MIDDLES)}
    assert session.project.path == tmp_path / "regions.histoseg"


def test_an_automatic_project_with_labels_is_not_given_up_for_cells(session: Session, tiny_weights: Path) -> None:
    image_id = session.add_image(nuclei()).id
    session.choose_model("unet", str(tiny_weights))
    session.segment(image_id)
    wait(session)
    project = session.project
    session.choose_model(WATERSHED)
    assert session.project is project


def test_found_cells_are_in_the_project_when_it_is_opened_again(session: Session, tmp_path: Path) -> None:
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    path, before = session.project.path, session.cells.of(image_id).instances.copy()
    session.close_project()
    session.open_project(path)
    cells = session.cells.of(image_id)
    np.testing.assert_array_equal(cells.instances, before)
    assert set(cells.origin_of(cells.ids)) == {Origin.MODEL} and not cells.is_verified(cells.ids).any()
    assert (cells.rows(cells.ids)["score"] > 0.3).all()


def test_a_run_is_one_step_and_leaves_vouched_for_cells_alone(session: Session) -> None:
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    cells, nucleus = session.cells.of(image_id), session.project.schema.by_name("nucleus").id
    mine = session.cells.at(image_id, *MIDDLES[0])
    session.cells.set_class(image_id, [mine], IGNORE)
    session.segment(image_id)
    wait(session)
    assert cells.class_of([mine]) == [IGNORE]
    assert cells.counts() == {nucleus: len(MIDDLES) - 1, IGNORE: 1}
    heard: list[str] = []
    session.cells.changed.connect(lambda image_id, _box: heard.append(image_id))
    session.labels_changed.connect(lambda *_: heard.append("labels"))
    for _ in range(3):
        session.undo(image_id)
    assert len(cells) == 0 and heard == [image_id] * 3


def test_cells_a_person_vouched_for_teach_the_model(session: Session) -> None:
    session.choose_model("unet_nuclei")
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    with pytest.raises(InputError, match="no corrections"):
        session.retrain(FineTunePlan(steps=2))
    first, second = session.cells.of(image_id).ids[:2].tolist()
    session.cells.verify(image_id, [first])
    session.cells.grow(image_id, [second], -0.5)
    losses: list[float] = []
    session.loss_added.connect(lambda _step, loss: losses.append(loss))
    revisions: list[Revision] = []
    session.revision_added.connect(revisions.append)
    session.retrain(FineTunePlan(steps=3, batch_size=2, tile_px=64))
    wait(session)
    assert len(losses) == 3 and np.isfinite(losses).all()
    (revision,) = revisions
    assert revision.card["finetune"]["notes"] == []


def test_a_cell_is_outlined_anew_by_the_active_model(session: Session) -> None:
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    cells, found = session.cells.of(image_id), session.cells.of(image_id).instances.copy()
    first, second = (session.cells.at(image_id, *middle) for middle in MIDDLES[:2])
    session.cells.grow(image_id, [first], 2)
    session.cells.set_class(image_id, [first], IGNORE)
    heard: list[JobStatus] = []
    session.job_changed.connect(heard.append)
    session.cells.repaint(image_id, [first, second])
    assert session.is_running("repaint")
    wait(session)
    np.testing.assert_array_equal(cells.instances, found)
    assert cells.class_of([first]) == [IGNORE] and cells.is_verified([first]).all()
    assert (heard[-1].kind, heard[-1].state) == ("repaint", "done") and "2 of 2" in heard[-1].message
    assert not session.is_running("repaint")
    session.undo(image_id)
    assert (cells.instances != found).any()

    nothing = np.ones((6, 6), bool)
    new = cells.next_id
    session.cells.draw(image_id, Box(90, 90, 96, 96), nothing, 1)
    session.cells.repaint(image_id, [new])
    wait(session)
    assert "no cell there" in heard[-1].message and new in cells
    session.cells.repaint(image_id, [first])
    session.cancel("repaint")
    wait(session)
    assert heard[-1].state == "cancelled" and (cells.instances != found).any()


def test_all_cells_outlined_anew_are_no_persons_word(session: Session) -> None:
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    cells, found = session.cells.of(image_id), session.cells.of(image_id).instances.copy()
    first = session.cells.at(image_id, *MIDDLES[0])
    session.cells.grow(image_id, None, 2)
    session.cells.verify(image_id, [first])
    y, x = MIDDLES[1]
    session.points.add(image_id, y, x, 1)
    second = session.cells.at(image_id, y, x)
    session.cells.repaint(image_id, None)
    wait(session)
    assert ((cells.instances > 0) == (found > 0)).all()
    assert cells.ids[cells.is_verified(cells.ids)].tolist() == [first], "what a person vouched for stays so"
    assert cells.origin_of([second]) == [Origin.POINT] and cells.points().ids.tolist() == [second]


def test_a_model_of_regions_cannot_repaint_cells(session: Session, tiny_weights: Path) -> None:
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    session.record(image_id, "paint", Box(0, 0, 1, 1), np.ones((1, 1), np.uint8))
    session._active = base_model("unet", str(tiny_weights))
    with pytest.raises(InputError, match="single cells"):
        session.cells.repaint(image_id, None)


def test_cancelling_keeps_no_half_of_the_cells(session: Session) -> None:
    session.choose_model(WATERSHED)
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    session.cancel("predict")
    wait(session)
    assert len(session.cells.of(image_id)) == 0


def test_the_starter_stays_the_default_beside_a_method_that_needs_no_weights(session: Session) -> None:
    session.add_image(nuclei())
    assert session.active is not None
    assert (session.active.spec.id, session.active.spec.task) == ("unet", "semantic")


def test_a_network_without_weights_starts_untrained_with_the_projects_classes(session: Session) -> None:
    session.add_image(nuclei())
    model = session.choose_model("segformer_b0")
    assert model.is_untrained
    assert model.weights.classes == session.project.schema.classes
    assert not session.choose_model("unet").is_untrained
    assert not session.choose_model(WATERSHED).is_untrained


@pytest.mark.parametrize("model_id", ["micronet_252"])
def test_random_weights_for_nuclei_keep_their_own_classes(session: Session, model_id: str) -> None:
    assert [c.name for c in session.choose_model(model_id).weights.classes] == ["background", "nucleus"]


def test_the_border_that_parts_nuclei_is_drawn_as_nucleus(session: Session) -> None:
    model = session.choose_model("unet_nuclei")
    assert [c.name for c in model.weights.classes] == ["background", "nucleus", "boundary"]
    image_id = session.add_image(nuclei()).id
    session.segment(image_id)
    wait(session)
    schema = session.project.schema
    assert [c.name for c in schema.classes] == ["background", "nucleus"]
    assert set(np.unique(session.displayed(image_id))) == {c.id for c in schema.classes}
    cells = session.cells.of(image_id)
    assert len(cells) == len(MIDDLES)
    labels = session.displayed(image_id)
    assert all(labels[middle] == schema.by_name("nucleus").id for middle in MIDDLES)
