"""Acts on cells as buttons and keys do them: one undo step each, heard of by everybody."""

from __future__ import annotations

import numpy as np
import pytest
from cell_pictures import assert_consistent, assert_same, disks, state_of
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.edit import Edit
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.session import Session

SHAPE = (60, 80)
TUMOUR = 1


class Bench:
    """A session with 35 round cells of 2.5 µm radius from a model, and what it told."""

    def __init__(self, session: Session, folder: object) -> None:
        self.session = session
        session.create_project(f"{folder}/cells.histoseg", "cellularity")
        self.image_id = session.add_image(image_from_array(np.zeros(SHAPE, np.uint8), name="tissue", mpp=0.5)).id
        numbers = range(1, 36)
        session.project.replace_cells(
            self.image_id, disks(SHAPE), dict.fromkeys(numbers, 2), tool="model", origin=Origin.MODEL
        )
        self.cells = session.cells.of(self.image_id)
        self.boxes: list[Box] = []
        self.edits: list[Edit] = []
        session.cells.changed.connect(lambda _id, box: self.boxes.append(box))
        session.edited.connect(self.edits.append)

    def check(self, edit: Edit | None, tool: str) -> None:
        """It was told once, undo takes it back in one step, redo brings it again, and the geometry stays right."""
        assert edit is not None and edit.tool == tool
        assert self.edits == [edit]
        after = state_of(self.cells)
        assert_consistent(self.cells)
        undone = self.session.undo(self.image_id)
        assert undone is not None and undone.target == edit.seq
        assert self.cells.ids.tolist() == list(range(1, 36)) and (self.cells.instances == disks(SHAPE)).all()
        self.session.redo(self.image_id)
        assert_same(self.cells, after)
        assert self.boxes == [edit.box] * 3


@pytest.fixture
def bench(session: Session, tmp_path: object) -> Bench:
    return Bench(session, tmp_path)


def test_looking(bench: Bench) -> None:
    work, image_id = bench.session.cells, bench.image_id
    assert work.at(image_id, 6, 6) == 1 and work.at(image_id, 0, 0) == 0
    assert work.at(image_id, -4, 6) == 0 and work.at(image_id, 6, 80) == 0
    assert work.inside(image_id, [(0, 0), (0, 26), (14, 26), (14, 0)]).tolist() == [1, 2]
    assert work.inside(image_id, [(0, 0), (0, 8), (14, 8), (14, 0)]).tolist() == [1], "more than half of it"
    assert work.inside(image_id, [(0, 0), (0, 5), (14, 5), (14, 0)]).tolist() == []
    assert work.inside(image_id, [(-90, -90), (-90, 900), (900, 900), (900, -90)]).size == 35
    assert work.inside(image_id, [(1, 1), (2, 2)]).size == 0
    assert work.crossed(image_id, [(6, -50), (6, 30)]).tolist() == [1, 2, 3]
    assert work.crossed(image_id, [(200, 200), (300, 300)]).size == 0
    table = work.table(image_id)
    assert len(table) == 35 and table.area_um2[0] == bench.cells.areas_px([1])[0] * 0.25


def test_class_by_key(bench: Bench) -> None:
    edit = bench.session.cells.set_class(bench.image_id, [3, 4], TUMOUR)
    bench.check(edit, "class")
    assert bench.cells.class_of([3, 4, 5]).tolist() == [TUMOUR, TUMOUR, 2]
    assert bench.cells.is_verified([3, 4, 5]).tolist() == [True, True, False]
    assert bench.session.cells.set_class(bench.image_id, [3, 4], TUMOUR) is None


def test_verify_and_delete(bench: Bench) -> None:
    bench.check(bench.session.cells.delete(bench.image_id, [1, 9]), "delete")
    bench.edits.clear()
    assert bench.session.cells.verify(bench.image_id, None) is not None
    assert bench.cells.is_verified(bench.cells.ids).all()


def test_a_line_cuts_every_cell_it_crosses_in_one_step(bench: Bench) -> None:
    edit = bench.session.cells.split(bench.image_id, [(6, 0), (6, 26)])
    bench.check(edit, "split")
    assert len(bench.cells) == 37 and bench.cells.class_of([36, 37]).tolist() == [2, 2]
    assert bench.cells.rows([1, 2, 36])["origin"].tolist() == [Origin.PERSON] * 3
    for line, told in (([(0, 0), (0, 20)], "crosses no cell"), ([(6, 6), (6, 7)], "side to side")):
        with pytest.raises(InputError, match=told):
            bench.session.cells.split(bench.image_id, line)


def test_points_part_the_cells_that_hold_two(bench: Bench) -> None:
    edit = bench.session.cells.split_at(bench.image_id, [(3, 6), (9, 6), (6, 18), (18, 3), (18, 9)])
    bench.check(edit, "split")
    assert len(bench.cells) == 37
    with pytest.raises(InputError, match="two of the points"):
        bench.session.cells.split_at(bench.image_id, [(3, 6), (6, 18)])


def test_the_point_of_a_cell_goes_with_the_part_it_lies_in(bench: Bench) -> None:
    project = bench.session.project
    around = Box(0, 0, 12, 12)
    project.edit_cells(
        bench.image_id, around, bench.cells.instances[around.slices], tool="point", points={1: (2.0, 6.0)}
    )
    bench.session.cells.split(bench.image_id, [(4, 0), (4, 12)])
    points = bench.cells.points()
    assert points.ids.tolist() == [36] and (points.y[0], points.x[0]) == (2.0, 6.0)
    assert bench.session.cells.at(bench.image_id, 2, 6) == 36


def test_merge(bench: Bench) -> None:
    bench.check(bench.session.cells.merge(bench.image_id, [1, 2]), "merge")
    assert len(bench.cells) == 34


def test_drawing_takes_free_pixels_only(bench: Bench) -> None:
    mask = np.ones((14, 14), bool)
    edit = bench.session.cells.draw(bench.image_id, Box(-2, -2, 12, 12), mask, TUMOUR)
    bench.check(edit, "draw")
    assert bench.cells.class_of([36]).tolist() == [TUMOUR] and bench.cells.is_verified([36]).all()
    with pytest.raises(InputError, match="Other cells have all"):
        bench.session.cells.draw(bench.image_id, Box(5, 5, 7, 7), np.ones((2, 2), bool), TUMOUR)


def test_reshaping(bench: Bench) -> None:
    mask: NDArray[np.bool_] = np.ones((4, 20), bool)
    edit = bench.session.cells.reshape(bench.image_id, 1, Box(4, 4, 8, 24), mask)
    bench.check(edit, "reshape")
    now = bench.cells.instances
    assert (now[4:8, 12] == 1).all() and (now[4:8, 18] == 2).all() and now[2, 6] == 0


@pytest.mark.parametrize(("act", "tool"), [("out", "grow"), ("in", "shrink")])
def test_outlines_of_chosen_and_of_all_cells(bench: Bench, act: str, tool: str) -> None:
    work = bench.session.cells
    acts = {
        "out": lambda ids: work.grow(bench.image_id, ids, 0.5),
        "in": lambda ids: work.grow(bench.image_id, ids, -0.5),
    }
    before = bench.cells.areas_px(range(1, 36))
    bench.check(acts[act]([8, 20]), tool)
    changed = np.flatnonzero(bench.cells.areas_px(range(1, 36)) != before) + 1
    assert set(changed) <= {8, 20}
    assert bench.cells.is_verified([8, 20, 9]).tolist() == [True, True, False]
    bench.session.undo(bench.image_id)
    acts[act](None)
    assert not bench.cells.is_verified(bench.cells.ids).any(), "nobody has looked at each of them"
    assert set(bench.cells.origin_of(bench.cells.ids)) == {Origin.MODEL}


def test_smoothing_a_spur_away(bench: Bench) -> None:
    spur = disks(SHAPE)[:14, :20]
    spur[6, 9:13] = 1
    bench.session.project.edit_cells(bench.image_id, Box(0, 0, 14, 20), spur, tool="test", verified=None)
    assert bench.session.cells.smooth(bench.image_id, [2]) is None
    edit = bench.session.cells.smooth(bench.image_id, None)
    assert edit is not None and edit.tool == "smooth"
    assert not (bench.cells.instances[6, 12:14] == 1).any()
    assert not bench.cells.is_verified([1]).any()


def test_less_than_a_pixel_is_refused(bench: Bench) -> None:
    with pytest.raises(InputError, match="less than a pixel"):
        bench.session.cells.grow(bench.image_id, [1], 0.2)
    assert bench.session.cells.grow(bench.image_id, [1], 0) is None


def test_holes(bench: Bench) -> None:
    ring = disks(SHAPE)[:12, :12]
    ring[5:8, 5:8] = 0
    bench.session.project.edit_cells(bench.image_id, Box(0, 0, 12, 12), ring, tool="test")
    assert bench.session.cells.fill_holes(bench.image_id, None) is not None
    np.testing.assert_array_equal(bench.cells.instances, disks(SHAPE))
    assert bench.session.cells.fill_holes(bench.image_id, None) is None


def test_small_cells_go(bench: Bench) -> None:
    area = np.sort(bench.cells.areas_px(bench.cells.ids))[10] * 0.25
    bench.check(bench.session.cells.delete_smaller(bench.image_id, area), "delete")
    assert (bench.session.cells.table(bench.image_id).area_um2 >= area).all()
    assert bench.session.cells.delete_smaller(bench.image_id, area) is None


def test_regions_become_cells_and_cells_regions(bench: Bench) -> None:
    session, image_id = bench.session, bench.image_id
    session.cells.delete(image_id, None)
    labels = np.zeros((30, 30), np.uint8)
    labels[2:10, 2:10], labels[15:25, 2:10], labels[15:25, 20:28] = 1, 1, 2
    session.record(image_id, "paint", Box(0, 0, 30, 30), labels)
    first = bench.cells.next_id
    assert session.cells.from_regions(image_id, [1, 2]) is not None
    assert bench.cells.ids.tolist() == [first, first + 1, first + 2]
    assert sorted(bench.cells.class_of(bench.cells.ids).tolist()) == [1, 1, 2]
    assert bench.cells.is_verified(bench.cells.ids).all()
    assert_consistent(bench.cells)
    with pytest.raises(InputError, match="no region"):
        session.cells.from_regions(image_id, [1])

    session.undo(image_id)
    session.undo(image_id)
    assert (session.displayed(image_id) == IGNORE).all()
    session.redo(image_id)
    session.redo(image_id)
    two = session.cells.at(image_id, 20, 24)
    session.cells.set_class(image_id, [two], 3)
    heard: list[Box] = []
    session.labels_changed.connect(lambda _id, box: heard.append(box))
    assert session.cells.to_regions(image_id, [two]) is not None
    labels[15:25, 20:28] = 3
    np.testing.assert_array_equal(session.displayed(image_id)[:30, :30], labels)
    assert heard == [Box(15, 20, 25, 28)]
    session.cells.set_class(image_id, [two], IGNORE)
    with pytest.raises(InputError, match="has a class"):
        session.cells.to_regions(image_id, [two])


def test_regions_a_model_proposed_are_no_persons_word(bench: Bench) -> None:
    project = bench.session.project
    run = project.begin_run(bench.image_id, model="unet", revision=None, box=Box.of_shape(SHAPE))
    project.propose(bench.image_id, Box(0, 0, 3, 3), np.ones((3, 3), np.uint8), run_id=run)
    bench.session.cells.from_regions(bench.image_id, [1])
    assert bench.cells.is_verified([36]).tolist() == [False]


def test_what_cannot_be_is_said(bench: Bench) -> None:
    work = bench.session.cells
    with pytest.raises(InputError, match="no cell 99"):
        work.delete(bench.image_id, [99])
    with pytest.raises(InputError):
        work.set_class(bench.image_id, [1], 77)
    with pytest.raises(InputError, match="two or more"):
        work.merge(bench.image_id, [1])
    assert bench.edits == []
    bench.session.close_project()
    with pytest.raises(ProjectError, match="No project"):
        work.at(bench.image_id, 1, 1)
