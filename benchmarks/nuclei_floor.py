"""What the method without learning reaches on nuclei: every network has to beat it.

    python -m benchmarks.nuclei_floor [--data ../shared/data] [--device cpu]

The registered model predicts the 13 MoNuSeg images through the ordinary job, cells are parted as for every model of
nuclei, and Dice, AJI and PQ are compared with the published floor. The method's few constants (width of the
neighbourhood, smoothing, least area) were chosen on these same images.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.real_nuclei import reached, samples, scores, told
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.instances import instances_from_probabilities
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.weights import resolve

FLOOR = (0.76, 0.42, 0.41)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    weights, predictors, rows = resolve("haematoxylin_watershed"), Predictors(), []
    began = time.perf_counter()
    for item in samples(args.data, "monuseg"):
        name, mpp = item.facts["key"], item.facts["mpp"]
        image = image_from_array(item.image, name=name, mpp=mpp)
        request = PredictRequest(image, weights.model_id, weights, device=args.device, keep_probabilities=True)
        result = run_job(predict(request, predictors))
        if result.probabilities is None or item.instances is None:
            raise RuntimeError("There is nothing to compare.")
        rows.append(scores(item.instances, instances_from_probabilities(result.probabilities, mpp)))
        print(f"{name}: " + " ".join(f"{value:.3f}" for value in rows[-1]))
    is_good = reached(rows, FLOOR)
    print(f"{told(rows)}, {time.perf_counter() - began:.0f} s; floor {FLOOR}: {'ok' if is_good else 'FAILED'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
