"""Kill a process that changes the classes of a project, or compacts it, at each of its writes.

    python -m benchmarks.life_faults [--every 1] [--folder DIR]

Both acts are all or nothing: after each kill the project must open without repairs, hold the labels, cells and classes
of before or of after the act, and take back and do again what it says it can, bit for bit. Compaction must not change
labels and cells at all. Kills and torn writes come from `fault_points`. Prints one JSON object and exits with 1 when
anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.fault_points import ARMED, Scenario, acts, digest, forked, prepare_work, run_killed, tell
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema_steps import AddClass, AlterClass, RemoveClass


def prepare(path: Path) -> None:
    """A project with strokes, cells, undo and redo."""
    prepare_work(path)
    with Project.open(path) as project:
        for _ in acts(project):
            pass


def change_classes(path: Path) -> Iterator[None]:
    with Project.open(path) as project:
        project.change_schema([RemoveClass(2, 1), AlterClass(3, name="tumour"), AddClass("mitosis")])
        yield


def compact(path: Path) -> Iterator[None]:
    with Project.open(path) as project:
        project.compact(0)
        yield


def state_of(path: Path) -> list[str]:
    """Labels, cells and classes."""
    with Project.open(path, read_only=True) as project:
        return [digest(project), json.dumps(project.schema.to_json())]


def check(path: Path, allowed: list[list[str]]) -> list[str]:
    """What is wrong with a project after a kill."""
    with Project.open(path) as project:
        wrong = [f"repairs were needed: {project.notes}"] if project.notes else []
        state = [digest(project), json.dumps(project.schema.to_json())]
        if state not in allowed:
            wrong.append("it is neither as before nor as after")
        image_id, steps = project.images[0].id, 0
        while project.can_undo(image_id):
            project.undo(image_id)
            steps += 1
        for _ in range(steps):
            project.redo(image_id)
        if digest(project) != state[0]:
            wrong.append("taking back and doing again does not lead to the end")
    shutil.rmtree(path / "checkpoints")
    with Project.open(path) as project:
        if digest(project) != state[0]:
            wrong.append("the journal alone does not lead to the end")
    return wrong


def measure(work: Callable[[Path], Iterator[None]], folder: Path, every: int) -> dict[str, object]:
    scenario = Scenario(prepare, work)
    start, after, victim = folder / "start", folder / "after", folder / "victim"
    for path in (start, after):
        shutil.rmtree(path, ignore_errors=True)
    forked(lambda _pipe: prepare(start))
    shutil.copytree(start, after)
    forked(partial(tell, lambda: len(list(work(after)))))
    allowed = [json.loads(forked(partial(tell, partial(state_of, path)))[1]) for path in (start, after)]
    lost: list[str] = []
    kills, point = 0, 1
    while True:
        is_killed = False
        for is_torn in (False, True):
            shutil.rmtree(victim, ignore_errors=True)
            shutil.copytree(start, victim)
            is_killed, _, _ = run_killed(scenario, victim, point, is_torn)
            kills += is_killed
            status, said = forked(partial(tell, partial(check, victim, allowed)))
            wrong = json.loads(said) if status == 0 else ["the project does not open"]
            lost += [f"write {point}{' (half)' if is_torn else ''}: {what}" for what in wrong]
        if not is_killed:
            return {"kills": kills, "writes": point - 1, "lost": lost}
        point += every


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="look at every n-th write only")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    if ARMED not in os.environ:
        with tempfile.TemporaryDirectory() as built:
            library = Path(built) / "fault_points.so"
            source = Path(__file__).with_name("fault_points.c")
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
            environment = {**os.environ, ARMED: str(library), "LD_PRELOAD": str(library)}
            command = [sys.executable, "-m", "benchmarks.life_faults", *sys.argv[1:]]
            return subprocess.run(command, env=environment, check=False).returncode
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        works = {"classes": change_classes, "compact": compact}
        report = {name: measure(work, Path(folder), arguments.every) for name, work in works.items()}
    print(json.dumps(report, indent=2))
    return int(any(result["lost"] for result in report.values()))


if __name__ == "__main__":
    raise SystemExit(main())
