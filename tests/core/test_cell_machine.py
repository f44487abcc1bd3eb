"""Cells and strokes in one project, in any order: what was taken back and done again is the same bit for bit."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
from cell_pictures import SHAPE, assert_consistent, disks, hurried, new_project
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from napari_histoseg.core import cell_outlines, cell_plane, checkpoint, planes, recent
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import ROW, Origin
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE

WHOLE = Box.of_shape(SHAPE)
SMALL = {
    (planes, "CHUNK_PX"): 16,
    (checkpoint, "CHUNK_PX"): 16,
    (cell_plane, "_LARGE_PX"): 40,  # such patches are taken back from a copy
    (cell_plane, "_MOST_KEPT_PX"): 9000,
    (recent, "_MOST_BYTES"): 20_000,  # and older ones are read from the journal
}
"""So that a small image goes the ways of a large one."""

SHAPING = ["grow", "shrink", "smooth", "fill"]

seeds = st.integers(0, 2**16)
boxes = st.builds(
    lambda y0, x0, h, w: Box(y0, x0, min(SHAPE[0], y0 + h), min(SHAPE[1], x0 + w)),
    st.integers(0, SHAPE[0] - 1),
    st.integers(0, SHAPE[1] - 1),
    st.integers(1, 30),
    st.integers(1, 30),
)


class CellMachine(RuleBasedStateMachine):
    @initialize()
    def create(self) -> None:
        self.large = {(where, name): getattr(where, name) for where, name in SMALL}
        self.set(SMALL)
        self.folder = Path(tempfile.mkdtemp())
        self.project, self.image_id = new_project(self.folder / "p")
        hurried(self.project)
        self.done: list[bytes] = []
        self.undone: list[bytes] = []
        self.now = self.start = self.state()
        self.next_id = 1

    def set(self, values: dict[tuple[ModuleType, str], int]) -> None:
        for (where, name), value in values.items():
            setattr(where, name, value)

    def state(self) -> bytes:
        held, cells = self.project.planes(self.image_id), self.project.cells(self.image_id)
        table = np.rec.fromarrays([cells.ids, *(cells.rows(cells.ids)[name] for name in ROW.names)])
        return b"|".join(array.tobytes() for array in (held.labels, held.state, cells.instances, table))

    def commit(self, edit: object) -> None:
        after = self.state()
        assert (edit is None) == (after == self.now)
        if edit is not None:
            self.done.append(self.now)
            self.undone.clear()
            self.now = after

    def some(self, seed: int, most: int) -> np.ndarray:
        ids = self.project.cells(self.image_id).ids
        return np.random.default_rng(seed).choice(ids, min(most, len(ids)), replace=False)

    @rule(box=boxes, seed=seeds)
    def stroke(self, box: Box, seed: int) -> None:
        after = np.random.default_rng(seed).choice(np.array([0, 1, 2, IGNORE], np.uint8), box.shape)
        self.commit(self.project.record(self.image_id, tool="paint", box=box, after=after))

    @rule(seed=seeds, most=st.integers(1, 5), class_id=st.sampled_from([0, 1, 2, 3, IGNORE]))
    def set_class(self, seed: int, most: int, class_id: int) -> None:
        chosen = self.some(seed, most)
        self.commit(self.project.set_class(self.image_id, chosen, class_id) if len(chosen) else None)
        assert (self.project.cells(self.image_id).class_of(chosen) == class_id).all()

    @rule(seed=seeds, most=st.integers(1, 5))
    def verify(self, seed: int, most: int) -> None:
        chosen = self.some(seed, most)
        self.commit(self.project.verify_cells(self.image_id, chosen) if len(chosen) else None)

    @rule(box=boxes, seed=seeds)
    def draw(self, box: Box, seed: int) -> None:
        cells = self.project.cells(self.image_id)
        numbers = np.array([0, cells.next_id, cells.next_id + 1, *self.some(seed, 2)])
        rng = np.random.default_rng(seed)
        after = np.where(rng.random(box.shape) < 0.6, rng.choice(numbers, box.shape), cells.instances[box.slices])
        classes = {int(number): int(rng.integers(0, 4)) for number in np.unique(after[after >= cells.next_id])}
        expected = cells.instances.copy()
        expected[box.slices] = after
        self.commit(self.project.edit_cells(self.image_id, box, after, tool="draw", classes=classes))
        np.testing.assert_array_equal(cells.instances, expected)

    @rule(seed=seeds, radius=st.integers(1, 6), takes=st.booleans())
    def place_point(self, seed: int, radius: int, takes: bool) -> None:
        """A cell grows around a new point: over what is there, or only where nothing is."""
        cells, rng = self.project.cells(self.image_id), np.random.default_rng(seed)
        y, x = (float(np.float32(rng.uniform(0, side - 1))) for side in SHAPE)
        box = Box(round(y) - radius, round(x) - radius, round(y) + radius + 1, round(x) + radius + 1).clip(SHAPE)
        rows, columns = np.mgrid[box.slices]
        held = cells.instances[box.slices]
        after = np.where((np.hypot(rows - y, columns - x) <= radius) & (takes | (held == 0)), cells.next_id, held)
        if (after == held).all():
            return
        number, class_id = cells.next_id, int(rng.integers(0, 4))
        others = np.setdiff1d(cells.ids, held)
        before = cells.rows(others)
        edit = self.project.edit_cells(
            self.image_id, box, after, tool="point", classes={number: class_id}, points={number: (y, x)},
            origin=Origin.POINT, verified=None,
        )  # fmt: skip
        self.commit(edit)
        assert cells.rows([number]).tolist() == [(class_id, Origin.POINT, 0, 1.0, y, x)]
        assert number in cells.points(Box(round(y), round(x), round(y) + 1, round(x) + 1)).ids
        np.testing.assert_array_equal(cells.rows(others), before)

    @rule(seed=seeds, most=st.integers(1, 4), goes=st.booleans())
    def move_points(self, seed: int, most: int, goes: bool) -> None:
        """Cells keep their outlines, origin and word while points are set, moved or taken away."""
        cells, rng = self.project.cells(self.image_id), np.random.default_rng(seed)
        chosen = self.some(seed, most)
        if not len(chosen):
            return
        places = rng.uniform(0, 59, (len(chosen), 2)).astype(np.float32).astype(np.float64)
        points = {int(k): None if goes else (y, x) for k, (y, x) in zip(chosen, places.tolist(), strict=True)}
        before, corner = cells.rows(chosen), Box(0, 0, 1, 1)
        as_it_is = cells.instances[corner.slices].copy()
        self.commit(
            self.project.edit_cells(
                self.image_id, corner, as_it_is, tool="point", points=points, origin=None, verified=None
            )
        )
        after = cells.rows(chosen)
        for name in ("class_id", "origin", "verified", "score"):
            np.testing.assert_array_equal(after[name], before[name])
        np.testing.assert_array_equal(np.stack([after["point_y"], after["point_x"]], 1), -1 if goes else places)

    @rule(seed=seeds, most=st.integers(1, 4), act=st.sampled_from(SHAPING))
    def reshape(self, seed: int, most: int, act: str) -> None:
        cells, chosen = self.project.cells(self.image_id), self.some(seed, most)
        boxes = {int(k): Box(*corners) for k, corners in zip(chosen, cells.boxes(chosen).tolist(), strict=True)}
        after = {
            "grow": lambda: cell_outlines.grow(cells.instances, chosen, 2.0),
            "shrink": lambda: cell_outlines.shrink(cells.instances, chosen, 1.0),
            "smooth": lambda: cell_outlines.smooth(cells.instances, boxes, 1.0),
            "fill": lambda: cell_outlines.fill_holes(cells.instances, boxes),
        }[act]()
        others = np.isin(cells.instances, np.append(chosen, 0), invert=True)
        before = np.where(others, cells.instances, 0)
        self.commit(self.project.edit_cells(self.image_id, WHOLE, after, tool=act, origin=None, verified=None))
        np.testing.assert_array_equal(np.where(others, cells.instances, 0), before)

    @rule(seed=seeds, most=st.integers(1, 4))
    def delete(self, seed: int, most: int) -> None:
        chosen = self.some(seed, most)
        expected = self.project.cells(self.image_id).instances.copy()
        expected[np.isin(expected, chosen)] = 0
        self.commit(self.project.delete_cells(self.image_id, chosen))
        np.testing.assert_array_equal(self.project.cells(self.image_id).instances, expected)

    @rule(seed=seeds)
    def merge(self, seed: int) -> None:
        chosen = self.some(seed, 3)
        if len(chosen) > 1:
            count = len(self.project.cells(self.image_id))
            self.commit(self.project.merge_cells(self.image_id, chosen))
            assert len(self.project.cells(self.image_id)) == count - len(chosen) + 1

    @rule(seed=seeds, by_line=st.booleans())
    def split(self, seed: int, by_line: bool) -> None:
        chosen = self.some(seed, 1)
        if not len(chosen):
            return
        cells = self.project.cells(self.image_id)
        before = cells.instances == chosen[0]
        y0, x0, y1, x1 = cells.boxes(chosen)[0]
        ends = [(y0 - 1, (x0 + x1) / 2), (y1 + 1, (x0 + x1) / 2)] if by_line else np.argwhere(before)[[0, -1]]
        cut = self.project.split_cells if by_line else self.project.split_cells_at
        try:
            self.commit(cut(self.image_id, int(chosen[0]), ends))
        except InputError:
            return
        parts = np.unique(cells.instances[before])
        assert len(parts) > 1 and len(set(cells.class_of(parts).tolist())) == 1 and parts[0] == chosen[0]

    @rule(seed=seeds, verified=st.booleans(), origin=st.sampled_from(Origin))
    def replace(self, seed: int, verified: bool, origin: Origin) -> None:
        rng = np.random.default_rng(seed)
        found = np.roll(disks(step=int(rng.integers(8, 16))), rng.integers(0, 9, 2), (0, 1))
        classes = {number: int(rng.integers(0, 4)) for number in range(1, int(found.max()) + 1)}
        points = {n: (float(n % 60), n * 0.5) for n in classes} if origin is Origin.POINT else None
        cells = self.project.cells(self.image_id)
        kept = cells.persons_ids
        before, was = cells.rows(kept), np.isin(cells.instances, kept)
        edit = self.project.replace_cells(
            self.image_id,
            found,
            classes,
            tool="model",
            origin=origin,
            verified=verified,
            scores={1: 0.1},
            points=points,
        )
        self.commit(edit)
        if not verified:
            np.testing.assert_array_equal(cells.rows(kept), before)
            np.testing.assert_array_equal(np.isin(cells.instances, kept), was)

    @rule()
    def undo(self) -> None:
        edit = self.project.undo(self.image_id)
        assert (edit is not None) == bool(self.done)
        if self.done:
            self.undone.append(self.now)
            self.now = self.done.pop()

    @rule()
    def redo(self) -> None:
        edit = self.project.redo(self.image_id)
        assert (edit is not None) == bool(self.undone)
        if self.undone:
            self.done.append(self.now)
            self.now = self.undone.pop()

    @rule(calls=st.integers(1, 6))
    def checkpoint_partly(self, calls: int) -> None:
        for _ in range(calls):
            self.project._labels.write(0.0)

    @rule(is_closed=st.booleans())
    def reopen(self, is_closed: bool) -> None:
        """The program ends in order, or it is killed and only what it wrote is there."""
        if is_closed:
            self.project.close()
        shutil.copytree(self.folder / "p", self.folder / "copy")
        self.project.close()
        shutil.rmtree(self.folder / "p")
        (self.folder / "copy").rename(self.folder / "p")
        self.project = Project.open(self.folder / "p")
        hurried(self.project)
        assert self.project.notes == ()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "project"):
            return
        assert self.state() == self.now
        cells = self.project.cells(self.image_id)
        assert cells.next_id >= self.next_id, "numbers are not used twice"
        self.next_id = cells.next_id
        assert self.project.edit_count(self.image_id) == len(self.done)
        assert self.project.can_redo(self.image_id) == bool(self.undone)

    def teardown(self) -> None:
        if not hasattr(self, "project"):
            return
        assert_consistent(self.project.cells(self.image_id))
        while self.project.redo(self.image_id):
            pass
        end = self.state()
        steps = 0
        while self.project.undo(self.image_id):
            steps += 1
        assert self.state() == self.start and steps == len(self.done) + len(self.undone)
        assert_consistent(self.project.cells(self.image_id))
        self.reopen(True)
        assert self.state() == self.start
        while self.project.redo(self.image_id):
            pass
        assert self.state() == end
        self.set(self.large)
        self.project.close()
        shutil.rmtree(self.folder)


def test_any_order_of_acts() -> None:
    few = settings(max_examples=5, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(CellMachine, settings=few)


def test_a_thousand_acts() -> None:
    rng = np.random.default_rng(0)
    machine = CellMachine()
    machine.create()
    shares = {
        "stroke": 0.12, "set_class": 0.12, "verify": 0.05, "draw": 0.1, "place_point": 0.16, "move_points": 0.06,
        "reshape": 0.08, "delete": 0.03, "merge": 0.03, "split": 0.05, "replace": 0.03, "undo": 0.1, "redo": 0.06,
        "reopen": 0.01,
    }  # fmt: skip
    most_undone = most_points = 0
    for kind in rng.choice(list(shares), 1000, p=list(shares.values())):
        y, x = (int(rng.integers(0, side - 1)) for side in SHAPE)
        box = Box(y, x, y + int(rng.integers(1, 20)), x + int(rng.integers(1, 20))).clip(SHAPE)
        some, most = int(rng.integers(1 << 30)), int(rng.integers(1, 6))
        {
            "stroke": lambda box=box, some=some: machine.stroke(box, some),
            "set_class": lambda some=some, most=most: machine.set_class(some, most, int(rng.integers(0, 4))),
            "verify": lambda some=some, most=most: machine.verify(some, most),
            "draw": lambda box=box, some=some: machine.draw(box, some),
            "place_point": lambda some=some, most=most: machine.place_point(some, most, bool(some % 2)),
            "move_points": lambda some=some, most=most: machine.move_points(some, most, some % 3 == 0),
            "reshape": lambda some=some, most=most: machine.reshape(some, most, SHAPING[some % 4]),
            "delete": lambda some=some, most=most: machine.delete(some, most),
            "merge": lambda some=some: machine.merge(some),
            "split": lambda some=some: machine.split(some, bool(some % 2)),
            "replace": lambda some=some: machine.replace(some, some % 3 == 0, Origin(some % 4)),
            "undo": machine.undo,
            "redo": machine.redo,
            "reopen": lambda some=some: machine.reopen(bool(some % 2)),
        }[str(kind)]()
        machine.agrees()
        most_undone = max(most_undone, len(machine.undone))
        most_points = max(most_points, len(machine.project.cells(machine.image_id).points()))
    assert len(machine.done) > 400 and most_undone > 1 and most_points > 10
    assert len(machine.project.cells(machine.image_id)) > 10
    machine.teardown()
