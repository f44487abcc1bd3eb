"""What the mouse does on the layer of cells, by mode: clicks, drawn lines, lassos and the smart brush."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.session import smart_brush

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_histoseg.session import Session
    from napari_histoseg.viewer.cell_layer import CellLayer
    from napari_histoseg.viewer.cell_layers import CellLayers
    from napari_histoseg.viewer.cell_tools import CellTools

_CURSORS = {"select": "standard", "copy": "pointing", "split_at": "cross", "snap": "circle"}
_DRAGGED = ("split", "merge", "lasso", "snap")
_CLICK_PX = 4.0  # a shorter way of the mouse on the screen is a click
_LINE_PX = 1.2  # half of the width of a drawn line on the screen
_SPOT_PX = 3.0
_BRUSH_PX = 8

Place = tuple[float, float]


class CellGestures:
    """Turns mouse events into acts; everything is (y, x) in pixels of the image.

    Parameters
    ----------
    tools : CellTools
        Has the mode and what is chosen.
    layers : CellLayers
    session : Session
    viewer : ViewerModel
    """

    def __init__(self, tools: CellTools, layers: CellLayers, session: Session, viewer: ViewerModel) -> None:
        self._tools = tools
        self._layers = layers
        self._session = session
        self._viewer = viewer
        self._layer: Labels | None = None
        self._clicked: list[Place] = []
        self._copied: int | None = None
        self._hovered = 0
        self._is_panning = False
        self._clicks: dict[str, Callable[[Place, bool], None]] = {
            "select": self._choose,
            "copy": self._copy,
            "split_at": self._mark,
        }
        self._strokes: dict[str, Callable[[str, NDArray[np.float64], bool, bool], None]] = {
            "split": self._split,
            "merge": self._merge,
            "lasso": self._lasso,
            "snap": self._snap,
        }

    # -- holding the layer -----------------------------------------------------------------------------------------

    def hold(self, layer: Labels | None) -> None:
        """Listen to the mouse on this layer from now on; None lets go."""
        if layer is self._layer:
            return
        self._let_go()
        self._layer = layer
        if layer is not None:
            layer.mouse_drag_callbacks.append(self._on_drag)
            layer.mouse_move_callbacks.append(self._on_move)
            layer.bind_key("Space", self._pan, overwrite=True)
            layer.brush_size = _BRUSH_PX
            self.take_up()

    def take_up(self) -> None:
        """Give the pointer the look of the mode; the class to copy is that of the cell in hand."""
        layer, mode = self._layer, self._tools.mode
        if layer is None:
            return
        layer.mouse_pan = mode not in _DRAGGED
        layer.cursor = _CURSORS.get(mode, "cross")
        if mode == "copy":
            targets = self._tools.targets()
            self._copy_from(targets[0] if targets else 0)

    def drop(self) -> bool:
        """Forget what was begun; whether there was anything."""
        had = bool(self._clicked)
        self._clicked.clear()
        self._copied = None
        if self._layers.current is not None:
            self._layers.current.wipe()
        return had

    def close(self) -> None:
        self._let_go()

    def under(self) -> int:
        """Number of the cell under the pointer; 0 where there is none."""
        image_id = self._tools.image_id
        if image_id is None or self._layer is None:
            return 0
        return self._session.cells.at(image_id, *self._place(self._viewer.cursor.position))

    def finish(self) -> None:
        """Divide cells at the points that were clicked; they stay when that cannot be done yet."""
        image_id = self._tools.image_id
        if image_id is not None and self._clicked:
            self._session.cells.split_at(image_id, np.array(self._clicked))
            self.drop()

    def _let_go(self) -> None:
        layer, self._layer = self._layer, None
        if layer is None:
            return
        layer.bind_key("Space", None)
        for callbacks, ours in (
            (layer.mouse_drag_callbacks, self._on_drag),
            (layer.mouse_move_callbacks, self._on_move),
        ):
            if ours in callbacks:
                callbacks.remove(ours)

    # -- the mouse -------------------------------------------------------------------------------------------------

    def _on_move(self, _layer: Labels, event: Any) -> None:
        image_id = self._tools.image_id
        under = 0 if image_id is None else self._session.cells.at(image_id, *self._place(event.position))
        if under != self._hovered:
            self._hovered = under
            self._tools.hovered.emit(under)

    def _on_drag(self, _layer: Labels, event: Any) -> Iterator[None]:
        shown, mode = self._layers.current, self._tools.mode
        if shown is None or event.button != 1 or self._is_panning:
            return
        if mode in _DRAGGED:
            yield from self._draw(shown, mode, event)
        elif mode in self._clicks:
            start = np.array(event.pos)
            is_click = True
            yield
            while event.type == "mouse_move":
                is_click &= float(np.hypot(*(np.array(event.pos) - start))) < _CLICK_PX
                yield
            if is_click:
                with self._tools.telling():
                    self._clicks[mode](self._place(event.position), "Shift" in event.modifiers)

    def _draw(self, shown: CellLayer, mode: str, event: Any) -> Iterator[None]:
        """Show the line while it is drawn, then do with it what the mode says."""
        shown.wipe()
        places = [self._place(event.position)]
        radius = shown.layer.brush_size / 2 if mode == "snap" else self._on_screen(_LINE_PX)
        shown.draw(places, radius)
        adds, takes_away = "Shift" in event.modifiers, "Control" in event.modifiers
        yield
        while event.type == "mouse_move":
            place = self._place(event.position)
            if np.hypot(place[0] - places[-1][0], place[1] - places[-1][1]) >= 0.5:
                shown.draw([places[-1], place], radius)
                places.append(place)
            yield
        with self._tools.telling():
            try:
                self._strokes[mode](shown.image_id, np.array(places), adds, takes_away)
            finally:
                shown.wipe()

    # -- clicks ----------------------------------------------------------------------------------------------------

    def _choose(self, place: Place, adds: bool) -> None:
        cell_id = self._cell_at(place)
        chosen = self._tools.selection
        if adds:
            self._tools.select(set(chosen) ^ {cell_id})
        else:
            self._tools.select([cell_id])

    def _copy(self, place: Place, _adds: bool) -> None:
        cell_id, image_id = self._cell_at(place), self._tools.image_id
        if self._copied is None:
            self._copy_from(cell_id)
        elif cell_id and image_id is not None:
            self._session.cells.set_class(image_id, [cell_id], self._copied)

    def _copy_from(self, cell_id: int) -> None:
        image_id = self._tools.image_id
        if image_id is None or not cell_id:
            self._tools.tell("Click the cell whose class should be copied.")
            return
        self._copied = int(self._session.cells.of(image_id).class_of([cell_id])[0])
        self._tools.tell("Click the cells that should get this class.")

    def _mark(self, place: Place, _adds: bool) -> None:
        shown = self._layers.current
        if shown is not None and self._cell_at(place):
            self._clicked.append(place)
            shown.draw([place], self._on_screen(_SPOT_PX))
            self._tools.tell("Click the other parts of the cell, then press Enter; Esc drops the points.")

    # -- strokes ---------------------------------------------------------------------------------------------------

    def _split(self, image_id: str, line: NDArray[np.float64], _adds: bool, _takes: bool) -> None:
        self._session.cells.split(image_id, line)

    def _merge(self, image_id: str, line: NDArray[np.float64], _adds: bool, _takes: bool) -> None:
        ids = self._session.cells.crossed(image_id, line)
        if len(ids) < 2:
            self._tools.tell("The stroke touches fewer than two cells; drag across all that should be one.")
            return
        self._session.cells.merge(image_id, ids)

    def _lasso(self, image_id: str, polygon: NDArray[np.float64], adds: bool, _takes: bool) -> None:
        ids = self._session.cells.inside(image_id, polygon).tolist()
        self._tools.select([*self._tools.selection, *ids] if adds else ids)

    def _snap(self, image_id: str, line: NDArray[np.float64], _adds: bool, takes_away: bool) -> None:
        shown, class_id = self._layers.current, self._tools.class_id
        if shown is None:
            return
        box, stroke = shown.drawn
        start = self._cell_at((float(line[0][0]), float(line[0][1])))
        smart_brush.stroke(
            self._session,
            image_id,
            box,
            stroke,
            cell_id=start,
            class_id=IGNORE if class_id is None else class_id,
            takes_away=takes_away,
        )

    # -- small helpers ---------------------------------------------------------------------------------------------

    def _cell_at(self, place: Place) -> int:
        image_id = self._tools.image_id
        return 0 if image_id is None else self._session.cells.at(image_id, *place)

    def _place(self, position: Any) -> Place:
        """A position of the world in pixels of the image."""
        if self._layer is None:
            return -1.0, -1.0
        y, x = self._layer.world_to_data(position)[-2:]
        return float(y), float(x)

    def _on_screen(self, screen_px: float) -> float:
        """So many pixels of the screen in pixels of the image, at least half a one."""
        scale = 1.0 if self._layer is None else abs(float(self._layer.scale[-1]))
        return max(0.5, screen_px / (float(self._viewer.camera.zoom) * scale))

    def _pan(self, layer: Labels) -> Iterator[None]:
        """Hold Space to move the view in every mode."""
        self._is_panning, layer.mouse_pan = True, True
        yield
        self._is_panning, layer.mouse_pan = False, self._tools.mode not in _DRAGGED
