"""Single cells under the hand: real keys and mouse on the canvas, and what the project and the layer say after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.doubts import Doubt
from napari_histoseg.viewer.cell_codes import CHOSEN, INSIDE, OUTLINE, PROPOSED, cell_codes
from napari_histoseg.viewer.cell_keys import KEYS
from napari_histoseg.viewer.tools import SHORTCUTS

pytestmark = pytest.mark.both_bindings

A, B, PAIR, HOLED = 1, 2, 3, 4
NAPARI_KEYS = set("1234567EPFLZMXB-=[]V") | {"Shift-V", "Shift-Up", "Shift-Down", "Space", "Control-G", "Control-R"}


def disk(place: tuple[float, float], radius: float) -> np.ndarray:
    yy, xx = np.mgrid[:256, :256]
    return np.hypot(yy - place[0], xx - place[1]) <= radius


@pytest.fixture
def celled(bench: Any, tissue: np.ndarray, qtbot: Any) -> Any:
    """A window on two round cells, two that touch like an eight, and one with a hole; the layer of cells in hand."""
    bench.viewer.add_image(tissue, name="tissue")
    image_id = bench.bridge.images.current
    bench.session.set_mpp(image_id, 0.25)
    instances = np.zeros((256, 256), np.uint32)
    instances[disk((60, 60), 16)] = A
    instances[disk((60, 110), 16)] = B
    instances[disk((150, 60), 16) | disk((150, 84), 16)] = PAIR
    instances[disk((150, 150), 16) & ~disk((150, 150), 4)] = HOLED
    classes = {A: 1, B: 1, PAIR: 2, HOLED: 2}
    edit = bench.session.project.replace_cells(image_id, instances, classes, tool="a model", origin=Origin.MODEL)
    bench.session.tell(edit)
    bench.bridge.cells.set_mode("select")
    qtbot.wait(50)
    return bench


def cells_of(bench: Any) -> Any:
    return bench.session.cells.of(bench.bridge.images.current)


def layer_of(bench: Any) -> Any:
    return next(layer for layer in bench.viewer.layers if layer.metadata.get("histoseg", {}).get("shows") == "cells")


def assert_layer_shows_the_project(bench: Any) -> None:
    cells = cells_of(bench)
    nobody = np.zeros(cells.next_id, bool)
    chosen = nobody.copy()
    chosen[list(bench.bridge.cells.selection)] = True
    codes = cell_codes(cells.instances, cells.class_lookup, is_chosen=chosen, is_proposed=nobody, proposed_class=0)
    np.testing.assert_array_equal(layer_of(bench).data, codes)


def point_at(hand: Any, place: tuple[float, float]) -> None:
    hand.move((place[0] - 2, place[1] - 2))
    hand.move(place)


# -- the layer ---------------------------------------------------------------------------------------------------------


def test_the_layer_shows_class_and_outline_of_every_cell(celled: Any) -> None:
    layer = layer_of(celled)
    assert layer.name == "tissue – cells"
    assert layer.data[60, 60] == 4 * 1 + INSIDE
    assert layer.data[60, 44] == 4 * 1 + OUTLINE
    assert layer.data[100, 100] == 0
    assert_layer_shows_the_project(celled)


def test_touching_cells_of_one_class_have_an_outline_between_them() -> None:
    instances = np.zeros((9, 12), np.uint32)
    instances[2:7, 1:6], instances[2:7, 6:11] = 1, 2
    classes = np.array([IGNORE, 3, 3], np.uint8)
    nobody = np.zeros(3, bool)
    codes = cell_codes(instances, classes, is_chosen=nobody, is_proposed=nobody, proposed_class=0)
    assert (codes[2:7, 5:7] == 4 * 3 + OUTLINE).all()
    assert codes[4, 3] == 4 * 3 + INSIDE


def test_cells_of_unknown_class_are_grey_and_hidden_classes_disappear(celled: Any) -> None:
    image_id = celled.bridge.images.current
    celled.session.cells.set_class(image_id, [A], IGNORE)
    colors = layer_of(celled).colormap.color_dict
    red, green, blue, alpha = colors[int(layer_of(celled).data[60, 44])]
    assert red == green == blue
    assert alpha == 1
    celled.bridge.appearance.set_class_visible(2, False)
    colors = layer_of(celled).colormap.color_dict
    assert colors[4 * 2 + OUTLINE][3] == colors[4 * 2 + INSIDE][3] == 0
    assert colors[4 * 1 + OUTLINE][3] == 1


def test_the_layer_is_a_view_that_nobody_paints_on(celled: Any) -> None:
    layer = layer_of(celled)
    layer.mode = "paint"
    assert layer.mode == "pan_zoom"
    layer.data = np.ones((256, 256), np.uint16)
    assert_layer_shows_the_project(celled)


def test_renamed_and_moved_the_layer_still_follows(celled: Any, hand: Any) -> None:
    layer_of(celled).name = "mine"
    celled.viewer.layers.move(0, 2)
    point_at(hand, (60, 60))
    hand.key("R")
    assert cells_of(celled).class_of([A])[0] == 2
    assert_layer_shows_the_project(celled)


def test_a_deleted_layer_comes_back_with_the_next_change_and_undo_works(celled: Any) -> None:
    celled.viewer.layers.remove(layer_of(celled))
    celled.session.cells.set_class(celled.bridge.images.current, [A], 0)
    assert_layer_shows_the_project(celled)
    celled.bridge.undo()
    assert_layer_shows_the_project(celled)


def test_the_layer_leaves_with_its_project_and_comes_back_with_it(celled: Any) -> None:
    path = celled.session.project.path
    celled.session.close_project()
    assert not [layer for layer in celled.viewer.layers if layer.metadata.get("histoseg", {}).get("shows") == "cells"]
    celled.session.open_project(path)
    assert_layer_shows_the_project(celled)


def test_another_image_begins_with_nothing_chosen_and_each_keeps_its_layer(celled: Any) -> None:
    celled.bridge.cells.select([A])
    celled.bridge.cells.preview([B], 2)
    first = celled.bridge.images.source
    celled.viewer.add_image(np.full((64, 64, 3), 200, np.uint8), name="other")
    celled.bridge.images.work_on(celled.viewer.layers["other"])
    assert celled.bridge.cells.selection == ()
    assert not celled.bridge.cells.has_cells
    celled.bridge.images.work_on(first)
    assert celled.bridge.cells.has_cells
    assert_layer_shows_the_project(celled)


# -- classes and choosing ----------------------------------------------------------------------------------------------


def test_a_letter_gives_the_cell_under_the_pointer_its_class(celled: Any, hand: Any) -> None:
    seen: list[int] = []
    celled.bridge.cells.hovered.connect(seen.append)
    point_at(hand, (60, 60))
    hand.key("R")
    assert seen[-1] == A
    assert cells_of(celled).class_of([A, B]).tolist() == [2, 1]
    assert layer_of(celled).data[60, 60] == 4 * 2 + INSIDE
    hand.key("Z", control=True)
    assert cells_of(celled).class_of([A])[0] == 1
    assert_layer_shows_the_project(celled)
    hand.key("Z", control=True, shift=True)
    assert cells_of(celled).class_of([A])[0] == 2
    assert_layer_shows_the_project(celled)


def test_clicks_choose_and_shift_adds_and_a_letter_classes_all_of_them(celled: Any, hand: Any) -> None:
    hand.stroke((60, 60))
    assert celled.bridge.cells.selection == (A,)
    hand.stroke((60, 110), shift=True)
    assert celled.bridge.cells.selection == (A, B)
    assert layer_of(celled).data[60, 44] == CHOSEN
    point_at(hand, (150, 160))
    hand.key("Q")
    assert cells_of(celled).class_of([A, B, HOLED]).tolist() == [0, 0, 2]
    assert len(celled.session.project.edits()) == 2
    hand.stroke((60, 60), shift=True)
    assert celled.bridge.cells.selection == (B,)
    hand.stroke((200, 200))
    assert celled.bridge.cells.selection == ()
    assert_layer_shows_the_project(celled)


def test_a_tool_for_single_cells_lets_go_of_those_chosen(celled: Any, hand: Any) -> None:
    celled.bridge.cells.select([A])
    hand.key("A", shift=True)
    assert celled.bridge.cells.selection == (A,)
    hand.key("S", shift=True)
    assert celled.bridge.cells.selection == ()
    point_at(hand, (60, 110))
    hand.key("Delete")
    assert A in cells_of(celled)
    assert B not in cells_of(celled)


def test_a_letter_over_background_is_the_class_of_new_cells(celled: Any, hand: Any) -> None:
    point_at(hand, (220, 220))
    hand.key("W")
    assert celled.bridge.tools.class_id == 1
    assert str(layer_of(celled).mode) == "pan_zoom"
    assert len(celled.session.project.edits()) == 1


def test_the_lasso_chooses_and_delete_removes_and_undo_brings_back(celled: Any, hand: Any) -> None:
    hand.key("A", shift=True)
    assert celled.bridge.cells.mode == "lasso"
    hand.stroke((30, 30), (30, 140), (90, 140), (90, 30), (32, 30))
    assert celled.bridge.cells.selection == (A, B)
    hand.key("Delete")
    assert A not in cells_of(celled)
    assert celled.bridge.cells.selection == ()
    assert_layer_shows_the_project(celled)
    hand.key("Z", control=True)
    assert A in cells_of(celled)
    assert_layer_shows_the_project(celled)


def test_verify_vouches_for_the_cell_under_the_pointer(celled: Any, hand: Any) -> None:
    point_at(hand, (60, 60))
    hand.key("A")
    assert cells_of(celled).is_verified([A, B]).tolist() == [True, False]


def test_copy_takes_the_class_of_one_cell_to_others(celled: Any, hand: Any) -> None:
    point_at(hand, (150, 160))
    hand.key("C", shift=True)
    hand.stroke((60, 60))
    hand.stroke((60, 110))
    assert cells_of(celled).class_of([A, B]).tolist() == [2, 2]


# -- structure ---------------------------------------------------------------------------------------------------------


def test_a_drawn_line_cuts_and_is_seen_while_it_is_drawn(celled: Any, hand: Any) -> None:
    hand.key("X", shift=True)
    center = tuple(celled.viewer.camera.center)
    hand.press((125, 72))
    hand.move((150, 72))
    hand.move((176, 72))
    assert (layer_of(celled).data[130:170, 70:75] == CHOSEN + 1).any()
    hand.release((176, 72))
    assert len(cells_of(celled)) == 5
    assert tuple(celled.viewer.camera.center) == center
    assert_layer_shows_the_project(celled)
    hand.key("Z", control=True)
    assert len(cells_of(celled)) == 4
    assert_layer_shows_the_project(celled)


def test_points_divide_a_cell_on_enter_and_escape_drops_them(celled: Any, hand: Any) -> None:
    said: list[str] = []
    hand.key("D", shift=True)
    hand.stroke((150, 55))
    hand.key("Escape")
    assert celled.bridge.cells.mode == "split_at"
    assert_layer_shows_the_project(celled)
    hand.stroke((150, 55))
    celled.bridge.say = lambda _level, sentence: said.append(sentence)
    hand.key("Return")
    assert "two" in said[0]
    hand.stroke((150, 89))
    hand.key("Return")
    cells = cells_of(celled)
    assert len(cells) == 5
    assert cells.instances[150, 55] != cells.instances[150, 89]
    assert_layer_shows_the_project(celled)


def test_a_stroke_across_makes_one_cell(celled: Any, hand: Any) -> None:
    hand.key("X", shift=True)
    hand.stroke((125, 72), (150, 72), (176, 72))
    hand.key("G", shift=True)
    hand.stroke((150, 60), (150, 72), (150, 85))
    assert len(cells_of(celled)) == 4
    assert_layer_shows_the_project(celled)


def test_space_moves_the_view_instead_of_drawing(celled: Any, hand: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    hand.key("X", shift=True)
    QTest.keyPress(hand.canvas, Qt.Key.Key_Space)
    assert layer_of(celled).mouse_pan
    hand.stroke((125, 72), (150, 72), (176, 72))
    QTest.keyRelease(hand.canvas, Qt.Key.Key_Space)
    assert len(cells_of(celled)) == 4
    assert not layer_of(celled).mouse_pan
    assert_layer_shows_the_project(celled)


def test_a_stroke_that_cuts_nothing_says_so_and_changes_nothing(celled: Any, hand: Any) -> None:
    said: list[str] = []
    celled.bridge.say = lambda _level, sentence: said.append(sentence)
    hand.key("X", shift=True)
    hand.stroke((200, 200), (220, 220))
    assert "crosses no cell" in said[0]
    assert_layer_shows_the_project(celled)


def test_the_smart_brush_draws_a_cell_and_a_stroke_inside_one_mends_it(celled: Any, hand: Any) -> None:
    celled.bridge.tools.choose_class(2)
    hand.key("S", shift=True)
    layer_of(celled).brush_size = 11
    hand.key("BracketRight")
    assert layer_of(celled).brush_size > 11
    new = cells_of(celled).next_id
    hand.stroke((220, 200), (220, 210), (220, 220))
    assert cells_of(celled).class_of([new])[0] == 2
    assert celled.session.cells.at(celled.bridge.images.current, 220, 210) == new
    assert celled.viewer.layers.selection.active is layer_of(celled)
    before = int(cells_of(celled).areas_px([A])[0])
    hand.stroke((60, 60), (50, 60), (40, 60), control=True)
    assert int(cells_of(celled).areas_px([A])[0]) < before
    assert_layer_shows_the_project(celled)


def test_new_cells_have_a_class_even_before_one_was_chosen_and_the_legend_chooses_another(
    celled: Any, hand: Any
) -> None:
    hand.key("S", shift=True)
    assert celled.bridge.tools.class_id == 1
    celled.bridge.show_labels()
    celled.viewer.layers.selection.active = layer_of(celled)
    celled.bridge.tools.set_class(2)
    assert celled.viewer.layers.selection.active is layer_of(celled)
    new = cells_of(celled).next_id
    hand.stroke((220, 200), (220, 210), (220, 220))
    assert cells_of(celled).class_of([new])[0] == 2


def test_keys_grow_and_shrink_and_fill_holes_by_the_pixel(celled: Any, hand: Any) -> None:
    point_at(hand, (60, 60))
    before = int(cells_of(celled).areas_px([A])[0])
    hand.key("9")
    grown = int(cells_of(celled).areas_px([A])[0])
    assert grown > before
    hand.key("8")
    assert int(cells_of(celled).areas_px([A])[0]) < grown
    point_at(hand, (150, 160))
    hand.key("H", shift=True)
    assert celled.session.cells.at(celled.bridge.images.current, 150, 150) == HOLED
    assert_layer_shows_the_project(celled)


def test_a_button_leaves_the_cell_alone_that_the_pointer_passed_last(celled: Any, hand: Any) -> None:
    point_at(hand, (60, 60))
    celled.bridge.cells.act("delete")
    assert A in cells_of(celled)
    celled.bridge.cells.select([B])
    celled.bridge.cells.act("delete")
    assert B not in cells_of(celled)


def test_chosen_cells_become_one_by_key(celled: Any, hand: Any) -> None:
    hand.key("X", shift=True)
    hand.stroke((125, 72), (150, 72), (176, 72))
    celled.bridge.cells.select(celled.session.cells.crossed(celled.bridge.images.current, [(150, 60), (150, 85)]))
    hand.key("W", shift=True)
    assert len(cells_of(celled)) == 4


# -- what panels use ---------------------------------------------------------------------------------------------------


def test_a_preview_commits_nothing_and_disappears(celled: Any) -> None:
    before = len(celled.session.project.edits())
    celled.bridge.cells.preview([A, HOLED], 2)
    assert (layer_of(celled).data[60, 44:46] == 4 * 2 + PROPOSED).all()
    assert len(celled.session.project.edits()) == before
    assert cells_of(celled).class_of([A])[0] == 1
    celled.bridge.cells.clear_preview()
    assert_layer_shows_the_project(celled)


def test_jumping_brings_the_cell_to_the_middle_and_chooses_it(celled: Any) -> None:
    celled.bridge.cells.jump_to(HOLED)
    center = layer_of(celled).world_to_data(celled.viewer.camera.center[-2:])
    np.testing.assert_allclose(center, (150, 150), atol=1)
    assert celled.bridge.cells.selection == (HOLED,)
    celled.bridge.cells.jump_to(999)
    assert celled.bridge.cells.selection == (HOLED,)


def test_keys_walk_through_the_doubtful_cells_and_pass_what_is_settled(
    celled: Any, hand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubts = [Doubt("size outlier", k, 60.0 + k, 60.0, 1 - k / 10, f"number {k}") for k in (A, B, PAIR)]
    monkeypatch.setattr(celled.session.points, "doubts", lambda _image_id: tuple(doubts))
    hand.key("F", shift=True)
    assert celled.bridge.cells.selection == (A,)
    hand.key("F", shift=True)
    assert celled.bridge.cells.selection == (B,)
    assert celled.viewer.status == f"number {B}"
    del doubts[1]
    hand.key("F", shift=True)
    assert celled.bridge.cells.selection == (PAIR,)
    hand.key("R", shift=True)
    hand.key("R", shift=True)
    assert celled.bridge.cells.selection == (PAIR,)


def test_outlines_only_and_back(celled: Any, hand: Any) -> None:
    hand.key("T", shift=True)
    colors = layer_of(celled).colormap.color_dict
    assert colors[4 * 1 + INSIDE][3] == 0
    assert colors[4 * 1 + OUTLINE][3] == 1
    hand.key("T", shift=True)
    assert layer_of(celled).colormap.color_dict[4 * 1 + INSIDE][3] > 0


def test_a_key_of_a_mode_works_from_the_image_layer(celled: Any, hand: Any) -> None:
    celled.viewer.layers.selection.active = celled.bridge.images.source
    hand.key("X", shift=True)
    assert celled.bridge.cells.mode == "split"
    assert celled.viewer.layers.selection.active is layer_of(celled)


def test_no_key_is_used_twice_nor_taken_from_napari_or_from_a_class(celled: Any) -> None:
    from napari_histoseg.core.schemas import SCHEMAS

    ours = [keys for key in KEYS.values() for keys in key.bindings]
    letters = {c.key.upper() for schema in SCHEMAS.values() for c in schema.classes if c.key}
    assert len(set(ours)) == len(ours)
    assert not set(ours) & (letters | NAPARI_KEYS)
    painting = {shortcut.keys: shortcut.command for shortcut in SHORTCUTS if shortcut.command}
    assert {painting[keys] for keys in ours if keys in painting} <= {"undo", "redo", "edits", "accept"}
    told = dict(celled.bridge.cells.shortcuts())
    assert {key.shown for key in KEYS.values()} <= set(told)


def test_closing_lets_go_of_every_key_and_callback(celled: Any) -> None:
    layer = layer_of(celled)
    callbacks = len(layer.mouse_move_callbacks), len(layer.mouse_drag_callbacks)
    celled.bridge.cells.close()
    assert not layer.keymap
    assert (len(layer.mouse_move_callbacks), len(layer.mouse_drag_callbacks)) == (callbacks[0] - 1, callbacks[1] - 1)
    assert not [keys for keys in celled.viewer.keymap if "Shift" in str(keys)]


def test_the_sheet_of_keys_shows_both_and_fits_a_small_screen(celled: Any, qtbot: Any) -> None:
    from qtpy.QtWidgets import QLabel

    from napari_histoseg.widgets.parts.help_sheet import HelpSheet

    sheet = HelpSheet(celled.bridge, celled.viewer.window._qt_window)
    qtbot.addWidget(sheet)
    told = {label.text() for label in sheet.findChildren(QLabel)}
    assert {f"<b>{key.shown}</b>" for key in KEYS.values()} <= told
    assert "<b>2 or P</b>" in told
    assert sheet.height() <= 700
    assert sheet.width() <= 1366


def test_a_change_outside_of_the_window_is_shown(celled: Any) -> None:
    image_id = celled.bridge.images.current
    after = np.zeros((20, 20), np.uint32)
    after[5:15, 5:15] = cells_of(celled).next_id
    edit = celled.session.project.edit_cells(image_id, Box(200, 200, 220, 220), after, tool="test")
    celled.session.tell(edit)
    assert_layer_shows_the_project(celled)
