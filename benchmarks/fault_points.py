"""Kill a working process at each of its writes, one after the other, and see what is left of its project.

    python -m benchmarks.fault_points [--every 1] [--scenarios work,begin,migrate,points,compact] [--folder DIR]

Where kill9.py kills at random moments, this kills before every single call that changes a file (write, fsync, rename,
unlink, ...; those of SQLite, too), and in the middle of every write. A library in C, built with ``cc`` and put in
front of the C library (Linux), counts the calls. After each kill the project must open without repairs, hold every act
that was reported as done and at most the one in flight, and take back and do again all of its history bit for bit, as
far as that was not compacted. Prints one JSON object and exits with 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import zarr  # noqa: F401 - once, before the processes part

from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import CELLULARITY

SHAPE = (96, 128)
ARMED = "HISTOSEG_FAULT_LIBRARY"


def disks(step: int) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.hypot(y % step - step / 2, x % step - step / 2) < 0.4 * step
    return np.where(inside, y // step * 100 + x // step + 1, 0)


def acts(project: Project) -> Iterator[None]:
    """The work that is killed: one row of the journal at each yield, written back little by little in between."""
    image_id = project.images[0].id
    cells = project.cells(image_id)
    for number in range(2):
        chosen = [int(k) for k in cells.ids[number * 5 : number * 5 + 5]]
        project.set_class(image_id, chosen[:1], 2 + number)
        yield
        stroke = np.full((20, 30), 1 + number, np.uint8)
        project.record(image_id, tool="paint", box=Box(number, 5, 20 + number, 35), after=stroke)
        yield
        x, (y0, _, y1, _) = cells.centroids(chosen[1])[0, 1], cells.boxes(chosen[1])[0]
        project.split_cells(image_id, chosen[1], [(y0 - 2, x), (y1 + 2, x)])
        yield
        project._labels.write(0.0)
        project.merge_cells(image_id, chosen[2:4])
        yield
        project.undo(image_id)
        yield
        project._labels.write(0.0)
        project.redo(image_id)
        yield
        project.delete_cells(image_id, chosen[4:])
        yield
        project.checkpoint()
        found = disks(16 + number)
        project.replace_cells(image_id, found, {int(found.max()): 3}, tool="model", origin=Origin.MODEL)
        yield
        if project.verify_cells(image_id, cells.ids[7 * number : 7 * number + 7]) is not None:
            yield
        yield from acts_on_points(project, image_id, number)


def acts_on_points(project: Project, image_id: str, number: int) -> Iterator[None]:
    """A cell grows around a point, its point moves and goes; all cells are replaced by cells with points and back."""
    cells = project.cells(image_id)
    new, box = cells.next_id, Box(40 * number, 60, 40 * number + 9, 69)
    after = np.full(box.shape, new)
    y, x = box.y0 + 4.0, box.x0 + 4.25
    place = partial(project.edit_cells, image_id, box, after, tool="point", origin=Origin.POINT, verified=None)
    place(classes={new: 2}, points={new: (y, x)})
    yield
    project._labels.write(0.0)
    place(points={new: (y + 1, x)})
    yield
    place(points={new: None})
    yield
    project.undo(image_id)
    yield
    project.checkpoint()
    found = disks(20 + number)
    points = {int(k): (number + 0.5, float(k % 100)) for k in np.unique(found[found > 0])}
    project.replace_cells(image_id, found, {}, tool="points", origin=Origin.POINT, points=points, verified=True)
    yield
    project.undo(image_id)
    yield
    project._labels.write(0.0)
    project.redo(image_id)
    yield


def prepare_work(path: Path) -> None:
    with Project.create(path, CELLULARITY) as project:
        image_id = project.add_image(image_from_array(np.zeros(SHAPE, np.uint8), name="tissue", mpp=0.5)).id
        project.replace_cells(image_id, disks(14), {}, tool="model", origin=Origin.MODEL)


def do_work(path: Path) -> Iterator[None]:
    with Project.open(path) as project:
        yield from acts(project)


def prepare_nothing(_path: Path) -> None:
    """The project is made while the killer watches."""


def do_begin(path: Path) -> Iterator[None]:
    with Project.create(path, CELLULARITY) as project:
        image_id = project.add_image(image_from_array(np.zeros(SHAPE, np.uint8), name="tissue", mpp=0.5)).id
        project.replace_cells(image_id, disks(14), {}, tool="model", origin=Origin.MODEL)
        yield


def prepare_migrate(path: Path) -> None:
    """A project as the first version of the journal was: without a column for cells."""
    with Project.create(path, CELLULARITY) as project:
        image_id = project.add_image(image_from_array(np.zeros(SHAPE, np.uint8), name="tissue", mpp=0.5)).id
        stroke = np.full((20, 30), 2, np.uint8)
        project.record(image_id, tool="paint", box=Box(0, 0, 20, 30), after=stroke)
        project._journal._db.executescript(
            "ALTER TABLE edits DROP COLUMN cells; DROP TABLE bases; PRAGMA user_version = 1;"
        )
    shutil.rmtree(path / "checkpoints")


def do_migrate(path: Path) -> Iterator[None]:
    with Project.open(path) as project:
        image_id = project.images[0].id
        project.replace_cells(image_id, disks(14), {}, tool="model", origin=Origin.MODEL)
        yield
        yield from acts_on_points(project, image_id, 0)


def prepare_points(path: Path) -> None:
    """A project as the version before points was: the table of the checkpoint has none."""
    prepare_work(path)
    with Project.open(path) as project:
        project._journal._db.executescript("DROP TABLE bases; PRAGMA user_version = 2;")
    for note in (path / "checkpoints").glob("*.cells.json"):
        kept = json.loads(note.read_text())
        del kept["points"]
        note.write_text(json.dumps(kept))


def do_points(path: Path) -> Iterator[None]:
    with Project.open(path) as project:
        yield from acts_on_points(project, project.images[0].id, 0)


def prepare_compact(path: Path) -> None:
    prepare_work(path)
    with Project.open(path) as project:
        for _ in acts_on_points(project, project.images[0].id, 0):
            pass


def do_compact(path: Path) -> Iterator[None]:
    with Project.open(path) as project:
        image_id = project.images[0].id
        project.compact(0)
        yield from acts_on_points(project, image_id, 1)
        project.compact(0)


@dataclass(frozen=True)
class Scenario:
    """``prepare`` makes the project at a path; ``work`` changes it and yields after each row of the journal."""

    prepare: Callable[[Path], None]
    work: Callable[[Path], Iterator[None]]


SCENARIOS = {
    "work": Scenario(prepare_work, do_work),
    "begin": Scenario(prepare_nothing, do_begin),
    "migrate": Scenario(prepare_migrate, do_migrate),
    "points": Scenario(prepare_points, do_points),
    "compact": Scenario(prepare_compact, do_compact),
}


def digest(project: Project) -> str:
    """Everything of the first image that an edit can change."""
    if not project.images:
        return "no image"
    image_id = project.images[0].id
    planes, cells = project.planes(image_id), project.cells(image_id)
    rows = cells.rows(cells.ids)
    parts = [planes.labels, planes.state, cells.instances, cells.ids, *(rows[name] for name in rows.dtype.names or ())]
    return hashlib.sha256(b"|".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def expected_states(scenario: Scenario, path: Path) -> list[str]:
    """The state after each number of rows, from a process that nobody kills; the last is that of the last row."""
    states: dict[int, str] = {}

    def look() -> None:
        with Project.open(path, read_only=True) as project:
            states[rows_in(project)] = digest(project)

    if path.exists():
        look()
    for _ in scenario.work(path):
        look()
    return [states.get(rows, "no image") for rows in range(max(states) + 1)]


def check(path: Path, promised: int, states: list[str], first: int) -> list[str]:
    """What is wrong with a project after a kill."""
    if not path.exists():
        return [] if promised == first == 0 else ["the project is gone"]
    with Project.open(path) as project:
        rows, notes, state = rows_in(project), project.notes, digest(project)
        wrong = [f"repairs were needed: {notes}"] if notes else []
        if not promised <= rows <= promised + 1:
            wrong.append(f"{promised} rows were promised, {rows} are there")
        if rows < len(states) and rows > 0 and state != states[rows]:
            wrong.append(f"the state after {rows} rows is another")
        if project.images:
            image_id = project.images[0].id
            redone = stepped(partial(project.can_redo, image_id), partial(project.redo, image_id))
            end = digest(project)
            undone = stepped(partial(project.can_undo, image_id), partial(project.undo, image_id))
            is_empty = not project.cells(image_id).instances.any() and not project.planes(image_id).state.any()
            if undone < redone or not (is_empty or project.is_compacted(1)):
                wrong.append("undoing everything does not lead to the start")
            for _ in range(undone):
                project.redo(image_id)
            if digest(project) != end:
                wrong.append("redoing everything does not lead to the end")
    return wrong


def rows_in(project: Project) -> int:
    return len(project.history()[0])


def stepped(is_possible: Callable[[], bool], step: Callable[[], object]) -> int:
    """How often a step could be made."""
    count = 0
    while is_possible():
        step()
        count += 1
    return count


def forked(work: Callable[[int], None]) -> tuple[int, bytes]:
    """Run ``work`` in a process of its own, with the end of a pipe; returns its status and what it wrote there."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            work(write_end)
        except BaseException:  # noqa: BLE001 - the parent must hear of whatever it was
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    return os.waitpid(child, 0)[1], said


def run_killed(scenario: Scenario, path: Path, point: int, is_torn: bool) -> tuple[bool, int, int]:
    """Work until the kill at a write; returns whether it came, the rows that were reported, and the writes seen."""
    library = ctypes.CDLL(os.environ[ARMED])

    def work(pipe: int) -> None:
        library.fault_arm(ctypes.c_long(point), ctypes.c_int(is_torn), ctypes.c_int(pipe))
        for _ in scenario.work(path):
            os.write(pipe, b".")
        os.write(pipe, f" {library.fault_count()}".encode())

    status, said = forked(work)
    acknowledged, _, count = said.decode().partition(" ")
    is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not is_killed and status != 0:
        raise RuntimeError(f"the work failed by itself at write {point}")
    return is_killed, len(acknowledged), int(count or 0)


def measure(name: str, folder: Path, every: int) -> dict[str, object]:
    scenario = SCENARIOS[name]
    start = folder / f"{name}-start"
    forked(lambda _pipe: scenario.prepare(start))
    shutil.copytree(start, folder / "whole") if start.exists() else None
    states = json.loads(forked(partial(tell, partial(expected_states, scenario, folder / "whole")))[1])
    shutil.rmtree(folder / "whole")
    lost: list[str] = []
    first = json.loads(forked(partial(tell, partial(rows_of, start)))[1])
    kills, point, writes = 0, 1, 0
    while True:
        is_killed = False
        for is_torn in (False, True):
            path = folder / "victim"
            shutil.rmtree(path, ignore_errors=True)
            if start.exists():
                shutil.copytree(start, path)
            is_killed, reported, writes = run_killed(scenario, path, point, is_torn)
            kills += is_killed
            status, said = forked(partial(tell, partial(check, path, first + reported, states, first)))
            wrong = json.loads(said) if status == 0 else ["the project does not open"]
            lost += [f"write {point}{' (half)' if is_torn else ''}: {what}" for what in wrong]
        print(f"{name}: write {point}, {kills} kills, {len(lost)} losses", file=sys.stderr)
        if not is_killed:
            break
        point += every
    return {"writes": writes, "kills": kills, "acts": len(states) - 1 - first, "lost": lost}


def rows_of(path: Path) -> int:
    if not path.exists():
        return 0
    with Project.open(path, read_only=True) as project:
        return rows_in(project)


def tell(work: Callable[[], object], pipe: int) -> None:
    os.write(pipe, json.dumps(work()).encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="look at every n-th write only")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    if ARMED not in os.environ:
        with tempfile.TemporaryDirectory() as built:
            library = Path(built) / "fault_points.so"
            source = Path(__file__).with_suffix(".c")
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
            environment = {**os.environ, ARMED: str(library), "LD_PRELOAD": str(library)}
            return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report = {name: measure(name, Path(folder), arguments.every) for name in arguments.scenarios.split(",")}
    print(json.dumps(report, indent=2))
    return int(any(result["lost"] for result in report.values()))


if __name__ == "__main__":
    raise SystemExit(main())
