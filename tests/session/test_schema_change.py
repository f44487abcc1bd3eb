"""Who hears of a change of the classes, and when one has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_pictures import SHAPE, disks

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema_steps import AddClass, RemoveClass
from napari_histoseg.session import Session
from napari_histoseg.session.schema_change import ClassWork


@pytest.fixture
def session(user_folder: Path, tmp_path: Path) -> Iterator[Session]:
    session = Session()
    session.create_project(tmp_path / "p.histoseg", "cellularity")
    yield session
    session.close()


@pytest.fixture
def image_id(session: Session) -> str:
    image_id = session.add_image(image_from_array(np.full((*SHAPE, 3), 200, np.uint8), name="tissue", mpp=0.5)).id
    session.record(image_id, "paint", Box(0, 0, 5, 8), np.full((5, 8), 3, np.uint8))
    session.need_project().replace_cells(image_id, disks(), {1: 3}, tool="import", origin=Origin.IMPORT)
    return image_id


def test_everybody_hears_of_it(session: Session, image_id: str) -> None:
    heard: list[Any] = []
    session.classes.changed.connect(lambda: heard.append("classes"))
    session.labels_changed.connect(lambda _, box: heard.append(("labels", box)))
    session.cells.changed.connect(lambda _, box: heard.append(("cells", box)))
    session.message.connect(lambda level, text: heard.append((level, text)))
    told = session.classes.change([RemoveClass(3, 2)])
    assert told == ("Class 'malignant' was put into 'normal'",)
    cell = session.need_project().cells(image_id).box_around([1])
    assert heard == ["classes", ("labels", Box(0, 0, 5, 8)), ("cells", cell)]
    heard.clear()
    session.undo(image_id)
    assert heard[:2] == [("cells", cell), "classes"] and "is back" in heard[2][1]
    heard.clear()
    session.undo(image_id)
    assert heard == [("labels", Box(0, 0, 5, 8))]


def test_a_class_waits_for_a_model_at_work(session: Session, image_id: str) -> None:
    work = ClassWork(session, lambda: True)
    with pytest.raises(InputError, match="A model is at work"):
        work.change([RemoveClass(3, 2)])
    work.change([AddClass("mitosis")])
    assert "mitosis" in [c.name for c in session.need_project().schema.classes]
