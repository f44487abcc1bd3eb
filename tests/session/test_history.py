"""The history of a project as a person reads it, and going back in it."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import SHAPE, disks, repeat_last_edit, state_of

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema_steps import RemoveClass
from napari_histoseg.models.registry import get_model
from napari_histoseg.session import Session
from napari_histoseg.session.history import History
from napari_histoseg.session.history_files import write_history
from napari_histoseg.session.history_words import thumbnail, words


@pytest.fixture
def session(user_folder: Path, tmp_path: Path) -> Iterator[Session]:
    session = Session()
    session.create_project(tmp_path / "p.histoseg", "cellularity")
    yield session
    session.close()


@pytest.fixture
def image_id(session: Session) -> str:
    """An image with eight acts: a brush stroke, cells, two classes, a deletion, a merge, an accepted cell, a split."""
    pixels = np.full((*SHAPE, 3), 200, np.uint8)
    image_id = session.add_image(image_from_array(pixels, name="tissue", mpp=0.5)).id
    session.record(image_id, "paint", Box(0, 0, 5, 8), np.full((5, 8), 3, np.uint8))
    project, cells = session.need_project(), session.cells
    edit = project.replace_cells(image_id, disks(), {1: 1, 2: 2}, tool="unet_nuclei", origin=Origin.MODEL)
    assert edit is not None
    session.tell(edit)
    cells.set_class(image_id, [1, 2, 3], 3)
    cells.set_class(image_id, [4], 1)
    cells.delete(image_id, [5])
    cells.merge(image_id, [6, 7])
    cells.verify(image_id, [8])
    cells.split(image_id, [(18, 0), (18, 12)])
    return image_id


def test_words(session: Session, image_id: str) -> None:
    project = session.need_project()
    told = [words(project, act.record) for act in History(session).acts(image_id)[::-1] if act.record is not None]
    assert told == [
        "Brush, 40 px: malignant",
        "Unet_nuclei outlined 35 cells",
        "Class of 3 cells: malignant",
        "Class of 1 cell: lymphocyte",
        "Deleted 1 cell",
        "Merged 2 cells",
        "Accepted 1 cell",
        "Split 2 cells",
    ]


def test_a_run_of_a_model_has_one_line(session: Session, image_id: str) -> None:
    project, whole = session.need_project(), Box.of_shape(SHAPE)
    run = project.begin_run(image_id, model="haematoxylin_watershed", revision=None, box=whole)
    project.replace_cells(image_id, disks(), {1: 1}, tool="Haematoxylin watershed", origin=Origin.MODEL)
    project.end_run(run, "done")
    assert [act.note for act in History(session).acts(image_id) if act.record is None] == []
    assert len(History(session).acts(image_id)) == 9
    for model, state in (("haematoxylin_watershed", "cancelled"), ("gone", "done")):
        project.end_run(project.begin_run(image_id, model=model, revision=None, box=whole), state)
    notes = [(act.note, act.author) for act in History(session).acts(image_id) if act.record is None]
    title = get_model("haematoxylin_watershed").spec.title
    assert notes == [("Run of gone", "gone"), (f"Run of {title}, cancelled", title)]


def test_what_was_taken_back(session: Session, image_id: str) -> None:
    history = History(session)
    session.edited.connect(history.add)
    for _ in range(3):
        session.undo(image_id)
    session.cells.set_class(image_id, [9], 2)
    session.undo(image_id)
    standings = [history.standing(act) for act in history.acts(image_id)]
    assert standings == ["taken back", *["replaced"] * 3, *["in force"] * 5]
    assert [act.at for act in history.acts(image_id)] == [act.at for act in History(session).acts(image_id)]
    fresh = History(session)
    assert standings == [fresh.standing(act) for act in fresh.acts(image_id)], "read anew it is the same"
    undo = history.taken_back_by(history.acts(image_id)[0])
    assert undo is not None and undo.kind == "undo"
    effort = history.effort(image_id)[0]
    assert (effort.edits, effort.undone) == (13, 4)


def test_going_back_and_forth_restores_every_state(session: Session, image_id: str) -> None:
    project = session.need_project()
    states = [(state_of(project.cells(image_id)), project.planes(image_id).labels.copy())]
    while session.undo(image_id):
        states.append((state_of(project.cells(image_id)), project.planes(image_id).labels.copy()))
    history = History(session)
    session.edited.connect(history.add)
    acts = history.acts(image_id)
    for place in (5, 0, 7, 3, 3):
        left = list(history.steps_to(acts[place]))
        assert left == list(range(len(left)))[::-1]
        cells, labels = states[place]
        for now, then in zip(state_of(project.cells(image_id)), cells, strict=True):
            np.testing.assert_array_equal(now, then)
        np.testing.assert_array_equal(project.planes(image_id).labels, labels)
        assert [history.standing(act) for act in acts] == ["taken back"] * place + ["in force"] * (8 - place)


def test_what_cannot_be_gone_back_to(session: Session, image_id: str) -> None:
    session.undo(image_id)
    session.cells.set_class(image_id, [9], 2)
    session.classes.change([RemoveClass(1, 2)])
    history = History(session)
    acts = history.acts(image_id)
    replaced = next(act for act in acts if history.standing(act) == "replaced")
    with pytest.raises(InputError, match="other work followed"):
        next(history.steps_to(replaced))
    note = next(act for act in acts if act.record is None)
    assert note.note == "Class 'lymphocyte' was put into 'normal'"
    with pytest.raises(InputError, match="changed no image"):
        next(history.steps_to(note))


def test_pictures_show_the_place(session: Session, image_id: str) -> None:
    acts = History(session).acts(image_id)[::-1]
    brush, cells = acts[0].record, acts[1].record
    assert brush is not None and cells is not None
    picture = thumbnail(session, brush, 36)
    assert max(picture.shape) == 36 or max(picture.shape[:2]) <= 36
    red = np.array([0xD5, 0x5E, 0x00], np.int64)
    assert (np.abs(picture[0, 0] - (200 + red) // 2) <= 1).all(), "malignant, half over the tissue"
    assert (picture[-1, -1] == 200).all()
    assert len(np.unique(thumbnail(session, cells, 36).reshape(-1, 3), axis=0)) > 1


def test_files(session: Session, image_id: str, tmp_path: Path) -> None:
    project = session.need_project()
    write_history(tmp_path / "h.csv", project)
    write_history(tmp_path / "h.json", project, image_id)
    rows = list(csv.DictReader((tmp_path / "h.csv").open()))
    document = json.loads((tmp_path / "h.json").read_text())
    assert len(rows) == len(document["edits"]) == 8
    assert document["images"][0]["in_force"] == 8
    with pytest.raises(InputError, match=r"\.csv"):
        write_history(tmp_path / "h.txt", project)


def test_ten_thousand_lines_are_read_in_a_second(session: Session, image_id: str) -> None:
    repeat_last_edit(session.need_project(), 10_000)
    started = time.process_time()
    history = History(session)
    assert len(history.acts(image_id)) == 10_008
    assert time.process_time() - started < 1.5, "of computing, however busy the machine is"
