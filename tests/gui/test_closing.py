"""Nothing survives a closed window, and everything is there in the next one."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_histoseg.core.errors import ProjectLockedError


def lanes() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if "lane" in t.name.lower()]


@pytest.mark.both_bindings
def test_closing_stops_a_run_within_two_seconds(ready: Any, qtbot: Any) -> None:
    before = len(lanes())
    ready.bridge.segment()
    qtbot.wait(50)
    started = time.monotonic()
    ready.close()
    assert time.monotonic() - started < 2.5
    ready.viewer.close()
    assert ready.session.project is None
    assert len(lanes()) == max(0, before - 1)


def test_no_widget_timer_or_thread_survives(
    make_napari_viewer: Callable[..., Any], qtbot: Any, tissue: np.ndarray, tiny_weights: Path
) -> None:
    from napari_histoseg.plugin import workbench
    from napari_histoseg.widgets.parts.panel import Panel
    from napari_histoseg.widgets.parts.pump import Ticker

    def count() -> tuple[int, int, int]:
        gc.collect()
        qtbot.wait(50)
        gc.collect()
        panels = sum(isinstance(w, Panel) for w in QApplication.allWidgets())
        tickers = sum(isinstance(o, Ticker) for o in gc.get_objects())
        return panels, tickers, len(lanes())

    viewer = make_napari_viewer()
    before = count()
    bench = workbench(viewer)
    bench.open_panels()
    viewer.add_image(tissue, name="tissue")
    bench.session.set_mpp(bench.bridge.images.current, 1.0)
    bench.session.choose_model("unet", str(tiny_weights))
    bench.bridge.segment()
    assert count() > before
    viewer.close()
    bench.close()
    del bench, viewer
    qtbot.waitUntil(lambda: count() <= before, timeout=3000)


def test_two_viewers_work_side_by_side(make_napari_viewer: Callable[..., Any], tissue: np.ndarray) -> None:
    from napari_histoseg.plugin import workbench

    one, other = workbench(make_napari_viewer()), workbench(make_napari_viewer())
    assert one.session is not other.session
    one.viewer.add_image(tissue, name="one")
    other.viewer.add_image(tissue[:64, :64], name="other")
    one.bridge.show_labels()
    one.bridge.tools.layer.paint((10, 10), 2)
    assert one.session.project.edits()
    assert not other.session.project.edits()
    one.close()
    other.close()


@pytest.mark.both_bindings
def test_everything_is_there_again(
    segmented: Any, hand: Any, qtbot: Any, make_napari_viewer: Callable[..., Any]
) -> None:
    from napari_histoseg.plugin import workbench

    image_id = segmented.bridge.images.current
    segmented.bridge.tools.set_class(2)
    hand.stroke((100, 60), (100, 100))
    segmented.bridge.appearance.set_palette("glands")
    segmented.viewer.camera.zoom = 7.0
    segmented.viewer.camera.center = (0, 90.0, 70.0)
    labels, state = segmented.session.displayed(image_id), segmented.session.state(image_id)
    path, model = segmented.session.project.path, segmented.session.active.label
    segmented.close()
    segmented.viewer.close()

    again = workbench(make_napari_viewer(show=True))
    again.open_panels()
    again.open_last_project()
    assert again.session.project.path == path
    assert again.bridge.images.current == image_id
    assert again.session.active.label == model
    np.testing.assert_array_equal(again.bridge.tools.layer.data, labels)
    np.testing.assert_array_equal(again.session.state(image_id), state)
    assert again.bridge.appearance.palette_id == "glands"
    source = again.bridge.images.source
    np.testing.assert_allclose(source.world_to_data(again.viewer.camera.center[-2:]), (90, 70), atol=0.5)
    assert again.viewer.camera.zoom * source.scale[-1] == pytest.approx(7.0)
    again.bridge.undo()
    assert not again.session.state(image_id).any()
    again.close()


def test_the_same_image_dropped_again_continues_the_work(
    bench: Any, tissue: np.ndarray, make_napari_viewer: Callable[..., Any]
) -> None:
    from napari_histoseg.plugin import workbench

    bench.viewer.add_image(tissue, name="tissue")
    bench.bridge.show_labels()
    bench.bridge.tools.layer.paint((10, 10), 2)
    bench.close()
    again = workbench(make_napari_viewer())
    again.viewer.add_image(tissue, name="tissue")
    assert again.bridge.tools.layer.data[10, 10] == 2
    again.close()


def test_a_project_open_elsewhere_is_told_and_the_window_stays(
    bench: Any, tissue: np.ndarray, make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_histoseg.plugin import workbench

    bench.viewer.add_image(tissue, name="tissue")
    said: list[str] = []
    monkeypatch.setattr("napari_histoseg.viewer.bridge._SAY", {"warning": said.append})
    other = workbench(make_napari_viewer())
    other.open_last_project()
    assert other.session.project is None
    assert "open" in said[0]
    with pytest.raises(ProjectLockedError):
        other.session.open_project(bench.session.project.path)
    other.viewer.add_image(tissue, name="tissue")
    assert other.bridge.images.current is not None
    other.close()


def test_read_only_projects_show_and_do_not_change(
    segmented: Any, hand: Any, make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_histoseg.plugin import workbench

    path, image_id = segmented.session.project.path, segmented.bridge.images.current
    shown = segmented.session.displayed(image_id)
    segmented.close()
    said: list[str] = []
    monkeypatch.setattr("napari_histoseg.viewer.bridge._SAY", dict.fromkeys(("info", "warning", "error"), said.append))
    again = workbench(make_napari_viewer())
    again.open_panels()
    again.session.open_project(path, read_only=True)
    layer = again.bridge.tools.layer
    np.testing.assert_array_equal(layer.data, shown)
    layer.paint((100, 100), 2)
    layer.paint((100, 100), 1)
    assert any("reading only" in sentence for sentence in said)
    np.testing.assert_array_equal(layer.data, shown)
    again.close()
