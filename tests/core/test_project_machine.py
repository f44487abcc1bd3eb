"""The project against a model so simple that it is obviously right."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_histoseg.core import checkpoint, planes
from napari_histoseg.core.box import Box
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import EPITHELIUM

SHAPE = (21, 26)
CHUNK_PX = 8

boxes = st.builds(
    lambda y0, x0, h, w: Box(y0, x0, min(SHAPE[0], y0 + h), min(SHAPE[1], x0 + w)),
    st.integers(0, SHAPE[0] - 1),
    st.integers(0, SHAPE[1] - 1),
    st.integers(1, SHAPE[0]),
    st.integers(1, SHAPE[1]),
)
seeds = st.integers(0, 2**16)


def noise(seed: int, box: Box) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 2, 2, IGNORE], np.uint8), box.shape)


class ProjectMachine(RuleBasedStateMachine):
    @initialize()
    def create(self) -> None:
        self.chunk_px = planes.CHUNK_PX
        planes.CHUNK_PX = checkpoint.CHUNK_PX = CHUNK_PX
        self.folder = Path(tempfile.mkdtemp())
        self.project = Project.create(self.folder / "p", EPITHELIUM)
        self.image_id = self.project.add_image(image_from_array(np.zeros(SHAPE, np.uint8), name="p", path="p")).id
        self.run_id = self.project.begin_run(self.image_id, model="m", revision=None, box=Box.of_shape(SHAPE))
        self.proposal = np.full(SHAPE, IGNORE, np.uint8)
        self.labels = np.full(SHAPE, IGNORE, np.uint8)
        self.state = np.zeros(SHAPE, np.uint8)
        self.done: list[tuple[np.ndarray, np.ndarray]] = []
        self.undone: list[tuple[np.ndarray, np.ndarray]] = []

    def shown(self) -> np.ndarray:
        return np.where(self.state > 0, self.labels, self.proposal)

    def commit(self, labels: np.ndarray, state: np.ndarray, edit: object) -> None:
        is_same = (labels == self.labels).all() and (state == self.state).all()
        assert (edit is None) == bool(is_same)
        if not is_same:
            self.done.append((self.labels, self.state))
            self.undone.clear()
            self.labels, self.state = labels, state

    @rule(box=boxes, seed=seeds)
    def record(self, box: Box, seed: int) -> None:
        after = noise(seed, box)
        labels, state, shown = self.labels.copy(), self.state.copy(), self.shown()
        for y in range(box.y0, box.y1):
            for x in range(box.x0, box.x1):
                value = after[y - box.y0, x - box.x0]
                if value != shown[y, x]:
                    labels[y, x], state[y, x] = value, 0 if value == IGNORE else 1
        self.commit(labels, state, self.project.record(self.image_id, tool="paint", box=box, after=after))

    @rule(box=boxes)
    def accept(self, box: Box) -> None:
        labels, state, shown = self.labels.copy(), self.state.copy(), self.shown()
        for y in range(box.y0, box.y1):
            for x in range(box.x0, box.x1):
                if state[y, x] == 0 and shown[y, x] != IGNORE:
                    labels[y, x], state[y, x] = shown[y, x], 2
        self.commit(labels, state, self.project.accept(self.image_id, box))

    @rule(seed=seeds)
    def import_labels(self, seed: int) -> None:
        new = noise(seed, Box.of_shape(SHAPE))
        labels = np.where(new == IGNORE, self.labels, new)
        state = np.where(new == IGNORE, self.state, 2).astype(np.uint8)
        self.commit(labels, state, self.project.import_labels(self.image_id, new, verified=True))

    @rule(box=boxes, seed=seeds)
    def propose(self, box: Box, seed: int) -> None:
        self.proposal[box.slices] = noise(seed, box)
        self.project.propose(self.image_id, box, noise(seed, box), run_id=self.run_id)

    @rule()
    def undo(self) -> None:
        edit = self.project.undo(self.image_id)
        assert (edit is not None) == bool(self.done)
        if self.done:
            self.undone.append((self.labels, self.state))
            self.labels, self.state = self.done.pop()

    @rule()
    def redo(self) -> None:
        edit = self.project.redo(self.image_id)
        assert (edit is not None) == bool(self.undone)
        if self.undone:
            self.done.append((self.labels, self.state))
            self.labels, self.state = self.undone.pop()

    @rule(calls=st.integers(1, 6))
    def checkpoint_partly(self, calls: int) -> None:
        for _ in range(calls):
            self.project._labels.write(0.0)

    @rule()
    def reopen(self) -> None:
        self.project.close()
        self.project = Project.open(self.folder / "p")
        assert self.project.notes == ()

    @precondition(lambda self: self.done or self.undone)
    @rule()
    def crash(self) -> None:
        """Memory is gone and nothing was closed; model output may be as old as its last checkpoint."""
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "p", copy)
        self.project.close()
        shutil.rmtree(self.folder / "p")
        copy.rename(self.folder / "p")
        self.project = Project.open(self.folder / "p")
        assert self.project.notes == ()
        self.proposal = self.project.planes(self.image_id).proposal.copy()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "project"):
            return
        held = self.project.planes(self.image_id)
        np.testing.assert_array_equal(held.labels, self.labels)
        np.testing.assert_array_equal(held.state, self.state)
        np.testing.assert_array_equal(held.proposal, self.proposal)
        np.testing.assert_array_equal(held.displayed(), self.shown())
        np.testing.assert_array_equal(held.shown_pixels, np.bincount(self.shown().ravel(), minlength=256))
        edited = np.bincount(self.labels[self.state == 1], minlength=256)
        np.testing.assert_array_equal(held.edited_pixels, edited)
        assert self.project.edit_count(self.image_id) == len(self.done)
        assert self.project.can_redo(self.image_id) == bool(self.undone)

    def teardown(self) -> None:
        planes.CHUNK_PX = checkpoint.CHUNK_PX = self.chunk_px
        self.project.close()
        shutil.rmtree(self.folder)


TestProjectMachine = ProjectMachine.TestCase
TestProjectMachine.settings = settings(
    max_examples=8, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
