"""Time of acts on cells as the session does them, from the call to the committed row, told to all who listen.

    python -m benchmarks.cell_edits [--cells 20000] [--acts 200] [--folder DIR]

The image has 4096 x 4096 pixels; the cells are those of `cells_journal`. Prints one JSON object in milliseconds: p50,
p95 and the longest of ``n`` acts of each kind, and seconds of acts on all cells at once. ``disk_commit_ms`` is what a
bare commit of 200 bytes costs on the same disk. No window is involved.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells_journal import MPP, SIDE_PX, placed
from benchmarks.stroke_to_journal import commit_times
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.edit import Edit
from napari_histoseg.core.image import image_from_array
from napari_histoseg.session import Session

Act = Callable[[], Edit | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--acts", type=int, default=200, help="of each kind")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; decides which disk is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report = measure(Path(folder), arguments.cells, arguments.acts)
        report["disk_commit_ms"] = spread(commit_times(Path(folder), arguments.acts, 200))
    print(json.dumps(report, indent=2))


def spread(seconds: list[float]) -> dict[str, float]:
    p50, p95, most = (round(1000 * float(value), 2) for value in np.percentile(seconds, (50, 95, 100)))
    return {"n": len(seconds), "p50": p50, "p95": p95, "max": most}


def measure(folder: Path, count: int, acts: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    session = Session(device="cpu")
    project = session.create_project(folder / "speed.histoseg", "cellularity")
    blank = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    image_id = session.add_image(image_from_array(blank, name="speed", mpp=MPP)).id
    classes = {k: int(rng.integers(1, 4)) for k in range(1, count + 1)}
    project.replace_cells(image_id, placed(count, rng), classes, tool="model", origin=Origin.MODEL)
    report: dict[str, object] = {"cells": count}
    for name, act in Hand(session, image_id, rng).acts().items():
        report[name] = timed(session, act, acts)
    report["undo"] = timed(session, lambda: session.undo(image_id), 3 * acts)
    report["redo"] = timed(session, lambda: session.redo(image_id), 3 * acts)
    report["all_at_once_s"] = all_at_once(session, image_id)
    session.close()
    return report


class Hand:
    """Does one act of each kind on cells chosen at random, as a person would."""

    def __init__(self, session: Session, image_id: str, rng: np.random.Generator) -> None:
        self.work = session.cells
        self.cells = session.cells.of(image_id)
        self.image_id = image_id
        self.rng = rng

    def acts(self) -> dict[str, Act]:
        return {
            "class_by_key": self.set_class,
            "class_in_lasso": self.set_class_in_lasso,
            "split_by_line": self.split,
            "split_across_several": self.split_across,
            "split_at_points": self.split_at,
            "merge": self.merge,
            "delete": lambda: self.work.delete(self.image_id, [self.one()]),
            "reshape": self.reshape,
            "grow_1_um": lambda: self.work.grow(self.image_id, [self.one()], 1),
            "smooth": lambda: self.work.smooth(self.image_id, [self.one()]),
        }

    def one(self) -> int:
        """No sliver between others, which no line can cut."""
        while True:
            chosen = int(self.rng.choice(self.cells.ids))
            if self.cells.areas_px(chosen)[0] > 200:
                return chosen

    def middle(self) -> NDArray[np.float64]:
        return np.asarray(self.cells.centroids(self.one())[0])

    def set_class(self) -> Edit | None:
        """The cell below the mouse."""
        below = 0
        while not below:
            below = self.work.at(self.image_id, *self.middle())
        return self.work.set_class(self.image_id, [below], int(self.rng.integers(0, 4)))

    def set_class_in_lasso(self) -> Edit | None:
        """A circle of 50 µm."""
        turn = np.linspace(0, 2 * np.pi, 40)
        circle = self.middle() + 100 * np.stack([np.sin(turn), np.cos(turn)], axis=1)
        chosen = self.work.inside(self.image_id, circle)
        return self.work.set_class(self.image_id, chosen, int(self.rng.integers(0, 4)))

    def split(self) -> Edit | None:
        chosen = self.one()
        x, (y0, _, y1, _) = self.cells.centroids(chosen)[0, 1], self.cells.boxes(chosen)[0]
        return self.work.split(self.image_id, [(y0 - 2, x), (y1 + 2, x)])

    def split_across(self) -> Edit | None:
        """A line of 50 µm from the middle of a cell on, which cuts some of what it crosses."""
        y, x = self.middle()
        y0 = self.cells.boxes(self.work.at(self.image_id, y, x) or self.one())[0, 0]
        return self.work.split(self.image_id, [(min(y, y0) - 2, x), (y + 200, x)])

    def split_at(self) -> Edit | None:
        chosen = self.one()
        y0, x0, y1, x1 = self.cells.boxes(chosen)[0]
        inside = np.argwhere(self.cells.instances[y0:y1, x0:x1] == chosen) + (y0, x0)
        return self.work.split_at(self.image_id, inside[[0, -1]])

    def merge(self) -> Edit | None:
        """A stroke from the middle of a cell to that of one beside it."""
        while True:
            chosen = self.one()
            near = self.cells.instances[
                Box(*self.cells.boxes(chosen)[0].tolist()).pad(3).clip((SIDE_PX, SIDE_PX)).slices
            ]
            others = np.setdiff1d(near, [0, chosen])
            if others.size:
                stroke = self.cells.centroids([chosen, int(others[0])])
                crossed = self.work.crossed(self.image_id, stroke)
                if crossed.size > 1:
                    return self.work.merge(self.image_id, crossed)

    def reshape(self) -> Edit | None:
        """A round outline."""
        chosen = self.one()
        y, x = self.cells.centroids(chosen)[0].astype(int).tolist()
        rows, columns = np.mgrid[-14:15, -14:15]
        box = Box(y - 14, x - 14, y + 15, x + 15)
        return self.work.reshape(self.image_id, chosen, box, np.hypot(rows, columns) <= 14)


def timed(session: Session, act: Act, count: int) -> dict[str, object]:
    """The session's own saving goes on in between, as it does in the window."""
    act()  # imports and first pages
    times, changed = [], 0
    for _ in range(count):
        begin = time.perf_counter()
        changed += act() is not None
        times.append(time.perf_counter() - begin)
        session.save()
    return {**spread(times), "changed_something": changed}


def all_at_once(session: Session, image_id: str) -> dict[str, float]:
    work = session.cells
    acts: dict[str, Callable[[], object]] = {
        "grow_1_um": lambda: work.grow(image_id, None, 1),
        "shrink_1_um": lambda: work.grow(image_id, None, -1),
        "smooth": lambda: work.smooth(image_id, None),
        "fill_holes": lambda: work.fill_holes(image_id, None),
        "delete_smaller_15_um2": lambda: work.delete_smaller(image_id, 15),
        "to_regions": lambda: work.to_regions(image_id, None),
        "delete": lambda: work.delete(image_id, None),
        "from_regions": lambda: work.from_regions(image_id, [1, 2, 3]),
        "verify": lambda: work.verify(image_id, None),
        "undo_of_verify": lambda: session.undo(image_id),
        "undo_of_from_regions": lambda: session.undo(image_id),
        "undo_of_delete": lambda: session.undo(image_id),
        "table": lambda: work.table(image_id),
    }
    seconds = {}
    for name, act in acts.items():
        begin = time.perf_counter()
        act()
        seconds[name] = round(time.perf_counter() - begin, 2)
    return seconds


if __name__ == "__main__":
    main()
