"""What kill9.py kills: each scenario says how to prepare a project, what to run, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import Edit, Patch
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.planes import CHUNK_PX, Planes
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import EPITHELIUM

SHAPE = (1400, 1800)
WHOLE = Box.of_shape(SHAPE)

Kept = tuple[Box, NDArray[np.uint8], NDArray[np.uint8]]
"""What a box held: labels and states."""


@dataclass
class Outcome:
    """What was found after one kill."""

    lost: list[str] = field(default_factory=list)
    extra: dict[str, float] = field(default_factory=dict)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.lost.append(what)


@dataclass(frozen=True)
class Scenario:
    """One kind of work to kill.

    Parameters
    ----------
    prepare : callable
        Makes the project at a path.
    command : callable
        Arguments of the process to kill, for that path. Its first line says that it has begun; a number tells how much
        it has promised so far.
    verify : callable
        Looks at an open project, given the highest number that was printed.
    longest_s : float
        The kill comes up to this long after "ready".
    """

    prepare: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    verify: Callable[[Project, int, Outcome], None]
    longest_s: float = 4.0


# painting: every row of the journal is predicted by a simple model ------------------------------------------------


def prepare(path: Path) -> None:
    with Project.create(path, EPITHELIUM) as project:
        pixels = np.zeros(SHAPE, np.uint8)
        image_id = project.add_image(image_from_array(pixels, name="tissue", mpp=0.5)).id
        run_id = project.begin_run(image_id, model="generated", revision=None, box=WHOLE)
        project.propose(image_id, WHOLE, proposal(), run_id=run_id)
        project.end_run(run_id, "done")


def proposal() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(7).integers(0, 3, (SHAPE[0] // 20, SHAPE[1] // 20), np.uint8)
    return np.kron(coarse, np.ones((20, 20), np.uint8))


def attempts(row: int) -> Iterator[tuple[str, Box, int]]:
    """Operations to try, in order, until one of them changes something and so becomes row number ``row``."""
    for attempt in itertools.count():
        rng = np.random.default_rng([row, attempt])
        y, x = (int(n) for n in rng.integers(0, (SHAPE[0] - 200, SHAPE[1] - 200)))
        height, width = (int(n) for n in rng.integers(20, 200, 2))
        kind = rng.choice(["paint", "accept", "undo", "redo"], p=[0.6, 0.1, 0.2, 0.1])
        yield str(kind), Box(y, x, y + height, x + width), int(rng.choice([0, 1, 2, 2, IGNORE]))


def child_paint(path: Path) -> None:
    print("ready", flush=True)
    with Project.open(path) as project:
        image_id = project.images[0].id
        for row in itertools.count(len(project.edits(image_id))):
            for kind, box, value in attempts(row):
                after = np.full(box.shape, value, np.uint8)
                acts: dict[str, Callable[[], Edit | None]] = {
                    "paint": partial(project.record, image_id, tool="paint", box=box, after=after),
                    "accept": partial(project.accept, image_id, box),
                    "undo": partial(project.undo, image_id),
                    "redo": partial(project.redo, image_id),
                }
                edit = acts[kind]()
                if edit is not None:
                    break
            print(row + 1, flush=True)
            project._labels.write(0.004)


class Model:
    """Labels and states as they should be after a number of rows."""

    def __init__(self) -> None:
        self.labels = np.full(SHAPE, IGNORE, np.uint8)
        self.state = np.zeros(SHAPE, np.uint8)
        self.proposal = proposal()
        self.done: list[Kept] = []
        self.undone: list[Kept] = []
        self.rows = 0

    def advance(self, rows: int) -> None:
        for row in range(self.rows, rows):
            for kind, box, value in attempts(row):
                if self.step(kind, box, value):
                    break
        self.rows = rows

    def step(self, kind: str, box: Box, value: int) -> bool:
        if kind in ("undo", "redo"):
            source, target = (self.done, self.undone) if kind == "undo" else (self.undone, self.done)
            if not source:
                return False
            box, labels, state = source.pop()
            target.append(self.swap(box, labels, state))
            return True
        labels, state = self.labels[box.slices].copy(), self.state[box.slices].copy()
        shown = np.where(state > 0, labels, self.proposal[box.slices])
        if kind == "accept":
            changed = (state == 0) & (shown != IGNORE)
            labels[changed], state[changed] = shown[changed], 2
        elif value == IGNORE:
            changed = state > 0
            labels[changed], state[changed] = IGNORE, 0
        else:
            changed = shown != value
            labels[changed], state[changed] = value, 1
        if not changed.any():
            return False
        self.done.append(self.swap(box, labels, state))
        self.undone.clear()
        return True

    def swap(self, box: Box, labels: NDArray[np.uint8], state: NDArray[np.uint8]) -> Kept:
        old = box, self.labels[box.slices].copy(), self.state[box.slices].copy()
        self.labels[box.slices], self.state[box.slices] = labels, state
        return old


_model = Model()


def verify_paint(project: Project, acknowledged: int, outcome: Outcome) -> None:
    image_id = project.images[0].id
    rows = len(project.edits(image_id))
    outcome.extra = {"rows": rows, "beyond_promise": rows - acknowledged}
    outcome.check(rows >= acknowledged, f"{acknowledged - rows} promised edits are gone")
    outcome.check(rows <= acknowledged + 1, f"{rows - acknowledged} edits came from nowhere")
    _model.advance(rows)
    planes = project.planes(image_id)
    outcome.check(bool((planes.labels == _model.labels).all()), "labels differ")
    outcome.check(bool((planes.state == _model.state).all()), "states differ")
    outcome.check(bool((planes.proposal == _model.proposal).all()), "the proposal differs")


# model output while painting --------------------------------------------------------------------------------------


def child_propose(path: Path) -> None:
    print("ready", flush=True)
    with Project.open(path) as project:
        image_id = project.images[0].id
        for generation in itertools.count(len(project.runs())):
            run_id = project.begin_run(image_id, model="unet", revision=None, box=WHOLE)
            for tile in WHOLE.tiles(CHUNK_PX):
                value = generation % 3
                project.propose(image_id, tile, np.full(tile.shape, value, np.uint8), run_id=run_id)
                box = Box(tile.y0 + 5, tile.x0 + 5, tile.y0 + 90, tile.x0 + 120)
                edit = project.record(
                    image_id, tool="paint", box=box, after=np.full(box.shape, (value + 1) % 3, np.uint8)
                )
                if edit is not None:
                    print(edit.seq, flush=True)
                project._labels.write(0.004)
            project.end_run(run_id, "done")


def verify_journal(project: Project, acknowledged: int, outcome: Outcome) -> None:
    """Every promised edit is there, at most one more, and the planes are what the journal says."""
    entry = project.images[0]
    edits = project.edits(entry.id)
    last = max((edit.seq for edit in edits), default=0)
    outcome.extra = {"rows": len(edits), "beyond_promise": max(0, last - acknowledged) if acknowledged else 0}
    outcome.check(last >= acknowledged, f"{acknowledged - last} promised edits are gone")
    outcome.check(outcome.extra["beyond_promise"] <= 1, "edits came from nowhere")
    replayed = Planes.empty(entry.shape)
    for edit in edits:
        if isinstance(edit.patch, Patch):
            replayed.apply(edit.patch)
    planes = project.planes(entry.id)
    outcome.check(bool((planes.labels == replayed.labels).all()), "checkpoint and journal differ in labels")
    outcome.check(bool((planes.state == replayed.state).all()), "checkpoint and journal differ in states")
    outcome.check(all(run.state != "running" for run in project.runs()), "a dead run is called running")


def verify_propose(project: Project, acknowledged: int, outcome: Outcome) -> None:
    verify_journal(project, acknowledged, outcome)
    planes = project.planes(project.images[0].id)
    first_run = proposal()
    for tile in WHOLE.tiles(CHUNK_PX):
        part = planes.proposal[tile.slices]
        is_whole = part.min() == part.max() or bool((part == first_run[tile.slices]).all())
        outcome.check(bool(is_whole), f"half a tile of model output in {tile}")


# new revisions ----------------------------------------------------------------------------------------------------


def child_publish(path: Path) -> None:
    print("ready", flush=True)
    with Project.open(path) as project:
        for number in itertools.count():
            content = np.random.default_rng(number).bytes(2_000_000)
            revision = project.revisions.publish(
                "unet",
                partial(_write_weights, content),
                {"verdict": "promoted", "sha256": hashlib.sha256(content).hexdigest()},
            )
            project.revisions.activate("unet", revision.id)
            print(int(revision.id[1:]), flush=True)


def _write_weights(content: bytes, folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(content)


def verify_publish(project: Project, acknowledged: int, outcome: Outcome) -> None:
    revisions = project.revisions.list("unet")
    outcome.extra = {"rows": len(revisions), "beyond_promise": len(revisions) - acknowledged}
    outcome.check(len(revisions) >= acknowledged, "a published revision is gone")
    for revision in revisions[-3:]:
        content = (revision.folder / "weights.safetensors").read_bytes()
        outcome.check(hashlib.sha256(content).hexdigest() == revision.card["sha256"], f"{revision.id} is not whole")
    active = project.revisions.active("unet")
    outcome.check(acknowledged == 0 or active is not None, "no revision is active")
    outcome.check(active is None or int(active[1:]) >= acknowledged, "an older revision is active")


# the product's own runs -----------------------------------------------------------------------------------------------


def prepare_tissue(path: Path) -> None:
    """Real tissue with strokes of all classes, and a starter model that is remembered."""
    from napari_histoseg.samples.immunohistochemistry import open_sample

    sample = open_sample()
    pixels = sample.read(0, Box.of_shape(sample.shape))
    rng = np.random.default_rng(3)
    with Project.create(path, EPITHELIUM) as project:
        image_id = project.add_image(image_from_array(pixels, name="tissue", mpp=0.5)).id
        for number in range(24):
            y, x = (int(n) for n in rng.integers(0, 430, 2))
            box = Box(y, x, y + 80, x + 80)
            project.record(image_id, tool="paint", box=box, after=np.full(box.shape, number % 3, np.uint8))


def child_predict(path: Path) -> None:
    """Segment again and again, and paint meanwhile, as a window would."""
    import psygnal

    from napari_histoseg.session import Session

    session = Session(device="cpu")
    print("ready", flush=True)
    project = session.open_project(path)
    image_id = project.images[0].id
    for number in itertools.count(len(project.edits(image_id))):
        if not session.is_running("predict"):
            session.segment(image_id, Box(100, 100, 400, 400))
        rng = np.random.default_rng(number)
        y, x = (int(n) for n in rng.integers(0, 470, 2))
        edit = session.record(image_id, "paint", Box(y, x, y + 40, x + 40), np.full((40, 40), number % 3, np.uint8))
        if edit is not None:
            print(edit.seq, flush=True)
        for _ in range(10):
            psygnal.emit_queued()
            session.save()
            time.sleep(0.02)


def verify_predict(project: Project, acknowledged: int, outcome: Outcome) -> None:
    verify_journal(project, acknowledged, outcome)
    values = set(np.unique(project.planes(project.images[0].id).proposal).tolist())
    outcome.check(values <= {*project.schema.ids, IGNORE}, f"the proposal holds {values}")
    outcome.extra["proposed"] = float((project.planes(project.images[0].id).proposal != IGNORE).mean())


def child_finetune(path: Path) -> None:
    """Retrain again and again by the command; the first round, with all its imports, comes before "ready"."""
    from napari_histoseg.cli import main

    arguments = ["finetune", str(path), "--model", "unet", "--steps", "2", "--batch-size", "1", "--device", "cpu"]
    for seed in itertools.count():
        if main([*arguments, "--seed", str(seed), "--max-change", "1", "--tolerance", "1"]) != 0:
            raise SystemExit("the retrain failed")
        print(len(list((path / "revisions").glob("r*"))), flush=True)


def verify_finetune(project: Project, acknowledged: int, outcome: Outcome) -> None:
    from napari_histoseg.models.weights import load_state, read_weights
    from napari_histoseg.session.choosing import remembered_model

    revisions = project.revisions.list("unet")
    outcome.extra = {"rows": len(revisions), "beyond_promise": len(revisions) - acknowledged}
    outcome.check(len(revisions) >= acknowledged, f"{acknowledged - len(revisions)} revisions are gone")
    for revision in revisions[-2:]:
        load_state(read_weights(revision.folder / "weights.safetensors"))
    model = remembered_model(project)
    if model is not None:
        load_state(model.weights)
    outcome.check(acknowledged == 0 or model is not None, "no model is active")
    folders = {path.name for path in (project.path / "revisions").iterdir()} if revisions else set()
    outcome.check(folders - {"active.json"} == {r.id for r in revisions}, f"something unfinished lies in {folders}")
    outcome.check(project.edit_count(project.images[0].id) == 24, "edits were touched")


def own_child(name: str) -> Callable[[Path], list[str]]:
    return lambda path: [sys.executable, "-m", "benchmarks.kill9", "--child", name, str(path)]


SCENARIOS = {
    "paint": Scenario(prepare, own_child("paint"), verify_paint),
    "propose": Scenario(prepare, own_child("propose"), verify_propose),
    "publish": Scenario(prepare, own_child("publish"), verify_publish),
    "predict": Scenario(prepare_tissue, own_child("predict"), verify_predict, longest_s=15),
    "finetune": Scenario(prepare_tissue, own_child("finetune"), verify_finetune, longest_s=40),
}
CHILDREN = {
    "paint": child_paint,
    "propose": child_propose,
    "publish": child_publish,
    "predict": child_predict,
    "finetune": child_finetune,
}
