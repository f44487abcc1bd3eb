"""Is the memory that the Segment panel foretells what a prediction takes? Estimate against the measured peak.

Each model runs in a process of its own; what it takes beyond the imports is its peak, as Linux tells it. Networks
other than the starter have random weights.

Usage: python -m benchmarks.memory [model id ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MODELS = ("starter", "unet", "spade_segresnet")
SIDE_PX = 512
MPP = 0.5


def resident_bytes(which: str) -> int:
    """Size of this process now (``VmRSS``) or at its largest (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(which))


def measure(name: str) -> dict[str, object]:
    """Estimate and truth of one model, in bytes; to be called once in a process."""
    from benchmarks.models_under_test import starter, tissue
    from napari_histoseg.inference.estimate import estimate, measure
    from napari_histoseg.inference.footprint import footprint
    from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
    from napari_histoseg.jobs.job import run_job
    from napari_histoseg.models.predictor import find_device
    from napari_histoseg.models.registry import get_model
    from napari_histoseg.models.weights import RANDOM, resolve

    weights = starter() if name == "starter" else resolve(name, RANDOM)
    spec = get_model(weights.model_id).spec
    image = tissue(SIDE_PX, SIDE_PX, MPP)
    predictors = Predictors()
    footprint(weights)  # imports all that is needed
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident_bytes("VmRSS")
    run_job(predict(PredictRequest(image, spec.id, weights, device=str(find_device("cpu"))), predictors))
    taken = resident_bytes("VmHWM") - before
    run_job(measure(weights, "cpu", predictors))
    foretold = estimate(spec, weights, image, "cpu")
    return {"model": name, "foretold": 0 if foretold is None else foretold.memory_bytes, "taken": taken}


def main() -> int:
    names = sys.argv[1:] or MODELS
    if len(names) == 2 and names[0] == "--one":
        print(json.dumps(measure(names[1])))
        return 0
    worst = 1.0
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "--one", name], capture_output=True, text=True, check=True
        )
        result = json.loads(done.stdout)
        ratio = result["foretold"] / result["taken"]
        worst = max(worst, ratio, 1 / ratio)
        print(
            f"{name}: foretold {result['foretold'] / 1e6:.0f} MB, taken {result['taken'] / 1e6:.0f} MB, "
            f"ratio {ratio:.2f} ({SIDE_PX} x {SIDE_PX} px at {MPP:g} µm per pixel)"
        )
    print(f"off by a factor of {worst:.2f} at most, limit 2: {'ok' if worst <= 2 else 'TOO FAR'}")
    return 0 if worst <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
