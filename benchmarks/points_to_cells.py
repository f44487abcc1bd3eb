"""How well points become cells: on outlined nuclei given only their centres, and on points of four classes.

    python -m benchmarks.points_to_cells [--data ../shared/data]

MoNuSeg: the centre of every true nucleus is the point, its outline the truth. The constants of the marker mode were
chosen on these same 13 images. CRCHistoPhenotypes: share of points in a cell of their own class, and areas.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.real_nuclei import MONUSEG_MPP, monuseg, reached, scores, told
from napari_histoseg.core.box import Box
from napari_histoseg.core.schemas import CRCHISTO
from napari_histoseg.inference.points import Mode, PointRules, Points, cells_from_points

FLOOR = {"marker": (0.0, 0.66, 0.60), "contour": (0.0, 0.58, 0.50)}
LEAST_IN_OWN_CLASS = 0.99
MEDIAN_AREA_UM2 = (15.0, 150.0)
CRC_MPP = 0.55


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
    for item in monuseg(data):
        numbers = np.unique(item.instances)[1:]
        y, x = np.array(ndimage.center_of_mass(item.instances > 0, item.instances, numbers)).T
        points = Points.of(y, x, np.ones(len(y), np.uint8))
        rows.append(scores(item.instances, cells_from_points(item.pixels, points, MONUSEG_MPP, rules=rules).instances))
    is_good = reached(rows, FLOOR[rules.mode])
    seconds = (time.perf_counter() - began) / len(rows)
    print(f"MoNuSeg, {rules.mode}: {told(rows)}, {seconds:.1f} s each: {'ok' if is_good else 'FAILED'}")
    return is_good


def classed_points(data: Path, rules: PointRules) -> bool:
    areas, in_own, count, images, left_out = [], 0, 0, 0, 0
    for pixels, points in crchisto(data):
        found = cells_from_points(pixels, points, CRC_MPP, rules=rules)
        inside = points.inside(Box.of_shape(pixels.shape))
        y, x = inside.pixels(Box.of_shape(pixels.shape))
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


def crchisto(data: Path) -> Iterator[tuple[NDArray[np.uint8], Points]]:
    """Images and their classed points, whose published coordinates count from 1."""
    with zipfile.ZipFile(data / "crchisto_points_subset.zip") as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".jpg")):
            table = io.StringIO(archive.read(f"points/{Path(name).stem}.csv").decode())
            rows = [row for row in csv.DictReader(table) if row["class"] != "detection"]
            y, x = (np.array([float(row[axis]) - 1 for row in rows]) for axis in ("y", "x"))
            ids = np.array([CRCHISTO.by_name(row["class"]).id for row in rows], np.uint8)
            yield np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")), Points.of(y, x, ids)


if __name__ == "__main__":
    sys.exit(main())
