"""How many planted faults are among the first that the list of doubtful cells names.

    python -m benchmarks.doubts [--data ../shared/data]

Points of MoNuSeg (the middles of outlined nuclei) and CRCHistoPhenotypes (points of four classes, not all nuclei
marked) grow into cells after one in twenty of them was removed, another doubled (a second point 2 to 3 µm beside it)
and another moved (by 5 to 8 µm), by a seed. A fault counts as found when a doubt points within 5 µm of one of its
places; N is the number of faults in the image, and the share by chance is that of equally many points drawn blindly.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.real_nuclei import samples
from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellPoints
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.doubts import Doubt, DoubtRequest, find_doubts
from napari_histoseg.inference.ground import Ground, find_threshold
from napari_histoseg.inference.instances import cell_table
from napari_histoseg.inference.points import PointRules, Points, grow, single_points
from napari_histoseg.jobs.job import run_job
from training.prepared import Sample

SHARE = 0.05
FOUND_UM = 5.0
DOUBLED_UM, MOVED_UM = (2.0, 3.0), (5.0, 8.0)
LISTS = (1, 2, 3)


@dataclass(frozen=True)
class Fault:
    """Something wrong that was planted, and the places (y, x) at which it shows."""

    kind: str
    places: tuple[tuple[float, float], ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in ("monuseg", "crchisto"):
        tell(
            name, [tried(item, np.random.default_rng(args.seed + k)) for k, item in enumerate(samples(args.data, name))]
        )
    return 0


def true_points(item: Sample) -> Points:
    """The middles of the outlined nuclei, or the points that came with the image."""
    if item.points is not None:
        y, x, class_ids = item.points.T
        class_ids = np.where(class_ids == 0, IGNORE, class_ids).astype(np.uint8)
    elif item.instances is not None:
        numbers = np.unique(item.instances)[1:]
        y, x = np.array(ndimage.center_of_mass(item.instances > 0, item.instances, numbers)).T
        class_ids = np.ones(len(y), np.uint8)
    else:
        raise RuntimeError("There is nothing to plant faults in.")
    inside = Points.of(y, x, class_ids).inside(Box.of_shape(item.image.shape))
    return single_points(inside, PointRules().same_um / item.facts["mpp"])


def planted(points: Points, mpp: float, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Points, list[Fault]]:
    """The points with faults in them, and which."""
    count = max(1, round(SHARE * len(points)))
    removed, doubled, moved = np.split(rng.permutation(len(points))[: 3 * count], 3)
    y, x = points.y.copy(), points.x.copy()
    faults = [Fault("removed", ((y[k], x[k]),)) for k in removed]
    faults += [Fault("doubled", ((y[k], x[k]),)) for k in doubled]
    beside = np.stack([y[doubled], x[doubled]]) + _steps(DOUBLED_UM, mpp, len(doubled), rng)
    away = np.stack([y[moved], x[moved]]) + _steps(MOVED_UM, mpp, len(moved), rng)
    away = np.clip(away, 0, np.array(shape[:2])[:, None] - 1)
    faults += [Fault("moved", ((y[k], x[k]), (ay, ax))) for k, ay, ax in zip(moved, *away, strict=True)]
    y[moved], x[moved] = away
    is_left = ~np.isin(np.arange(len(points)), removed)
    ids = points.class_ids
    given = Points.of(
        np.append(y[is_left], beside[0]), np.append(x[is_left], beside[1]), np.append(ids[is_left], ids[doubled])
    )
    return single_points(given.inside(Box.of_shape(shape)), PointRules().same_um / mpp), faults


def _steps(range_um: tuple[float, float], mpp: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    angle, length = rng.uniform(0, 2 * np.pi, count), rng.uniform(*range_um, count) / mpp
    return np.stack([np.sin(angle), np.cos(angle)]) * length


@dataclass(frozen=True)
class Trial:
    """Faults of one image: how many there are of each kind, how many are found in lists of `LISTS` times as many."""

    planted: Counter[str]
    found: tuple[Counter[str], ...]
    by_chance: tuple[float, ...]
    doubts: Counter[str]


def tried(item: Sample, rng: np.random.Generator) -> Trial:
    mpp = item.facts["mpp"]
    points, faults = planted(true_points(item), mpp, item.image.shape, rng)

    def read(box: Box) -> NDArray[np.uint8]:
        return item.image[box.slices]

    shape = item.image.shape[:2]
    ground = Ground(read, shape, mpp, run_job(find_threshold(read, shape, mpp)))
    instances = run_job(grow(ground, points, rules=PointRules()))
    classes = np.zeros(int(points.numbers.max()) + 1, np.uint8)
    classes[points.numbers] = points.class_ids
    table = cell_table(instances, mpp, class_ids=classes[1:])
    marked = CellPoints(points.numbers.astype(np.int64), points.y, points.x, points.class_ids)
    request = DoubtRequest(ground, instances.astype(np.uint32), table, marked, np.zeros(len(table), bool), {})
    doubts = run_job(find_doubts(request))
    lengths = [times * len(faults) for times in LISTS]
    return Trial(
        Counter(fault.kind for fault in faults),
        tuple(Counter(f.kind for f in faults if _is_among(f, doubts[:length], mpp)) for length in lengths),
        tuple(_by_chance(faults, points, length, mpp, rng) for length in lengths),
        Counter(doubt.kind for doubt in doubts[: lengths[0]]),
    )


def _is_among(fault: Fault, doubts: Sequence[Doubt], mpp: float) -> bool:
    return any(np.hypot(d.y - y, d.x - x) * mpp <= FOUND_UM for d in doubts for y, x in fault.places)


def _by_chance(faults: list[Fault], points: Points, count: int, mpp: float, rng: np.random.Generator) -> float:
    chosen = rng.permutation(len(points))[:count]
    blind = [Doubt("size outlier", 0, points.y[k], points.x[k], 1.0, "") for k in chosen]
    return sum(_is_among(fault, blind, mpp) for fault in faults) / len(faults)


def tell(name: str, trials: list[Trial]) -> None:
    total = sum((trial.planted for trial in trials), Counter[str]())
    print(f"{name}: {total.total()} faults planted in {len(trials)} images ({dict(total)})")
    for k, times in enumerate(LISTS):
        found = sum((trial.found[k] for trial in trials), Counter[str]())
        chance = float(np.mean([trial.by_chance[k] for trial in trials]))
        kinds = ", ".join(f"{kind} {found[kind]} of {total[kind]}" for kind in total)
        share = found.total() / total.total()
        print(f"  first {times} N: {found.total()} found ({share:.0%}; {chance:.0%} by chance): {kinds}")
    print(f"  the first N are {dict(sum((trial.doubts for trial in trials), Counter[str]()))}")


if __name__ == "__main__":
    sys.exit(main())
