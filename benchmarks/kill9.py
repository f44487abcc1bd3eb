"""Kill a working process with SIGKILL at random moments and see what is left of its project.

    python benchmarks/kill9.py [--kills 30] [--scenarios paint,propose,publish] [--seed 0] [--folder DIR]

Each scenario is a row of ``SCENARIOS``: how to prepare a project, what to run, and what must hold afterwards. All
kills of a scenario hit the same project one after the other. The child reports what was promised to the person
(``acknowledged``: calls that have returned) line by line; a lost promise or a project that does not open is a failure.
Prints one JSON object and exits with 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.planes import CHUNK_PX, Planes
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import EPITHELIUM

SHAPE = (1400, 1800)
WHOLE = Box.of_shape(SHAPE)
LONGEST_S = 4.0


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
        Arguments of the process to kill, for that path. It prints "ready" when it begins and may print a number for
        everything it has promised so far.
    verify : callable
        Looks at an open project, given the highest number that was printed.
    longest_s : float
        The kill comes up to this long after "ready".
    """

    prepare: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    verify: Callable[[Project, int, Outcome], None]
    longest_s: float = LONGEST_S


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


def attempts(row: int):
    """Operations to try, in order, until one of them changes something and so becomes row number ``row``."""
    for attempt in itertools.count():
        rng = np.random.default_rng([row, attempt])
        y, x = (int(n) for n in rng.integers(0, (SHAPE[0] - 200, SHAPE[1] - 200)))
        height, width = (int(n) for n in rng.integers(20, 200, 2))
        kind = rng.choice(["paint", "accept", "undo", "redo"], p=[0.6, 0.1, 0.2, 0.1])
        yield str(kind), Box(y, x, y + height, x + width), int(rng.choice([0, 1, 2, 2, IGNORE]))


def child_paint(path: Path) -> None:
    with Project.open(path) as project:
        image_id = project.images[0].id
        for row in itertools.count(len(project.edits(image_id))):
            for kind, box, value in attempts(row):
                after = np.full(box.shape, value, np.uint8)
                edit = {
                    "paint": lambda box=box, after=after: project.record(image_id, tool="paint", box=box, after=after),
                    "accept": lambda box=box: project.accept(image_id, box),
                    "undo": lambda: project.undo(image_id),
                    "redo": lambda: project.redo(image_id),
                }[kind]()
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
        self.done: list[tuple[Box, NDArray[np.uint8], NDArray[np.uint8]]] = []
        self.undone: list[tuple[Box, NDArray[np.uint8], NDArray[np.uint8]]] = []
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

    def swap(self, box: Box, labels: NDArray[np.uint8], state: NDArray[np.uint8]):
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


def verify_propose(project: Project, acknowledged: int, outcome: Outcome) -> None:
    entry = project.images[0]
    seqs = [edit.seq for edit in project.edits(entry.id)]
    last = max(seqs, default=0)
    outcome.extra = {"rows": len(seqs), "beyond_promise": last - acknowledged}
    outcome.check(last >= acknowledged, f"{acknowledged - last} promised edits are gone")
    outcome.check(last <= acknowledged + 1, "edits came from nowhere")
    replayed = Planes.empty(entry.shape)
    for edit in project.edits(entry.id):
        replayed.apply(edit.patch)
    planes = project.planes(entry.id)
    outcome.check(bool((planes.labels == replayed.labels).all()), "checkpoint and journal differ in labels")
    outcome.check(bool((planes.state == replayed.state).all()), "checkpoint and journal differ in states")
    first_run = proposal()
    for tile in WHOLE.tiles(CHUNK_PX):
        part = planes.proposal[tile.slices]
        is_whole = part.min() == part.max() or bool((part == first_run[tile.slices]).all())
        outcome.check(bool(is_whole), f"half a tile of model output in {tile}")
    outcome.check(all(run.state != "running" for run in project.runs()), "a dead run is called running")


# new revisions ----------------------------------------------------------------------------------------------------


def child_publish(path: Path) -> None:
    with Project.open(path) as project:
        for number in itertools.count():
            content = np.random.default_rng(number).bytes(2_000_000)
            revision = project.revisions.publish(
                "unet",
                lambda folder, content=content: (folder / "weights.safetensors").write_bytes(content) and None,
                {"verdict": "promoted", "sha256": hashlib.sha256(content).hexdigest()},
            )
            project.revisions.activate("unet", revision.id)
            print(int(revision.id[1:]), flush=True)


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


def own_child(name: str) -> Callable[[Path], list[str]]:
    return lambda path: [sys.executable, __file__, "--child", name, str(path)]


SCENARIOS = {
    "paint": Scenario(prepare, own_child("paint"), verify_paint),
    "propose": Scenario(prepare, own_child("propose"), verify_propose),
    "publish": Scenario(prepare, own_child("publish"), verify_publish),
}
CHILDREN = {"paint": child_paint, "propose": child_propose, "publish": child_publish}


def kill_once(scenario: Scenario, path: Path, acknowledged: int, rng: np.random.Generator) -> tuple[Outcome, int]:
    """Run the scenario's process, kill it, reopen the project; returns what was found and promised."""
    promised = [acknowledged]
    ready = threading.Event()
    with subprocess.Popen(scenario.command(path), stdout=subprocess.PIPE, text=True) as child:

        def listen() -> None:
            for line in child.stdout or ():
                ready.set()
                if line.strip().isdigit():
                    promised[0] = int(line)

        listener = threading.Thread(target=listen)
        listener.start()
        ready.wait(60)
        time.sleep(rng.uniform(0, scenario.longest_s))
        outcome = Outcome()
        outcome.check(child.poll() is None, f"the process ended by itself with {child.returncode}")
        os.kill(child.pid, signal.SIGKILL)
        listener.join()
    begin = time.perf_counter()
    with Project.open(path) as project:
        project.planes(project.images[0].id)
        seconds = time.perf_counter() - begin
        outcome.check(project.notes == (), f"repairs were needed: {project.notes}")
        scenario.verify(project, promised[0], outcome)
    outcome.extra["reopen_s"] = round(seconds, 3)
    return outcome, promised[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="over all scenarios")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--child", nargs=2, metavar=("NAME", "PROJECT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print("ready", flush=True)
        CHILDREN[arguments.child[0]](Path(arguments.child[1]))
        return 0
    rng = np.random.default_rng(arguments.seed)
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    names = arguments.scenarios.split(",")
    for name in names:
        SCENARIOS[name].prepare(folder / name)
    acknowledged = dict.fromkeys(names, 0)
    report: dict[str, list[Outcome]] = {name: [] for name in names}
    for name in itertools.islice(itertools.cycle(names), arguments.kills):
        outcome, acknowledged[name] = kill_once(SCENARIOS[name], folder / name, acknowledged[name], rng)
        # What was written but not yet reported when the kill came is promised from now on: a person sees it.
        acknowledged[name] += int(max(0, outcome.extra.get("beyond_promise", 0)))
        report[name].append(outcome)
    shutil.rmtree(folder)
    print(json.dumps({name: summary(outcomes) for name, outcomes in report.items()}, indent=2))
    return int(any(outcome.lost for outcomes in report.values() for outcome in outcomes))


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    return {
        "kills": len(outcomes),
        "reopened_whole": sum(not outcome.lost for outcome in outcomes),
        "lost": [what for outcome in outcomes for what in outcome.lost],
        "rows": max((outcome.extra["rows"] for outcome in outcomes), default=0),
        "unreported_but_kept": sum(outcome.extra["beyond_promise"] > 0 for outcome in outcomes),
        "reopen_s_max": max((outcome.extra["reopen_s"] for outcome in outcomes), default=0),
    }


if __name__ == "__main__":
    raise SystemExit(main())
