"""The whole loop on the sample image: by hand in a window, or by itself for a picture."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import ResourceError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import EPITHELIUM

if TYPE_CHECKING:
    from napari_histoseg.plugin import Workbench
    from napari_histoseg.session import JobKind, Session

SAMPLE = "ihc"
STROKES = 3
_RUN = "import sys; from napari_histoseg.cli import main; sys.exit(main())"
_SOFTWARE_DRAWING = {"LIBGL_ALWAYS_SOFTWARE": "1"}
_SIZE_PX = (1366, 768)
_BRUSH_PX = 25
_STEPS = 150
_REACH_PX = 160
_BROWN = (0.35, 0.42)
_EMPTY = 226.0
_PATIENCE_S = 600.0
_SETTLE_S = 1.0


def demo(screenshot: Path | None = None) -> int:
    """Open the sample image with a model chosen; with ``screenshot`` run the loop, save the window and return.

    Parameters
    ----------
    screenshot : Path, optional
        PNG to write. Then everything happens by itself, on a virtual screen where there is no real one: segment,
        three corrective strokes, retrain, segment again.

    Returns
    -------
    int
        Exit status of the command.

    Raises
    ------
    ResourceError
        When there is no screen and no way to make one, or a step takes too long.
    """
    if screenshot is None:
        _by_hand()
    elif sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        with virtual_screen() as display:
            return _in_a_process_of_its_own(screenshot, display)
    else:
        _by_itself(screenshot)
    return 0


def _in_a_process_of_its_own(screenshot: Path, display: str) -> int:
    """Run the demo on another display; a process cannot outlive the display it has drawn on, so this is a new one."""
    command = [sys.executable, "-c", _RUN, "demo", "--screenshot", str(screenshot)]
    return subprocess.run(command, env={**os.environ, **_SOFTWARE_DRAWING, "DISPLAY": display}).returncode


@contextmanager
def virtual_screen() -> Iterator[str]:
    """An X server without hardware, for as long as the context lasts; its display's name.

    Raises
    ------
    ResourceError
        When Xvfb is not installed.
    """
    read_end, write_end = os.pipe()
    size = f"{_SIZE_PX[0]}x{_SIZE_PX[1]}x24"
    try:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write_end), "-screen", "0", size],
            pass_fds=(write_end,),
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise ResourceError(
            "There is no screen to draw on and Xvfb, which makes a virtual one, is not installed; install the package "
            "'xvfb' or run this on a machine with a screen."
        ) from None
    finally:
        os.close(write_end)
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise ResourceError("The virtual screen (Xvfb) did not start; run this on a machine with a screen.")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


def _by_hand() -> None:
    import napari

    from napari_histoseg.plugin import open_window
    from napari_histoseg.samples import get_sample

    bench = open_window()
    try:
        bench.bridge.images.open(get_sample(SAMPLE).open())
        napari.run()
    finally:
        bench.close()


def _by_itself(screenshot: Path) -> None:
    from napari_histoseg.plugin import open_window
    from napari_histoseg.samples import get_sample

    with tempfile.TemporaryDirectory() as folder:
        bench = open_window()
        try:
            bench.viewer.window.resize(*_SIZE_PX)
            bench.session.create_project(Path(folder) / "demo.histoseg")
            bench.bridge.images.open(get_sample(SAMPLE).open())
            walk_the_loop(bench)
            bench.viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
        finally:
            bench.close()
            bench.viewer.close()


def walk_the_loop(bench: Workbench) -> None:
    """Segment, correct with a few strokes, retrain, and wait for the new overlay; the window stays live meanwhile.

    Raises
    ------
    ResourceError
        When the image cannot be opened or a step takes too long.
    """
    from napari_histoseg.learning.plan import FineTunePlan

    session, images = bench.session, bench.bridge.images
    image_id = images.current
    if image_id is None:
        raise ResourceError(images.problem or "The sample image could not be opened.")
    failures: list[str] = []
    session.job_changed.connect(lambda status: failures.append(status.message) if status.state == "failed" else None)
    bench.bridge.segment()
    _finish(session, "predict", failures)
    ref = session.image_ref(image_id)
    seen = stained_glands(ref.read(0, Box.of_shape(ref.shape)))
    for _ in range(STROKES):
        paint_worst_place(bench, seen)
    bench.open_panels("Retrain")
    session.retrain(FineTunePlan(steps=_STEPS))
    _finish(session, "finetune", failures)
    _finish(session, "predict", failures)
    settled = time.monotonic() + _SETTLE_S
    _wait_for(lambda: time.monotonic() > settled)


def stained_glands(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a person sees at a glance in the sample: the brown stain (DAB) marks the glands.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Class ids of the epithelium schema; ``IGNORE`` where a glance does not decide.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2hed

    brown = gaussian_filter(rgb2hed(pixels)[..., 2], 6.0)
    light = gaussian_filter(pixels.min(axis=2).astype(np.float32), 6.0)
    seen = np.full(brown.shape, IGNORE, np.uint8)
    low, high = np.quantile(brown, _BROWN)
    seen[brown < low] = EPITHELIUM.by_name("other tissue").id
    seen[brown > high] = EPITHELIUM.by_name("epithelium").id
    seen[light > _EMPTY] = IGNORE
    return seen


def worst_place(labels: NDArray[np.uint8], seen: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int]:
    """Where a stroke corrects most: the middle of the largest disagreement.

    Returns
    -------
    points : ndarray of int64, shape (N, 2)
        (y, x) of the stroke, which stays inside one tissue.
    class_id : int
        What belongs there.
    """
    from scipy.ndimage import distance_transform_edt, label

    wrong = (labels != seen) & (seen != IGNORE)
    regions, _ = label(wrong)
    largest = regions == np.argmax(np.bincount(regions.ravel())[1:]) + 1 if wrong.any() else wrong
    depth = distance_transform_edt(largest)
    middle = np.array(np.unravel_index(np.argmax(depth), depth.shape))
    class_id = int(seen[tuple(middle)])
    deep = np.argwhere(depth > _BRUSH_PX / 2)
    near = deep[np.abs(deep - middle).max(axis=1) < _REACH_PX] - middle
    along = np.linalg.svd(near, full_matrices=False)[2][0] if len(near) > 2 else np.array([0.0, 1.0])
    tissue = distance_transform_edt(seen == class_id) > _BRUSH_PX / 2
    points = [middle]
    for direction in (along, -along):
        for step in range(1, _REACH_PX):
            point = np.rint(middle + step * direction).astype(np.int64)
            if (point < 0).any() or (point >= depth.shape).any() or not tissue[tuple(point)]:
                break
            points.append(point)
    return np.array(points), class_id


def paint_worst_place(bench: Workbench, seen: NDArray[np.uint8]) -> None:
    """Correct the largest disagreement between the overlay and ``seen`` with one stroke."""
    tools, image_id = bench.bridge.tools, bench.bridge.images.current
    if image_id is None or tools.layer is None:
        return
    points, class_id = worst_place(bench.session.displayed(image_id), seen)
    tools.set_brush_size(_BRUSH_PX)
    tools.set_class(class_id)
    with tools.layer.block_history():
        for point in points:
            tools.layer.paint(point, class_id, refresh=False)
    tools.layer.refresh()
    _wait_for(lambda: True)


def _finish(session: Session, kind: JobKind, failures: list[str]) -> None:
    _wait_for(lambda: not session.is_running(kind))
    if failures:
        raise ResourceError(failures[0])


def _wait_for(is_done: Callable[[], bool]) -> None:
    from napari_histoseg.widgets.parts.pump import wait_until

    if not wait_until(is_done, _PATIENCE_S):
        raise ResourceError("The demo took longer than ten minutes and was stopped; try it on a faster machine.")
