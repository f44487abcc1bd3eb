"""How well points become cells: on outlined nuclei given only their centres, and on points of four classes.

    python -m benchmarks.points_to_cells [--data ../shared/data]

MoNuSeg: the centre of every true nucleus is the point, its outline the truth. The constants of the marker mode were
chosen on these same 13 images. CRCHistoPhenotypes: share of points in a cell of their own class, and areas.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
from scipy import ndimage

from benchmarks.real_nuclei import reached, samples, scores, told
from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.points import Mode, PointRules, Points, cells_from_points

FLOOR = {"marker": (0.0, 0.66, 0.60), "contour": (0.0, 0.58, 0.50)}
LEAST_IN_OWN_CLASS = 0.99
MEDIAN_AREA_UM2 = (15.0, 150.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    args = parser.parse_args()
    results = [
        check(args.data, PointRules(mode=mode))
        for mode in get_args(Mode)
        for check in (outlined_nuclei, classed_points)
    ]
    return 0 if all(results) else 1


def outlined_nuclei(data: Path, rules: PointRules) -> bool:
    rows, began = [], time.perf_counter()
    for item in samples(data, "monuseg"):
        if item.instances is None:
            raise RuntimeError("There is nothing to compare.")
        numbers = np.unique(item.instances)[1:]
        y, x = np.array(ndimage.center_of_mass(item.instances > 0, item.instances, numbers)).T
        points = Points.of(y, x, np.ones(len(y), np.uint8))
        found = cells_from_points(item.image, points, item.facts["mpp"], rules=rules)
        rows.append(scores(item.instances, found.instances))
    is_good = reached(rows, FLOOR[rules.mode])
    seconds = (time.perf_counter() - began) / len(rows)
    print(f"MoNuSeg, {rules.mode}: {told(rows)}, {seconds:.1f} s each: {'ok' if is_good else 'FAILED'}")
    return is_good


def classed_points(data: Path, rules: PointRules) -> bool:
    areas, in_own, count, images, left_out = [], 0, 0, 0, 0
    for item in samples(data, "crchisto"):
        if item.points is None:
            raise RuntimeError("There are no points to grow.")
        y, x, class_ids = item.points.T
        is_classed = class_ids != IGNORE
        points = Points.of(y[is_classed], x[is_classed], class_ids[is_classed].astype(np.uint8))
        found = cells_from_points(item.image, points, item.facts["mpp"], rules=rules)
        whole = Box.of_shape(item.image.shape)
        inside = points.inside(whole)
        y, x = inside.pixels(whole)
        in_own += int((found.labels[y, x] == inside.class_ids).sum())
        count += len(inside)
        images += 1
        left_out += found.outside + found.doubled
        areas += found.table.area_um2.tolist()
    low, median, high = np.percentile(areas, [5, 50, 95])
    is_good = in_own >= LEAST_IN_OWN_CLASS * count and MEDIAN_AREA_UM2[0] <= median <= MEDIAN_AREA_UM2[1]
    print(
        f"CRCHistoPhenotypes, {rules.mode}: {in_own} of {count} points ({in_own / count:.2%}) of {images} images are "
        f"in a cell of their class, {len(areas)} cells, {left_out} points left out; area median {median:.0f} µm² "
        f"(5 % {low:.0f}, 95 % {high:.0f}): {'ok' if is_good else 'FAILED'}"
    )
    return is_good


if __name__ == "__main__":
    sys.exit(main())
