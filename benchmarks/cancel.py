"""How soon a prediction is idle after Cancel, pressed at random moments, and what it leaves.

Usage: python -m benchmarks.cancel [presses]
"""

from __future__ import annotations

import functools
import random
import sys
import time

from benchmarks.models_under_test import starter, tissue
from napari_histoseg.inference.predict import Predictors, PredictRequest, TileResult, predict
from napari_histoseg.jobs.job import Progress
from napari_histoseg.jobs.lane import Lane, Priority
from napari_histoseg.models.weights import RANDOM, Weights, resolve

LIMIT_S = 2.0


def press(lane: Lane, predictors: Predictors, weights: Weights, after_s: float) -> float:
    """Seconds from Cancel to an idle lane, for a job that would take minutes."""
    request = PredictRequest(tissue(6000, 6000, weights.mpp), weights.model_id, weights)
    tiles: list[TileResult] = []
    heard: list[str] = []

    def on_progress(step: Progress) -> None:
        if step.payload is not None:
            tiles.append(step.payload)

    ticket = lane.submit(
        functools.partial(predict, request, predictors),
        priority=Priority.USER,
        on_progress=on_progress,
        on_done=lambda _: heard.append("done"),
        on_error=lambda error: heard.append(f"failed: {error}"),
        on_cancelled=lambda: heard.append("cancelled"),
    )
    lane.wait(after_s)
    began = time.perf_counter()
    ticket.cancel()
    lane.wait()
    seconds = time.perf_counter() - began
    if heard != ["cancelled"]:
        raise SystemExit(f"expected one 'cancelled', heard {heard}")
    if any(tile.labels.shape != tile.box.shape or (tile.labels == 255).any() for tile in tiles):
        raise SystemExit("a tile came half written")
    return seconds


def main() -> int:
    presses = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    rng = random.Random(0)
    lane, predictors = Lane(), Predictors()
    worst = 0.0
    for weights in (starter(), resolve("unet", RANDOM), resolve("spade_segresnet", RANDOM)):
        predictors.get(weights, "auto")
        times = sorted(press(lane, predictors, weights, rng.uniform(0.05, 3)) for _ in range(presses))
        worst = max(worst, times[-1])
        print(f"{weights.model_id} {weights.name} {dict(weights.card.variant)}: idle after at most {times[-1]:.2f} s, "
              f"median {times[len(times) // 2]:.2f} s of {presses} presses")  # fmt: skip
    if not lane.close():
        raise SystemExit("the lane did not close")
    print(f"worst {worst:.2f} s, limit {LIMIT_S} s: {'ok' if worst <= LIMIT_S else 'TOO SLOW'}")
    return 0 if worst <= LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
