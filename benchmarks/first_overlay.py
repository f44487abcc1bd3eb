"""How soon the overlay covers a view of 1024 x 1024 pixels, with the model already loaded.

The processor time tells what is ours when other programs share the machine.

Usage: python -m benchmarks.first_overlay [repeats]
"""

from __future__ import annotations

import functools
import sys
import time

import torch

from benchmarks.models_under_test import starter, tissue
from napari_histoseg.core.box import Box
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import Progress
from napari_histoseg.jobs.lane import Lane, Priority

LIMIT_S = 1.5
VIEW = Box(1500, 1500, 2524, 2524)


def measure(lane: Lane, predictors: Predictors, mpp: float) -> tuple[float, float, float, float]:
    """Seconds to the first tile, to the whole view, of processor time, and of the longest step; through the lane."""
    weights = starter()
    request = PredictRequest(tissue(4096, 4096, mpp), "unet", weights, boxes=(VIEW,), visible=VIEW)
    times: list[float] = []

    def on_progress(step: Progress) -> None:
        times.append(time.perf_counter() - began)

    cpu_began = time.process_time()
    began = time.perf_counter()
    lane.submit(functools.partial(predict, request, predictors), priority=Priority.INTERACTIVE, on_progress=on_progress)
    lane.wait()
    steps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    return times[1], times[-1], time.process_time() - cpu_began, max(steps)


def main() -> int:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    lane, predictors = Lane(), Predictors()
    weights = starter()
    predictors.get(weights, "auto")
    print(f"weights {weights.name}, {weights.mpp:g} µm per pixel, {torch.get_num_threads()} threads")
    worst = 0.0
    for mpp in (weights.mpp, 0.5, 0.25):
        measure(lane, predictors, mpp)
        results = [measure(lane, predictors, mpp) for _ in range(repeats)]
        views = sorted(result[1] for result in results)
        worst = max(worst, views[len(views) // 2])
        print(
            f"image at {mpp:g} µm per pixel: first tile {min(r[0] for r in results):.2f} s, whole view median "
            f"{views[len(views) // 2]:.2f} s (min {views[0]:.2f}, max {views[-1]:.2f}), processor time "
            f"{min(r[2] for r in results):.2f} s, longest step {min(r[3] for r in results):.2f} s"
        )
    lane.close()
    print(f"slowest median {worst:.2f} s, limit {LIMIT_S} s: {'ok' if worst <= LIMIT_S else 'TOO SLOW'}")
    return 0 if worst <= LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
