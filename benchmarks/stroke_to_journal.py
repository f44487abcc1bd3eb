"""Time from a finished brush stroke to its committed journal row, on labels of 4096 x 4096 pixels.

    python -m benchmarks.stroke_to_journal [--strokes 500] [--brush 100] [--folder DIR]

Prints one JSON object. ``disk_commit_ms`` is what a bare commit of 1 kB with ``synchronous=FULL`` costs on the same
disk, so that the part of the disk and the part of the program can be told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import EPITHELIUM

SIDE_PX = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=500)
    parser.add_argument("--brush", type=int, default=100, help="diameter of the brush in pixels")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; decides which disk is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report = {"brush_px": arguments.brush, "strokes": arguments.strokes}
        report |= measure(Path(folder), arguments.strokes, arguments.brush)
        report["disk_commit_ms"] = quantiles(commit_times(Path(folder), arguments.strokes))
    print(json.dumps(report, indent=2))


def measure(folder: Path, strokes: int, brush_px: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    pixels = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    with Project.create(folder / "speed.histoseg", EPITHELIUM) as project:
        image_id = project.add_image(image_from_array(pixels, name="speed", mpp=0.5)).id
        whole = Box.of_shape(pixels.shape)
        run_id = project.begin_run(image_id, model="generated", revision=None, box=whole)
        project.propose(image_id, whole, blobs(rng), run_id=run_id)
        project.end_run(run_id, "done")
        project.checkpoint()
        shown = project.planes(image_id).displayed()
        times, bytes_before = [], journal_bytes(project.path)
        changed, cpu_s = [], 0.0
        for _ in range(strokes):
            box = paint(shown, rng, brush_px)
            after = shown[box.slices]
            begin, cpu_begin = time.perf_counter(), time.process_time()
            edit = project.record(image_id, tool="paint", box=box, after=after)
            times.append(time.perf_counter() - begin)
            cpu_s += time.process_time() - cpu_begin
            changed.append(0 if edit is None else edit.changed)
        checkpoints = []
        finished = False
        while not finished:
            begin = time.perf_counter()
            finished = project._labels.write(0.004)
            checkpoints.append(time.perf_counter() - begin)
        database = sqlite3.connect(f"{(project.path / 'journal.sqlite').as_uri()}?mode=ro", uri=True)
        sizes = [row[0] for row in database.execute("SELECT length(patch) FROM edits")]
        database.close()
    return {
        "stroke_ms": quantiles(times),
        "stroke_cpu_ms_mean": round(cpu_s / strokes * 1000, 2),
        "changed_px_mean": float(np.mean(changed)),
        "patch_bytes_mean": float(np.mean(sizes)),
        "patch_bytes_p95": float(np.quantile(sizes, 0.95)),
        "journal_bytes_per_stroke": (journal_bytes(folder / "speed.histoseg") - bytes_before) / strokes,
        "checkpoint_call_ms": quantiles(checkpoints),
        "checkpoint_calls": len(checkpoints),
    }


def blobs(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels with smooth outlines, as a model draws them."""
    coarse = rng.normal(size=(SIDE_PX // 64, SIDE_PX // 64))
    smooth = coarse + np.roll(coarse, 1, 0) + np.roll(coarse, 1, 1)
    fine = np.kron(smooth, np.ones((64, 64)))
    return np.asarray(np.digitize(fine, (-0.5, 0.8)), np.uint8)


def paint(shown: NDArray[np.uint8], rng: np.random.Generator, brush_px: int) -> Box:
    """Draw one stroke of 30 brush positions into ``shown``; returns the box around it."""
    radius = brush_px / 2
    y, x = rng.uniform(radius + 300, SIDE_PX - radius - 300, 2)
    direction = rng.uniform(0, 2 * np.pi)
    label = int(rng.integers(0, 3))
    positions = []
    for _ in range(30):
        direction += rng.normal(0, 0.2)
        y, x = y + 8 * np.sin(direction), x + 8 * np.cos(direction)
        positions.append((y, x))
    centre = np.array(positions)
    low, high = np.floor(centre.min(0) - radius), np.ceil(centre.max(0) + radius) + 1
    box = Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clip(shown.shape)
    rows, columns = np.ogrid[box.slices]
    for cy, cx in positions:
        shown[box.slices][(rows - cy) ** 2 + (columns - cx) ** 2 <= radius**2] = label
    return box


def commit_times(folder: Path, count: int, size: int = 1000) -> list[float]:
    database = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (b BLOB)")
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        database.execute("INSERT INTO t VALUES (?)", (os.urandom(size),))
        times.append(time.perf_counter() - begin)
    database.close()
    return times


def journal_bytes(project: Path) -> int:
    return sum(path.stat().st_size for path in project.glob("journal.sqlite"))


def quantiles(seconds: list[float]) -> dict[str, float]:
    names = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(float(np.quantile(seconds, q)) * 1000, 2) for name, q in names.items()}


if __name__ == "__main__":
    main()
