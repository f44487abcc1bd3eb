"""From the hand to the journal and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.schema import IGNORE

pytestmark = pytest.mark.both_bindings


def labels_of(bench: Any) -> Any:
    return bench.bridge.tools.layer


def assert_layer_shows_the_project(bench: Any) -> None:
    np.testing.assert_array_equal(labels_of(bench).data, bench.session.displayed(bench.bridge.images.current))


def test_a_brush_stroke_is_one_edit_in_the_journal(segmented: Any, hand: Any) -> None:
    segmented.bridge.tools.set_class(2)
    segmented.bridge.tools.set_brush_size(10)
    hand.stroke((100, 60), (100, 80), (100, 100))
    (edit,) = segmented.session.project.edits()
    assert (edit.tool, edit.kind) == ("brush", "edit")
    assert (segmented.session.displayed(edit.image_id, Box(98, 62, 102, 98)) == 2).all()
    assert_layer_shows_the_project(segmented)


@pytest.mark.parametrize("tool", ["eraser", "fill"])
def test_other_tools_are_recorded_by_name(segmented: Any, hand: Any, tool: str) -> None:
    segmented.bridge.tools.set_class(2)
    segmented.bridge.tools.set_brush_size(30)
    hand.stroke((60, 60), (60, 90))
    segmented.bridge.tools.set_class(1)
    segmented.bridge.tools.set_tool(tool)
    hand.stroke((60, 70))
    edit = segmented.session.project.edits()[-1]
    assert edit.tool == tool
    assert segmented.session.displayed(edit.image_id, Box(60, 70, 61, 71))[0, 0] == {"eraser": 0, "fill": 1}[tool]
    assert_layer_shows_the_project(segmented)


def test_a_polygon_is_recorded(segmented: Any, hand: Any) -> None:
    segmented.bridge.tools.set_class(2)
    segmented.bridge.tools.set_tool("polygon")
    for corner in ((40, 40), (40, 90), (90, 90), (90, 40)):
        hand.stroke(corner)
    hand.double_click((90, 40))
    (edit,) = segmented.session.project.edits()
    assert edit.tool == "polygon"
    assert (segmented.session.displayed(edit.image_id, Box(45, 45, 85, 85)) == 2).all()


def test_undo_after_the_model_ran_again_brings_back_no_stale_pixel(segmented: Any, hand: Any) -> None:
    session, image_id = segmented.session, segmented.bridge.images.current
    segmented.bridge.tools.set_class(2)
    hand.stroke((100, 60), (100, 100))
    run = session.project.begin_run(image_id, model="unet", revision=None, box=Box(0, 0, 256, 256))
    session.project.propose(image_id, Box(0, 0, 256, 256), np.ones((256, 256), np.uint8), run_id=run)
    session.labels_changed.emit(image_id, Box(0, 0, 256, 256))
    hand.key("Z", control=True)
    assert (labels_of(segmented).data == 1).all()
    assert_layer_shows_the_project(segmented)
    hand.key("Z", control=True, shift=True)
    assert labels_of(segmented).data[100, 80] == 2
    assert_layer_shows_the_project(segmented)


def test_naparis_own_undo_has_nothing_left_to_bring_back(segmented: Any, hand: Any) -> None:
    segmented.bridge.tools.set_class(2)
    hand.stroke((100, 60), (100, 100))
    before = labels_of(segmented).data.copy()
    labels_of(segmented).undo()
    np.testing.assert_array_equal(labels_of(segmented).data, before)


def test_tiles_that_arrive_during_a_stroke_wait_for_its_end(segmented: Any, hand: Any) -> None:
    session, image_id = segmented.session, segmented.bridge.images.current
    segmented.bridge.tools.set_class(2)
    segmented.bridge.tools.set_brush_size(20)
    hand.press((100, 60))
    hand.move((100, 80))
    run = session.project.begin_run(image_id, model="unet", revision=None, box=Box(0, 0, 256, 256))
    session.project.propose(image_id, Box(0, 0, 256, 256), np.zeros((256, 256), np.uint8), run_id=run)
    session.labels_changed.emit(image_id, Box(0, 0, 256, 256))
    assert labels_of(segmented).data[100, 70] == 2
    hand.move((100, 100))
    hand.release((100, 100))
    assert (labels_of(segmented).data[100, 62:98] == 2).all()
    assert (labels_of(segmented).data[200] == 0).all()
    assert_layer_shows_the_project(segmented)


def test_a_stroke_that_cannot_be_kept_disappears_and_a_sentence_says_why(
    segmented: Any, hand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ProjectError("The disk is full; free some space.")

    said: list[str] = []
    monkeypatch.setattr(segmented.session.project, "record", full)
    monkeypatch.setattr("napari_histoseg.viewer.bridge._SAY", {"warning": said.append})
    segmented.bridge.tools.set_class(2)
    hand.stroke((100, 60), (100, 100))
    assert said == ["The disk is full; free some space."]
    assert_layer_shows_the_project(segmented)


def test_an_array_put_into_the_layer_is_an_edit(segmented: Any) -> None:
    layer = labels_of(segmented)
    layer.data = np.where(np.arange(256)[:, None] < 20, 2, layer.data)
    assert segmented.session.project.edits()[-1].tool == "import"
    assert (segmented.session.displayed(segmented.bridge.images.current, Box(0, 0, 20, 256)) == 2).all()


@pytest.mark.parametrize("array", [np.zeros((10, 10), np.uint8), np.full((256, 256), 7), np.full((256, 256), 999)])
def test_an_array_that_does_not_fit_is_refused(segmented: Any, array: np.ndarray) -> None:
    labels_of(segmented).data = array
    assert segmented.session.project.edits() == ()
    assert_layer_shows_the_project(segmented)
    assert labels_of(segmented).data.dtype == np.uint8


def test_a_class_that_does_not_exist_cannot_be_chosen(segmented: Any) -> None:
    segmented.bridge.tools.set_class(2)
    labels_of(segmented).selected_label = 77
    assert labels_of(segmented).selected_label == 2


def test_keys_choose_classes_and_are_released_on_close(segmented: Any, hand: Any) -> None:
    hand.key("W")
    assert segmented.bridge.tools.class_id == 1
    hand.key("R")
    assert segmented.bridge.tools.class_id == 2
    layer, viewer = labels_of(segmented), segmented.viewer
    assert layer.keymap
    segmented.close()
    assert not layer.keymap
    assert not viewer.keymap


def test_accepting_verifies_only_what_is_on_screen_and_untouched(segmented: Any, hand: Any, qtbot: Any) -> None:
    image_id = segmented.bridge.images.current
    segmented.bridge.tools.set_class(2)
    hand.stroke((128, 120), (128, 136))
    segmented.viewer.camera.zoom *= 4
    qtbot.waitUntil(lambda: segmented.bridge.images.visible_box().area < 256 * 256, timeout=5000)
    box = segmented.bridge.images.visible_box()
    hand.key("A")
    state = segmented.session.state(image_id)
    assert 0 < box.area < 256 * 256
    assert state[128, 128] == 1
    assert (state[box.slices] > 0).all()
    outside = np.ones((256, 256), bool)
    outside[box.slices] = False
    assert (state[outside] == 0).all()


def test_marks_of_edits_follow_the_strokes(segmented: Any, hand: Any) -> None:
    segmented.bridge.toggle_marks()
    segmented.bridge.tools.set_class(2)
    hand.stroke((100, 60), (100, 100))
    (marks,) = [layer for layer in segmented.viewer.layers if layer.name.endswith("(edited)")]
    np.testing.assert_array_equal(marks.data, segmented.session.state(segmented.bridge.images.current))
    assert marks.data.any()
    assert segmented.viewer.layers.selection.active is labels_of(segmented)
    segmented.bridge.toggle_marks()
    assert marks not in segmented.viewer.layers


def test_pixels_that_nobody_labelled_are_transparent(ready: Any) -> None:
    ready.bridge.show_labels()
    layer = labels_of(ready)
    assert (layer.data == IGNORE).all()
    assert layer.colormap.map(IGNORE)[3] == 0


def test_without_a_class_zero_the_eraser_takes_the_label_back(
    bench: Any, hand: Any, tissue: np.ndarray, tmp_path: Any
) -> None:
    bench.session.create_project(tmp_path / "regions.histoseg", "bcss5")
    bench.viewer.add_image(tissue, name="tissue")
    bench.bridge.show_labels()
    image_id = bench.bridge.images.current
    bench.bridge.tools.set_brush_size(20)
    bench.bridge.tools.set_class(3)
    hand.stroke((100, 60), (100, 100))
    bench.bridge.tools.set_tool("eraser")
    hand.stroke((100, 70), (100, 80))
    assert labels_of(bench).data[100, 75] == IGNORE
    assert bench.session.state(image_id)[100, 75] == 0
    assert bench.session.state(image_id)[100, 95] == 1
    assert_layer_shows_the_project(bench)
