"""What the hand does to single cells: what is chosen, what the mouse does, and the keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.viewer.cell_acts import CellKeyboard, DoubtWalk, acts_on_cells
from napari_histoseg.viewer.cell_gestures import CellGestures
from napari_histoseg.viewer.cell_keys import KEYS, MODES
from napari_histoseg.viewer.cell_layers import CellLayers
from napari_histoseg.viewer.points_layer import PointsLayer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_histoseg.session import Session
    from napari_histoseg.viewer.appearance import Appearance
    from napari_histoseg.viewer.images import Images
    from napari_histoseg.viewer.tools import Tools

_LEAST_ZOOM = 1.5  # screen pixels for each pixel of the image at which a single cell can be judged
_MODES = tuple(key.name for key in MODES)
_CHOOSING = ("select", "lasso")
"""Modes that keep what is chosen; in the others keys go to the cell under the pointer."""


class CellTools:
    """Modes, chosen cells and keys of the cells of the current image.

    Keys work on the cells that are chosen, else on the one under the pointer; each is one step that undo takes back.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    images : Images
    appearance : Appearance
    tools : Tools
        Has the class that new cells get.
    commands : mapping of str to callable
        "undo", "redo" and "edits".
    telling : callable
        A context that shows what goes wrong inside it as a sentence.
    warn : callable
        Told the sentence when a point could not be kept.
    """

    changed = Signal()
    """Another mode, other chosen cells, or the layer of cells came or went."""
    hovered = Signal(int)
    """Number of the cell that the pointer came to; 0 where there is none."""

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        images: Images,
        appearance: Appearance,
        tools: Tools,
        *,
        commands: dict[str, Callable[[], Any]],
        telling: Callable[[], AbstractContextManager[None]],
        warn: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._images = images
        self._appearance = appearance
        self._tools = tools
        self._telling = telling
        self._layers = CellLayers(viewer, session, images, appearance)
        self._keys = CellKeyboard(viewer, self._press, self.set_class)
        self._walk = DoubtWalk()
        self._selection: tuple[int, ...] = ()
        self._image_id: str | None = None
        self._mode = "select"
        self._acts_on_cells = acts_on_cells(session)
        self._acts: dict[str, Callable[[], Any]] = {
            **commands,
            "finish": lambda: self._gestures.finish(),
            "next": partial(self._go, 1),
            "previous": partial(self._go, -1),
            "outlines": self._toggle_outlines,
        }
        self._points = PointsLayer(viewer, session, images, appearance, tools, warn)
        self._points.selected.connect(self.select)
        self._points.gone.connect(self._on_points_gone)
        self._gestures = CellGestures(self, self._layers, session, viewer)
        self._layers.shown.connect(self._on_shown)
        self._layers.updated.connect(self._on_updated)
        session.project_changed.connect(self._hold)
        appearance.changed.connect(self._on_appearance_changed)
        self._hold()

    # -- what panels use -------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """What the mouse does on the layer of cells: the name of one of ``MODES``."""
        return self._mode

    @property
    def has_cells(self) -> bool:
        """Whether the current image has cells."""
        image_id = self._images.current
        return image_id is not None and len(self._session.cells.of(image_id)) > 0

    @property
    def selection(self) -> tuple[int, ...]:
        """Numbers of the cells that are chosen, ascending."""
        return self._selection

    @property
    def image_id(self) -> str | None:
        """The image that is worked on."""
        return self._images.current

    @property
    def class_id(self) -> int | None:
        """The class of new cells."""
        return self._tools.class_id

    def set_mode(self, mode: str) -> None:
        """Let the mouse do something else, on the layer of cells, which comes to the front."""
        self._gestures.drop()
        if self._mode == "points" and mode != "points":
            self.select(())  # the point that was set last is chosen by itself
        self._mode = mode
        shown, source = self._layers.show(), self._images.source
        if mode == "points" and source is not None:
            self._points.show(source)
        else:
            self._points.hide()
            if shown is not None:
                self._viewer.layers.selection.active = shown.layer
        self._gestures.take_up()
        if mode == "snap":
            self._tools.choose_cell_class(self._appearance.schema)
        if mode not in _CHOOSING:
            self.select(())
        self.changed.emit()

    def select(self, ids: Iterable[int]) -> None:
        """Choose these cells, and no others; numbers of no cell are left out."""
        image_id = self._images.current
        cells = None if image_id is None else self._session.cells.of(image_id)
        chosen = () if cells is None else tuple(sorted({int(i) for i in ids if int(i) in cells}))
        if chosen == self._selection:
            return
        self._selection = chosen
        if self._layers.current is not None:
            self._layers.current.choose(chosen)
        self._points.select(chosen)
        self.changed.emit()

    def jump_to(self, cell_id: int) -> None:
        """Bring a cell to the middle of the screen and choose it; nothing when it is gone."""
        image_id = self._images.current
        if image_id is None or cell_id not in self._session.cells.of(image_id):
            return
        y, x = self._session.cells.of(image_id).centroids([cell_id])[0]
        self.jump_to_place(float(y), float(x))
        self.select([cell_id])

    def jump_to_place(self, y: float, x: float) -> None:
        """Bring a place of the image, in its pixels, to the middle of the screen, near enough to judge a cell."""
        source = self._images.source
        if source is None:
            return
        least = _LEAST_ZOOM / abs(float(source.scale[-1]))
        self._viewer.camera.zoom = max(float(self._viewer.camera.zoom), least)
        self._images.look_at(Box(round(y), round(x), round(y) + 1, round(x) + 1))

    def preview(self, ids: Iterable[int], class_id: int) -> None:
        """Outline cells thickly in the colour of the class that they would get; nothing is changed."""
        shown = self._layers.show()
        if shown is not None:
            shown.propose(ids, class_id)

    def clear_preview(self) -> None:
        if self._layers.current is not None:
            self._layers.current.propose((), 0)

    def act(self, name: str) -> None:
        """Do what the key of that name does, to the cells that are chosen."""
        self._do(name, self._selection)

    def shortcuts(self) -> tuple[tuple[str, str], ...]:
        """(keys, what they do) of everything that works on the layer of cells, classes first."""
        schema = self._appearance.schema
        classes = () if schema is None else schema.classes
        chosen = tuple((c.key.upper(), f"The cells are {c.name}") for c in classes if c.key is not None)
        return chosen + tuple((key.shown, key.text) for key in KEYS.values())

    def key_of(self, name: str) -> str:
        """The key of a mode or an act, as a person reads it."""
        return KEYS[name].shown

    def _step_back(self) -> None:
        """Drop what was begun, else what the hand holds, else what is chosen."""
        if self._gestures.drop():
            return
        if self._mode != "select":
            self.set_mode("select")
        else:
            self.select(())

    # -- what gestures use -----------------------------------------------------------------------------------------

    def targets(self) -> tuple[int, ...]:
        """The cells that a key works on: those chosen, else the one under the pointer."""
        under = self._gestures.under()
        return self._selection or ((under,) if under else ())

    def tell(self, sentence: str) -> None:
        """Show a hint."""
        self._viewer.status = sentence

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Show what goes wrong inside as a sentence."""
        with self._telling():
            yield

    def set_class(self, class_id: int) -> None:
        """Give a class to the cells in hand; without any it is the class of new cells."""
        targets, image_id = self.targets(), self._images.current
        if not targets or image_id is None:
            self._tools.choose_class(class_id)
            schema = self._appearance.schema
            self.tell("" if schema is None else f"New cells are {schema.by_id(class_id).name}.")
            return
        with self._telling():
            self._session.cells.set_class(image_id, targets, class_id)

    def close(self) -> None:
        """Let go of keys, layers and viewer."""
        self._gestures.close()
        self._points.close()
        self._keys.release()
        self._layers.close()

    # -- acts ------------------------------------------------------------------------------------------------------

    def _do(self, name: str, targets: tuple[int, ...]) -> None:
        if name == "select":
            self._step_back()
        elif name in _MODES:
            self.set_mode(name)
        elif name in self._acts_on_cells:
            image_id = self._images.current
            if image_id is None or not targets:
                self.tell("Point at a cell and press the key, or click cells to choose them.")
                return
            with self._telling():
                self._acts_on_cells[name](image_id, targets)
        else:
            with self._telling():
                self._acts[name]()

    def _go(self, way: int) -> None:
        """To the next or previous doubtful cell; looks for some when none are known."""
        image_id = self._images.current
        if image_id is None:
            return
        doubts = self._session.points.doubts(image_id)
        if not doubts:
            self.tell("Looking for doubtful cells; press again when they are listed.")
            self._session.points.refresh_doubts(image_id)
            return
        doubt = self._walk.step(doubts, way)
        self.jump_to_place(doubt.y, doubt.x)
        self.select([doubt.cell_id] if doubt.cell_id else ())
        self.tell(doubt.sentence)

    def _toggle_outlines(self) -> None:
        self._layers.fill(not self._layers.is_filled)
        self.changed.emit()

    # -- keys ------------------------------------------------------------------------------------------------------

    def _on_shown(self) -> None:
        if self._images.current != self._image_id:
            self._image_id = self._images.current
            self._selection, self._walk = (), DoubtWalk()
            self._gestures.drop()
            self._layers.clear()
            if self._mode == "points":
                self._mode = "select"
                self._points.hide()
        elif self._layers.current is not None:
            self._layers.current.choose(self._selection)
        self._hold()

    def _on_appearance_changed(self) -> None:
        """Other classes have other keys."""
        if not self._keys.fits(self._appearance.schema):
            self._hold()

    def _on_points_gone(self) -> None:
        if self._mode == "points":
            self.set_mode("select")

    def _on_updated(self, _box: Box) -> None:
        """Chosen cells that are gone are not chosen any more."""
        if self._selection:
            self.select(self._selection)

    def _hold(self) -> None:
        """Work on the layer of the current image from now on."""
        shown = self._layers.current
        layer = None if shown is None else shown.layer
        if self._images.current is None:
            self._keys.release()
        else:
            self._keys.hold(layer, self._appearance.schema)
        self._gestures.hold(layer)
        self.changed.emit()

    def _press(self, name: str) -> None:
        self._do(name, self.targets())
