"""Wiring: one session, bridge and set of panels for each viewer, and what the menus call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_histoseg.core.errors import HistosegError

if TYPE_CHECKING:
    import napari

    from napari_histoseg.session import Session
    from napari_histoseg.widgets.parts.panel import Panel
    from napari_histoseg.widgets.parts.view import View

PLUGIN = "napari-histoseg"
TABS = ("Segment", "Correct", "Cells", "Retrain", "Models")
LEGEND = "Classes"
SCORES = "Cellularity"
"""Opened from the menu, or when a model that gives a score is chosen."""
HISTORY = "History"
"""Opened from the menu, or by the button of the panel of cells."""
_SAVE_EVERY_MS = 200

_benches: WeakKeyDictionary[Any, Workbench] = WeakKeyDictionary()


class Workbench:
    """Session, bridge and panels of one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Everything stops when its window goes away.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        from napari_histoseg.session import Session
        from napari_histoseg.viewer import compat
        from napari_histoseg.viewer.bridge import Bridge
        from napari_histoseg.widgets.parts.pump import Ticker, queue_pump

        _keep_triton_out()
        self.session = Session(is_beside_viewer=True)
        self.bridge = Bridge(viewer, self.session)
        self._tickers = (queue_pump(), Ticker(_SAVE_EVERY_MS, self._save))
        self._panels: list[Panel] = []
        self._is_open = True
        self._told = ""
        self.is_arranging = False
        self._is_arranged = False
        self._tabs: tuple[str, ...] = TABS
        self._model_id = ""
        self.viewer = viewer
        self.bridge.panel_wanted.connect(self.open_panels)
        self.session.model_changed.connect(self._on_model_changed)
        compat.on_window_closed(viewer, self.close)

    def panel(self, name: str) -> Panel:
        """A new panel of that name."""
        panel = _panel_class(name)(self.session, self.bridge)
        self._panels.append(panel)
        return panel

    def open_panels(self, raised: str = TABS[0]) -> None:
        """Dock all panels in their places; those that are docked stay."""
        from napari_histoseg.widgets.parts.docks import arrange, raise_tab

        if not self._is_open:
            return
        made = len(self._panels)
        if raised not in self._tabs:
            self._tabs = (*self._tabs, raised)
        self.is_arranging = True
        docks = {name: self.viewer.window.add_plugin_dock_widget(PLUGIN, name)[0] for name in (*self._tabs, LEGEND)}
        self.is_arranging = False
        if len(self._panels) > made or not self._is_arranged:
            self._is_arranged = True
            arrange(docks, LEGEND, raised)
        else:
            raise_tab(docks[raised])

    def _on_model_changed(self) -> None:
        """Open the panel of scores for a model that gives one, once when it is chosen."""
        model = self.session.active
        known, self._model_id = self._model_id, "" if model is None else model.spec.id
        if model is not None and model.spec.task == "regression" and model.spec.id != known and self._is_arranged:
            self.open_panels(SCORES)

    def open_last_project(self) -> None:
        """Open the project of the last visit; when it cannot be opened the window says why and stays empty."""
        last = next(iter(self.session.recent_projects()), None)
        if last is None:
            return
        try:
            self.session.open_project(last)
        except HistosegError as error:
            self.bridge.say("warning", str(error))

    def close(self) -> None:
        """Stop what runs, save, let go of the viewer; at most two seconds."""
        if not self._is_open:
            return
        self._is_open = False
        for panel in self._panels:
            panel.close_panel()
        self._panels.clear()
        self.bridge.close()
        try:
            self.session.close()
        except HistosegError as error:  # the project is closed all the same; what runs still has to stop
            self.bridge.say("warning", str(error))
            self.session.close()
        for ticker in self._tickers:
            ticker.stop()
        _benches.pop(self.viewer, None)

    def _save(self) -> None:
        try:
            self.session.save()
        except HistosegError as error:
            if str(error) != self._told:
                self.bridge.say("warning", str(error))
            self._told = str(error)
        else:
            self._told = ""


def _keep_triton_out() -> None:
    """Let torch do without triton, which nothing here uses.

    Triton brings a compiler library that Mesa's OpenGL drivers bring as well, in another version; a process that draws
    with the one and then loads the other, which importing torchvision does, crashes.
    """
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it would tell that triton is not there


def workbench(viewer: napari.Viewer) -> Workbench:
    """The workbench of a viewer, made on first use."""
    from napari_histoseg.viewer import compat

    viewer = compat.unwrapped(viewer)
    bench = _benches.get(viewer)
    if bench is None:
        bench = Workbench(viewer)
        _benches[viewer] = bench
    return bench


def open_window() -> Workbench:
    """A new viewer with everything docked and no image.

    The caller runs the event loop, and closes the workbench after it.
    """
    import napari

    from napari_histoseg.viewer import compat

    compat.accept_backend()
    bench = workbench(napari.Viewer(title=PLUGIN, show_welcome_screen=False))
    bench.open_panels()
    return bench


def launch(paths: Sequence[str | Path] = (), project: str | Path | None = None) -> Workbench:
    """Open a window with images or a project; without either the last project is opened again.

    Parameters
    ----------
    paths : sequence of path
        Images to open.
    project : path, optional
        Project folder to open.

    Raises
    ------
    HistosegError
        When a path cannot be opened; nothing is left open then.
    """
    from napari_histoseg.io.images import open_image

    refs = [open_image(path) for path in paths]
    bench = open_window()
    if project is not None:
        try:
            bench.session.open_or_view_project(project)
        except HistosegError:
            bench.close()
            bench.viewer.close()
            raise
    elif not refs:
        bench.open_last_project()
    for ref in refs:
        bench.bridge.images.open(ref)
    return bench


def open_panels(viewer: napari.Viewer) -> None:
    """Menu command: dock everything."""
    workbench(viewer).open_panels()


def segment_panel() -> Panel:
    """Menu widget: choose image and model, run."""
    return _docked("Segment")


def correct_panel() -> Panel:
    """Menu widget: paint, undo, accept."""
    return _docked("Correct")


def cells_panel() -> Panel:
    """Menu widget: cells from points, their classes and outlines."""
    return _docked("Cells")


def retrain_panel() -> Panel:
    """Menu widget: learn from the corrections."""
    return _docked("Retrain")


def models_panel() -> Panel:
    """Menu widget: models and their cards."""
    return _docked("Models")


def cellularity_panel() -> Panel:
    """Menu widget: cellularity of the view and of each field."""
    return _docked(SCORES)


def history_panel() -> Panel:
    """Menu widget: who did what, and the way back."""
    return _docked(HISTORY)


def classes_panel() -> Panel:
    """Menu widget: the legend."""
    return _docked(LEGEND)


def sample_ihc() -> list[tuple[Any, dict[str, Any], str]]:
    """Sample menu: colon glands from scikit-image."""
    return _sample("ihc")


def sample_phantom() -> list[tuple[Any, dict[str, Any], str]]:
    """Sample menu: the generated phantom."""
    return _sample("phantom")


def sample_cmu1() -> list[tuple[Any, dict[str, Any], str]]:
    """Sample menu: a downloaded slide region; napari shows the sentence when it cannot be had."""
    return _sample("cmu1")


def _sample(sample_id: str) -> list[tuple[Any, dict[str, Any], str]]:
    from napari_histoseg.samples import get_sample
    from napari_histoseg.viewer.layers import image_layer_data

    return [image_layer_data(get_sample(sample_id).open())]


def _docked(name: str) -> Panel:
    """A panel for the viewer in front; the other panels join it once it is docked."""
    import napari

    from napari_histoseg.widgets.parts.pump import soon

    bench = workbench(napari.current_viewer())
    raised = TABS[0] if name == LEGEND else name
    if not bench.is_arranging:
        soon(lambda: bench.open_panels(raised))
    return bench.panel(name)


def _panel_class(name: str) -> Callable[[Session, View], Panel]:
    from napari_histoseg.widgets.cells import CellsPanel
    from napari_histoseg.widgets.cellularity import CellularityPanel
    from napari_histoseg.widgets.classes import ClassesPanel
    from napari_histoseg.widgets.correct import CorrectPanel
    from napari_histoseg.widgets.history import HistoryPanel
    from napari_histoseg.widgets.models import ModelsPanel
    from napari_histoseg.widgets.retrain import RetrainPanel
    from napari_histoseg.widgets.segment import SegmentPanel

    panels: dict[str, Callable[[Session, View], Panel]] = {
        "Segment": SegmentPanel,
        "Correct": CorrectPanel,
        "Cells": CellsPanel,
        "Retrain": RetrainPanel,
        "Models": ModelsPanel,
        LEGEND: ClassesPanel,
        SCORES: CellularityPanel,
        HISTORY: HistoryPanel,
    }
    return panels[name]
