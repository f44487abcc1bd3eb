"""Time from an act on cells to its committed journal row, on 4096 x 4096 pixels with 20,000 cells.

    python -m benchmarks.cells_journal [--cells 20000] [--acts 200] [--folder DIR]

Cells are ellipses of nuclear size at 0.25 µm per pixel, some in clusters that touch. Prints one JSON object in
milliseconds and bytes; ``disk_commit_ms`` is what a bare commit of 200 bytes with ``synchronous=FULL`` costs on the
same disk. No window is involved.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.stroke_to_journal import commit_times, quantiles
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.edit import Edit
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import CELLULARITY

SIDE_PX = 4096
MPP = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--acts", type=int, default=200, help="of each kind")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; decides which disk is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report = measure(Path(folder), arguments.cells, arguments.acts)
        report["disk_commit_ms"] = quantiles(commit_times(Path(folder), arguments.acts, 200))
    print(json.dumps(report, indent=2))


def placed(count: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Ellipses with axes of 5 to 11 µm; half of them grow beside another one."""
    instances = np.zeros((SIDE_PX, SIDE_PX), np.uint32)
    middles = np.zeros((count, 2))
    number = 0
    while number < count:
        if number > 10 and rng.random() < 0.5:
            angle = rng.uniform(0, 2 * np.pi)
            y, x = middles[rng.integers(0, number)] + 30 * np.array([np.sin(angle), np.cos(angle)])
        else:
            y, x = rng.uniform(30, SIDE_PX - 30, 2)
        if not (30 <= y < SIDE_PX - 30 and 30 <= x < SIDE_PX - 30) or instances[int(y), int(x)]:
            continue
        long, short, turn = rng.uniform(14, 22), rng.uniform(10, 14), rng.uniform(0, np.pi)
        top, left = int(y) - 24, int(x) - 24
        rows, columns = np.mgrid[top : top + 48, left : left + 48]
        u = (rows - y) * np.cos(turn) + (columns - x) * np.sin(turn)
        v = (columns - x) * np.cos(turn) - (rows - y) * np.sin(turn)
        part = instances[top : top + 48, left : left + 48]
        part[((u / long) ** 2 + (v / short) ** 2 < 1) & (part == 0)] = number + 1
        middles[number] = y, x
        number += 1
    return instances


def measure(folder: Path, count: int, acts: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    instances = placed(count, rng)
    report: dict[str, object] = {"cells": count, "cell_px_median": float(np.median(np.bincount(instances.ravel())[1:]))}
    with Project.create(folder / "speed.histoseg", CELLULARITY) as project:
        blank = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        image_id = project.add_image(image_from_array(blank, name="speed", mpp=MPP)).id
        classes = {k: int(rng.integers(1, 4)) for k in range(1, count + 1)}
        begin = time.perf_counter()
        project.replace_cells(image_id, instances, classes, tool="model", origin=Origin.MODEL)
        report["replace_all_s"] = round(time.perf_counter() - begin, 2)
        report["replace_all_bytes"] = project._journal._db.execute("SELECT length(patch) FROM edits").fetchone()[0]
        begin = time.perf_counter()
        project.checkpoint()
        report["checkpoint_all_s"] = round(time.perf_counter() - begin, 2)
        for name, act in acts_on(project, image_id, rng).items():
            report[name] = timed(project, act, acts)
        many = rng.choice(project.cells(image_id).ids, 2000, replace=False)
        report["class_of_2000"] = timed(project, lambda: project.set_class(image_id, many, int(rng.integers(0, 4))), 10)
        report["undo"] = timed(project, lambda: project.undo(image_id), 2 * acts)
        report["redo"] = timed(project, lambda: project.redo(image_id), 2 * acts)
        report["checkpoint_call_ms"] = checkpoint_calls(project)
        report["whole_map"] = whole_maps(project, image_id, instances, classes)
    begin = time.perf_counter()
    with Project.open(folder / "speed.histoseg") as project:
        project.cells(image_id)
        report["open_s"] = round(time.perf_counter() - begin, 2)
        report["whole_map_after_opening"] = {"undo": took(lambda: project.undo(image_id))}
    return report


def whole_maps(
    project: Project, image_id: str, instances: NDArray[np.uint32], classes: dict[int, int]
) -> dict[str, dict[str, float]]:
    """Two changes of all cells, one after the other, taken back and done again; the median of five rounds."""

    def replace(columns: int) -> Edit | None:
        shifted = np.roll(instances, columns, axis=1)
        return project.replace_cells(image_id, shifted, classes, tool="model", origin=Origin.MODEL, verified=True)

    rounds: dict[str, list[dict[str, float]]] = {}
    first = took(lambda: replace(3))
    project.set_class(image_id, project.cells(image_id).ids[:1], 0)
    second = took(lambda: replace(6))
    for _ in range(5):
        for name, step in (
            ("undo_newest", project.undo),
            ("redo_newest", project.redo),
            ("undo_newest_again", project.undo),
            ("undo_class_before", project.undo),
            ("undo_the_one_before", project.undo),
            ("redo_the_one_before", project.redo),
            ("redo_class_before", project.redo),
            ("redo_after_another", project.redo),
        ):
            rounds.setdefault(name, []).append(took(partial(step, image_id)))
    medians = {
        name: {kind: round(float(np.median([one[kind] for one in times])), 1) for kind in times[0]}
        for name, times in rounds.items()
    }
    return {"replace_first": first, "replace_second": second, **medians}


def took(act: Callable[[], object]) -> dict[str, float]:
    begin, cpu_begin = time.perf_counter(), time.process_time()
    act()
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
    return {"ms": round(wall * 1000, 1), "cpu_ms": round(cpu * 1000, 1)}


def acts_on(project: Project, image_id: str, rng: np.random.Generator) -> dict[str, Callable[[], Edit | None]]:
    """One act of each kind on a cell chosen at random."""
    cells = project.cells(image_id)

    def one() -> int:
        """No sliver between others, which no line can cut."""
        while True:
            chosen = int(rng.choice(cells.ids))
            if cells.areas_px(chosen)[0] > 200:
                return chosen

    def split() -> Edit | None:
        chosen = one()
        x, (y0, _, y1, _) = cells.centroids(chosen)[0, 1], cells.boxes(chosen)[0]
        return project.split_cells(image_id, chosen, [(y0 - 2, x), (y1 + 2, x)])

    def split_at() -> Edit | None:
        chosen = one()
        y0, x0, y1, x1 = cells.boxes(chosen)[0]
        inside = np.argwhere(cells.instances[y0:y1, x0:x1] == chosen) + (y0, x0)
        return project.split_cells_at(image_id, chosen, inside[[0, -1]])

    def merge() -> Edit | None:
        while True:
            y0, x0, y1, x1 = cells.boxes(one())[0]
            near = np.unique(cells.instances[max(0, y0 - 3) : y1 + 3, max(0, x0 - 3) : x1 + 3])
            if len(near) > 2:
                return project.merge_cells(image_id, near[1:3])

    def at_random() -> tuple[float, float]:
        y, x = rng.uniform(20, SIDE_PX - 20, 2)
        return float(y), float(x)

    def point_added() -> Edit | None:
        y, x = at_random()
        box = Box(int(y) - 8, int(x) - 8, int(y) + 9, int(x) + 9)
        return project.edit_cells(
            image_id, box, np.full(box.shape, cells.next_id), tool="point", classes={cells.next_id: 1},
            points={cells.next_id: (y, x)}, origin=Origin.POINT, verified=None,
        )  # fmt: skip

    def point_moved() -> Edit | None:
        chosen, corner = int(rng.choice(cells.points().ids)), Box(0, 0, 1, 1)
        return project.edit_cells(
            image_id, corner, cells.instances[corner.slices].copy(), tool="point", points={chosen: at_random()},
            origin=Origin.POINT, verified=None,
        )  # fmt: skip

    return {
        "point_added": point_added,
        "point_moved": point_moved,
        "class": lambda: project.set_class(image_id, one(), int(rng.integers(0, 4))),
        "split_by_line": split,
        "split_at_points": split_at,
        "merge": merge,
        "delete": lambda: project.delete_cells(image_id, one()),
    }


def timed(project: Project, act: Callable[[], Edit | None], count: int) -> dict[str, object]:
    """The session's own saving goes on in between, as it would in the window; it is timed by itself."""
    act()  # imports and first pages
    times, before, cpu_s = [], project._journal.last_seq(), 0.0
    for _ in range(count):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        act()
        times.append(time.perf_counter() - begin)
        cpu_s += time.process_time() - cpu_begin
        project.checkpoint_if_due()
    query = "SELECT avg(coalesce(length(patch), 0)), max(length(patch)) FROM edits WHERE seq > ?"
    mean, most = project._journal._db.execute(query, (before,)).fetchone()
    spent = {"ms": quantiles(times), "cpu_ms_mean": round(cpu_s / count * 1000, 2)}
    return {**spent, "patch_bytes_mean": round(mean or 0, 1), "patch_bytes_max": most}


def checkpoint_calls(project: Project) -> dict[str, float]:
    times, finished = [], False
    while not finished:
        begin = time.perf_counter()
        finished = project._labels.write(0.004)
        times.append(time.perf_counter() - begin)
    return quantiles(times)


if __name__ == "__main__":
    main()
