"""Kill a working process with SIGKILL at random moments and see what is left of its project.

    python -m benchmarks.kill9 [--kills 30] [--scenarios paint,predict,finetune] [--seed 0] [--folder DIR]

Each scenario is a row of ``SCENARIOS`` in kill9_scenarios.py. All kills of a scenario hit the same project
one after the other. The child reports what was promised to the person
(``acknowledged``: calls that have returned) line by line; a lost promise or a project that does not open is a failure.
Prints one JSON object and exits with 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.kill9_scenarios import CHILDREN, SCENARIOS, Outcome, Scenario
from napari_histoseg.core.project import Project


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
        ready.wait(120)
        time.sleep(rng.uniform(0, scenario.longest_s))
        outcome = Outcome()
        outcome.check(child.poll() is None, f"the process ended by itself with {child.returncode}")
        child.kill()
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
