"""The pictures of the guide, taken from the running program: ``python docs/make_pictures.py``.

They show scikit-image's immunohistochemistry sample, and the generated phantom where cells are the subject.
Without a screen: ``xvfb-run -s '-screen 0 1366x768x24' python docs/make_pictures.py``.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from napari_histoseg import demo
from napari_histoseg.core.box import Box
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.plugin import Workbench, open_window
from napari_histoseg.samples import get_sample, phantom_sample
from napari_histoseg.samples.phantom import make_phantom
from napari_histoseg.widgets.parts.pump import wait_until

PICTURES = Path(__file__).parent / "pictures"
SIZE_PX = (1366, 768)
PATIENCE_S = 600.0
SETTLED_S = 1.5
"""The legend counts areas twice a second."""
CELLS_AT = (400.0, 400.0)
"""Middle of the largest gland of the phantom."""


def main() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        bench = open_window()
        stack.callback(bench.viewer.close)
        stack.callback(bench.close)
        bench.viewer.window.resize(*SIZE_PX)
        bench.session.create_project(Path(folder) / "glands.histoseg")
        bench.bridge.images.open(get_sample(demo.SAMPLE).open())
        walk(bench)
        cells(bench, Path(folder))


def cells(bench: Workbench, folder: Path) -> None:
    """A gland of the phantom with a cell for every point, and the list of the doubtful ones."""
    session = bench.session
    session.create_project(folder / "cells.histoseg", "crchisto")
    bench.viewer.layers.clear()
    bench.bridge.images.open(get_sample("phantom").open())
    image_id = bench.bridge.images.current
    assert image_id is not None
    phantom_sample.write_files(folder, make_phantom(phantom_sample.SEED))
    session.points.import_csv(image_id, folder / "phantom_points.csv")
    wait_until(lambda: not session.is_running("points"), PATIENCE_S)
    session.points.refresh_doubts(image_id)
    wait_until(lambda: bool(session.points.doubts(image_id)), PATIENCE_S)
    bench.open_panels("Cells")
    bench.bridge.cells.jump_to_place(*CELLS_AT)
    bench.bridge.cells.set_mode("points")
    take(bench, "cells")


def walk(bench: Workbench) -> None:
    session, image_id = bench.session, bench.bridge.images.current
    assert image_id is not None
    take(bench, "start")
    bench.bridge.segment()
    wait_until(lambda: not session.is_running("predict"), PATIENCE_S)
    take(bench, "segmented")
    bench.open_panels("Correct")
    ref = session.image_ref(image_id)
    seen = demo.stained_glands(ref.read(0, Box.of_shape(ref.shape)))
    for _ in range(demo.STROKES):
        demo.paint_worst_place(bench, seen)
    bench.bridge.toggle_marks()
    take(bench, "corrected")
    bench.bridge.toggle_marks()
    bench.open_panels("Retrain")
    losses: list[float] = []
    session.loss_added.connect(lambda _step, loss: losses.append(loss))
    session.retrain(FineTunePlan(steps=120))
    wait_until(lambda: len(losses) >= 60, PATIENCE_S)
    take(bench, "retraining")
    wait_until(lambda: not session.is_running("finetune"), PATIENCE_S)
    wait_until(lambda: not session.is_running("predict"), PATIENCE_S)
    take(bench, "retrained")


def take(bench: Workbench, name: str) -> None:
    wait_until(lambda: False, SETTLED_S)
    bench.viewer.screenshot(str(PICTURES / f"{name}.png"), canvas_only=False, flash=False)


if __name__ == "__main__":
    main()
