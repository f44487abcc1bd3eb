"""How soon a retrain with the starter model is idle after Cancel, pressed at random moments, and what it leaves.

Usage: python -m benchmarks.cancel_retrain [presses]
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT_S = 2.0
LATEST_S = 6.0


def main() -> int:
    presses = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    folder = Path(tempfile.mkdtemp())
    os.environ["XDG_DATA_HOME"] = str(folder / "data")
    from napari_histoseg.core.box import Box
    from napari_histoseg.jobs.lane import Lane
    from napari_histoseg.learning.plan import FineTunePlan
    from napari_histoseg.samples import get_sample
    from napari_histoseg.session import Session

    rng = random.Random(0)
    lane = Lane()
    session = Session(lane)
    project = session.create_project(folder / "cancel.histoseg")
    image_id = session.add_image(get_sample("ihc").open()).id
    session.choose_model("unet")
    for k, y in enumerate((60, 200, 340, 440)):
        session.record(image_id, "paint", Box(y, 80, y + 24, 300), np.full((24, 220), 1 + k % 2, np.uint8))
    times = []
    for _ in range(presses):
        session.retrain(FineTunePlan(steps=2000, minutes=30))
        lane.wait(rng.uniform(0.05, LATEST_S))
        began = time.perf_counter()
        session.cancel("finetune")
        lane.wait()
        times.append(time.perf_counter() - began)
    left = [path.name for path in (project.path / "revisions").rglob("*")]
    times.sort()
    is_good = times[-1] <= LIMIT_S and not left and project.edit_count(image_id) == 4
    print(
        f"idle after at most {times[-1]:.2f} s, median {times[len(times) // 2]:.2f} s of {presses} presses, limit "
        f"{LIMIT_S} s; files left in revisions: {left or 'none'}: {'ok' if is_good else 'FAILED'}"
    )
    session.close()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
