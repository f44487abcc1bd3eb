"""The pictures of the guide, taken from the running program: ``python docs/make_pictures.py``.

They show scikit-image's immunohistochemistry sample. Without a screen:
``xvfb-run -s '-screen 0 1366x768x24' python docs/make_pictures.py``.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from napari_histoseg import demo
from napari_histoseg.core.box import Box
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.plugin import Workbench, open_window
from napari_histoseg.samples import get_sample
from napari_histoseg.widgets.parts.pump import wait_until

PICTURES = Path(__file__).parent / "pictures"
SIZE_PX = (1366, 768)
PATIENCE_S = 600.0
SETTLED_S = 1.5
"""The legend counts areas twice a second."""


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
