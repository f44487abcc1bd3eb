"""How long all cells of a large image take to grow from points, and how soon that stops when it is cancelled.

    python -m benchmarks.points_full [--points 20000]

4096 x 4096 pixels of drawn nuclei at 0.25 µm per pixel, some in clusters that touch, with a point in the middle of
each. Judged by the time at work, which is what this process had of the processor. Beside it, in the same run,
`skimage.segmentation.watershed` on the whole image, from the same points over the distance to the nearest of them
within what is stained, without all that comes before and after.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from benchmarks.cells_journal import MPP, SIDE_PX, placed
from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.inference.ground import Ground, find_threshold
from napari_histoseg.inference.points import PointRules, Points, grow
from napari_histoseg.io.cells import write_points
from napari_histoseg.jobs.job import Progress, run_job
from napari_histoseg.session import Session

LIMIT_S, CANCEL_S = 10.0, 2.0
_PRESSES = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000)
    count = parser.parse_args().points
    image, points = drawn(count)
    results = [grown(image, points, mode) for mode in (PointRules(), PointRules(mode="contour"))]
    plain(image, points)
    with tempfile.TemporaryDirectory() as folder:
        results += [in_a_project(image, points, Path(folder))]
    return 0 if all(results) else 1


def drawn(count: int) -> tuple[ImageRef, Points]:
    """An image of nuclei with uneven stain and noise, and their middles as points of three classes."""
    rng = np.random.default_rng(0)
    instances = placed(count, rng)
    amount = ndimage.gaussian_filter((instances > 0).astype(np.float32), 1.2)
    amount *= 0.75 + 0.25 * ndimage.zoom(rng.random((SIDE_PX // 64, SIDE_PX // 64), np.float32), 64, order=1)
    amount += 0.4 * ndimage.gaussian_filter(rng.normal(0, 1, instances.shape).astype(np.float32), 2)
    pixels = np.empty((*instances.shape, 3), np.uint8)
    for channel, (pale, dark) in enumerate(((228, 85), (170, 55), (205, 140))):
        noise = rng.normal(0, 5, instances.shape).astype(np.float32)
        pixels[..., channel] = np.clip(pale + (dark - pale) * np.clip(amount, 0, 1) + noise, 0, 255)
    y, x = np.array(ndimage.center_of_mass(instances > 0, instances, np.arange(1, count + 1))).T
    classes = rng.integers(1, 4, count).astype(np.uint8)
    return image_from_array(pixels, name="nuclei", mpp=MPP), Points.of(y, x, classes)


def grown(image: ImageRef, points: Points, rules: PointRules) -> bool:
    """Threshold and growth as the job does them, without a project."""
    steps: list[float] = []
    begin = time.perf_counter()
    last = at_work = time.process_time()

    def on_step(_: Progress) -> None:
        nonlocal last
        now = time.process_time()
        steps.append(now - last)
        last = now

    def read(box: Box) -> NDArray[np.uint8]:
        return image.read(0, box)

    threshold = run_job(find_threshold(read, image.shape, MPP), on_step)
    run_job(grow(Ground(read, image.shape, MPP, threshold), points, rules=rules), on_step)
    seconds, worked = time.perf_counter() - begin, time.process_time() - at_work
    print(
        f"{rules.mode}: {len(points)} points in {seconds:.1f} s ({worked:.1f} s at work), longest step "
        f"{max(steps) * 1000:.0f} ms at work, limit {LIMIT_S:.0f} s: {'ok' if worked <= LIMIT_S else 'TOO SLOW'}"
    )
    return worked <= LIMIT_S


def plain(image: ImageRef, points: Points) -> None:
    def read(box: Box) -> NDArray[np.uint8]:
        return image.read(0, box)

    whole = Box.of_shape(image.shape)
    ground = Ground(read, image.shape, MPP, run_job(find_threshold(read, image.shape, MPP)))
    stain, level = ground.stain(whole)
    seeds = np.zeros(image.shape, np.int32)
    seeds[points.pixels(whole)] = points.numbers
    distance = ndimage.distance_transform_edt(seeds == 0)
    mask = (stain > level) | (distance <= PointRules().core_um / MPP)
    begin, at_work = time.perf_counter(), time.process_time()
    watershed(distance, seeds, mask=mask & (distance <= PointRules().reach_um / MPP))
    told = f"{time.perf_counter() - begin:.1f} s ({time.process_time() - at_work:.1f} s at work)"
    begin, at_work = time.perf_counter(), time.process_time()
    watershed(-stain, seeds)
    everywhere = f"{time.perf_counter() - begin:.1f} s ({time.process_time() - at_work:.1f} s at work)"
    print(f"plain watershed on the whole image: {told} within a given foreground, {everywhere} everywhere")


def in_a_project(image: ImageRef, points: Points, folder: Path) -> bool:
    """From a list of points to one committed edit, and from Cancel to an idle lane."""
    session = Session(device="cpu")
    session.create_project(folder / "full.histoseg", "cellularity")
    image_id = session.add_image(image).id
    names = {c.id: c.name for c in session.need_project().schema.classes}
    write_points(folder / "points.csv", points.x, points.y, [names[k] for k in points.class_ids.tolist()])
    begin, at_work, before = time.perf_counter(), time.process_time(), time.thread_time()
    session.points.import_csv(image_id, folder / "points.csv")
    read_s = time.thread_time() - before
    waits: list[float] = []
    while session.is_running("points"):
        before = time.thread_time()
        session._lane.wait(0.0)
        waits.append(time.thread_time() - before)
        time.sleep(0.005)
    seconds, worked = time.perf_counter() - begin, time.process_time() - at_work
    rng = np.random.default_rng(1)
    idle = []
    for _ in range(_PRESSES):
        session.points.solve(image_id)
        session._lane.wait(float(rng.uniform(0.1, 2)))
        pressed = time.perf_counter()
        session.cancel("points")
        session._lane.wait()
        idle.append(time.perf_counter() - pressed)
    edits = session.need_project().edit_count(image_id)
    session.close()
    is_good = worked <= LIMIT_S and max(idle) <= CANCEL_S and edits == 1
    print(
        f"in a project: {seconds:.1f} s ({worked:.1f} s at work) from the file to {edits} committed edit, of which the "
        f"window waits {read_s:.2f} s for the file and {max(waits):.2f} s for the edit; idle at most {max(idle):.2f} s "
        f"after Cancel ({_PRESSES} presses): {'ok' if is_good else 'FAILED'}"
    )
    return is_good


if __name__ == "__main__":
    sys.exit(main())
