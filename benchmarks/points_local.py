"""How long one point of 20,000 takes to change the cells around it, and whether they are those of a full solve.

    python -m benchmarks.points_local [--points 20000] [--acts 150]

4096 x 4096 pixels of drawn nuclei at 0.25 µm per pixel. Points are added, moved and removed in turn, each as one
committed edit. After every act the touched box is compared with a solve of a box three times as wide, and every 50
acts, and at the end, the whole instance map with a full solve. Judged by the time at work, which is what this thread
had of the processor; the time by the clock stands beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.points_full import drawn
from benchmarks.stroke_to_journal import quantiles
from napari_histoseg.core.box import Box
from napari_histoseg.core.edit import Edit
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.inference.points import Mode, Points, grow, solve_box
from napari_histoseg.io.cells import write_points
from napari_histoseg.jobs.job import run_job
from napari_histoseg.session import Session
from napari_histoseg.session.point_growth import Growth

LIMIT_MS = 100.0
_WHOLE_EVERY = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--acts", type=int, default=150)
    args = parser.parse_args()
    image, points = drawn(args.points)
    results = []
    for mode in get_args(Mode):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measured(image, points, mode, args.acts, Path(folder)))
    return 0 if all(results) else 1


def measured(image: ImageRef, points: Points, mode: Mode, acts: int, folder: Path) -> bool:
    session = Session(device="cpu")
    session.create_project(folder / "local.histoseg", "cellularity")
    image_id = session.add_image(image).id
    session.points.mode = mode
    names = {c.id: c.name for c in session.need_project().schema.classes}
    write_points(folder / "points.csv", points.x, points.y, [names[k] for k in points.class_ids.tolist()])
    session.points.import_csv(image_id, folder / "points.csv")
    session._lane.wait()
    bench = _Bench(session, image_id)
    at_work: list[float] = []
    by_clock: list[float] = []
    different = compared = 0
    while len(at_work) < acts:
        begin, before = time.perf_counter(), time.thread_time()
        try:
            edit = bench.act(len(at_work) % 3)
        except InputError:  # on another point
            continue
        at_work.append(time.thread_time() - before)
        by_clock.append(time.perf_counter() - begin)
        is_whole = len(at_work) % _WHOLE_EVERY == 0 or len(at_work) == acts
        wrong, seen = bench.compared(Box.of_shape(image.shape) if is_whole or edit is None else edit.box, is_whole)
        different, compared = different + wrong, compared + seen
    session.close()
    worked = quantiles(at_work)
    is_good = worked["p95"] <= LIMIT_MS and different == 0
    print(
        f"{mode}: {acts} acts, ms at work {worked}, by the clock {quantiles(by_clock)}, {different} of {compared} "
        f"pixels differ from a full solve, limit p95 {LIMIT_MS:.0f} ms and none: {'ok' if is_good else 'FAILED'}"
    )
    return is_good


class _Bench:
    """A solved image, and a person who adds, moves and removes points of it at random."""

    def __init__(self, session: Session, image_id: str) -> None:
        self._session, self._image_id = session, image_id
        self._cells = session.cells.of(image_id)
        self._rng = np.random.default_rng(2)

    def act(self, kind: int) -> Edit | None:
        points, rng = self._session.points, self._rng
        y, x = rng.uniform(0, np.array(self._cells.shape) - 1)
        if kind == 0:
            return points.add(self._image_id, y, x, 1)
        known = points.of(self._image_id)
        k = int(rng.integers(len(known)))
        if kind == 2:
            return points.remove(self._image_id, [known.ids[k]])
        y, x = np.array([known.y[k], known.x[k]]) + rng.normal(0, 12, 2)
        return points.move(self._image_id, int(known.ids[k]), y, x)

    def compared(self, box: Box, is_whole: bool) -> tuple[int, int]:
        """How many pixels of a box are not what a full solve gives, and how many there are."""
        growth = Growth.of(self._cells, keeps_found=False)
        work = self._session.points
        ground = work._grounds.of(self._image_id)

        def is_taken(part: Box) -> NDArray[np.bool_]:
            return growth.taken(self._cells.instances[part.slices])

        if is_whole:
            whole = run_job(grow(ground, growth.points, rules=work.rules, is_taken=is_taken))
            return int((whole != self._cells.instances).sum()), whole.size
        wide = box.pad(max(box.shape)).clip(self._cells.shape)
        found = solve_box(ground, growth.points, wide, rules=work.rules, is_taken=is_taken)
        return int((found != self._cells.instances[wide.slices]).sum()), found.size


if __name__ == "__main__":
    sys.exit(main())
