from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.learning.snapshot import CARD_KEY, HeldOutBox, TrainingImage, take_snapshot


def _image(seed: int, mpp: float | None = 1.0) -> ImageRef:
    pixels = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    return image_from_array(pixels, name=f"image {seed}", mpp=mpp)


def _paint(project: Project, image_id: str, y: int, class_id: int) -> None:
    project.record(image_id, tool="paint", box=Box(y, 10, y + 5, 30), after=np.full((5, 20), class_id, np.uint8))


def _publish(project: Project, learned_until: int, held_out: list[HeldOutBox]) -> str:
    card = {
        "verdict": "promoted",
        "reason": "",
        CARD_KEY: {"learned_until": learned_until, "held_out": [box.to_json() for box in held_out]},
    }
    return project.revisions.publish("unet", lambda folder: _write(folder), card).id


def _write(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"x")


def test_a_snapshot_is_a_copy_that_later_strokes_do_not_reach(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p.histoseg", EPITHELIUM) as project:
        painted, other = project.add_image(_image(0)), project.add_image(_image(1))
        _paint(project, painted.id, 10, 2)
        snapshot = take_snapshot(project, model_id="unet", parent_revision=None)
        (item,) = snapshot.images
        _paint(project, painted.id, 30, 1)
        assert int((item.state == 1).sum()) == 100
        assert (item.labels[item.state == 1] == 2).all()
        assert item.learned is None
        assert [ref.content_id for ref in snapshot.others] == [other.content_id]
        assert snapshot.classes == EPITHELIUM.classes


def test_what_the_parent_learned_is_replayed_and_later_strokes_are_new(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p.histoseg", EPITHELIUM) as project:
        entry = project.add_image(_image(0))
        _paint(project, entry.id, 10, 2)
        held = [HeldOutBox(entry.content_id, Box(10, 10, 15, 30))]
        first = take_snapshot(project, model_id="unet", parent_revision=None)
        revision = _publish(project, first.learned_until, held)
        _paint(project, entry.id, 30, 1)

        snapshot = take_snapshot(project, model_id="unet", parent_revision=revision)
        (item,) = snapshot.images
        assert item.learned is not None
        assert item.learned[10:15, 10:30].all() and int(item.learned.sum()) == 100
        assert snapshot.held_out == tuple(held)

        # Back to the weights before any revision: nothing has been learned, but what judged still judges.
        rolled_back = take_snapshot(project, model_id="unet", parent_revision=None)
        assert rolled_back.images[0].learned is None
        assert rolled_back.held_out == tuple(held)


def test_an_undone_stroke_is_not_in_the_snapshot(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p.histoseg", EPITHELIUM) as project:
        entry = project.add_image(_image(0))
        _paint(project, entry.id, 10, 2)
        project.undo(entry.id)
        assert take_snapshot(project, model_id="unet", parent_revision=None).images == ()


def test_an_edited_image_of_unknown_resolution_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p.histoseg", EPITHELIUM) as project:
        entry = project.add_image(_image(0, mpp=None))
        _paint(project, entry.id, 10, 2)
        with pytest.raises(InputError, match="µm per pixel of 'image 0' is not known"):
            take_snapshot(project, model_id="unet", parent_revision=None)


def test_arrays_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="labels of 'image 0'"):
        TrainingImage(_image(0), np.zeros((5, 5), np.uint8), np.zeros((60, 80), np.uint8))


def test_held_out_boxes_survive_their_card() -> None:
    held = HeldOutBox("abc", Box(1, 2, 3, 4))
    assert HeldOutBox.from_json(held.to_json()) == held
    with pytest.raises(InputError, match="held-out region"):
        HeldOutBox.from_json({"content_id": "abc"})
