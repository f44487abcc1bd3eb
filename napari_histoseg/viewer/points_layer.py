"""The points that mark cells, as a napari layer: a click adds one, dragging moves it, Delete takes it away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers.base import ActionType
from numpy.typing import NDArray
from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.viewer import compat, layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Points

    from napari_histoseg.core.cells import CellTable
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.session import Session
    from napari_histoseg.viewer.appearance import Appearance
    from napari_histoseg.viewer.images import Images
    from napari_histoseg.viewer.tools import Tools

_SIDE_UM = 3.0
_SIDE_PX = 8.0
_LIMITS_PX = (8, 18)
_DRAG_PX = 5
"""A shorter way of the mouse is a click; napari counts so, too."""
_UNKNOWN = "#FFFFFF"


class PointsLayer:
    """The points of the image that is worked on; the layer is a view of the session, in both directions.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    images : Images
    appearance : Appearance
        Colours of the classes.
    tools : Tools
        Class of a new point.
    warn : callable
        Told the sentence when an act could not be kept.
    """

    selected = Signal(tuple)
    """Numbers of the cells whose points a person selected."""
    gone = Signal()
    """A person took the layer out of the viewer or pressed Esc."""

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        images: Images,
        appearance: Appearance,
        tools: Tools,
        warn: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._images = images
        self._appearance = appearance
        self._tools = tools
        self._warn = warn
        self._image_id = ""
        self._ids = np.zeros(0, np.int64)
        self._is_writing = False
        self._is_stale = False
        self._pressed: int | None = None
        self._fresh: int | None = None
        self._keys: list[str] = []
        self.layer: Points | None = None
        viewer.layers.events.removed.connect(self._on_removed)
        appearance.changed.connect(self.refresh)
        session.cells.changed.connect(self._on_cells_changed)
        session.project_changed.connect(self._on_project_changed)

    @property
    def selection(self) -> tuple[int, ...]:
        """Numbers of the cells whose points are selected."""
        if self.layer is None:
            return ()
        return tuple(int(self._ids[k]) for k in sorted(self.layer.selected_data) if k < len(self._ids))

    def show(self, source: Image) -> None:
        """Put the points above the other layers of an image and the hand on adding points."""
        image_id = self._images.image_of(source)
        if image_id is None:
            return
        if self.layer is not None and image_id != self._image_id:
            self.hide()
        if self.layer is None:
            self._image_id = image_id
            self.layer = layers.add_points_layer(self._viewer, source, self._side(), name=f"{source.name} – points")
            self.layer.canvas_size_limits = _LIMITS_PX
            self._listen(self.layer)
        self.refresh()
        self._tools.choose_cell_class(self._appearance.schema)
        self._viewer.layers.selection.active = self.layer
        self.layer.mode = "add"

    def hide(self) -> None:
        """Take the points out of the viewer; they are in the project."""
        layer = self.layer
        if layer is None:
            return
        self._let_go()
        compat.remove_layer(self._viewer, layer)

    def close(self) -> None:
        """Let go of viewer and session."""
        self._let_go()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._appearance.changed.disconnect(self.refresh)
        self._session.cells.changed.disconnect(self._on_cells_changed)
        self._session.project_changed.disconnect(self._on_project_changed)

    def refresh(self) -> None:
        """Show the points that the session holds; what is shown already costs nothing."""
        layer = self.layer
        if layer is None or not self._is_known():
            return
        points = self._session.points.of(self._image_id)
        places = np.stack([points.y, points.x], axis=1)
        colors = _class_colors(self._appearance.schema)[points.class_ids]
        shown = ~np.isin(points.class_ids, list(self._appearance.hidden))
        chosen = self.selection
        with self._writing():
            if places.shape != layer.data.shape or not np.allclose(places, layer.data, rtol=0, atol=0.01):
                layer.selected_data = set()
                layer.data = places
            if not np.array_equal(layer.face_color, colors):
                layer.face_color = colors
            if not np.array_equal(layer.shown, shown):
                layer.shown = shown
        self._ids = points.ids
        self._is_stale = True
        self._bind_keys(layer)
        if chosen != self.selection:
            self.select(chosen)

    def select(self, ids: Sequence[int]) -> None:
        """Select the points of those cells."""
        if self.layer is not None and self.selection != tuple(ids):
            with self._writing():
                self.layer.selected_data = set(np.flatnonzero(np.isin(self._ids, np.asarray(ids, np.int64))).tolist())

    # -- what a person does ----------------------------------------------------------------------------------------

    def set_class(self, class_id: int) -> None:
        """Give a class to the selected points, else to the one under the pointer, else to those that come next.

        The point that was just placed lies under the pointer and does not count until the pointer has left it.
        """
        layer = self.layer
        if layer is None:
            return
        hovered = self._hovered(layer)
        ids = self.selection if str(layer.mode) == "select" else ()
        if not ids and hovered is not None and hovered != self._fresh:
            ids = (int(self._ids[hovered]),)
        if ids:
            self._act(partial(self._session.cells.set_class, self._image_id, list(ids), class_id))
        else:
            self._tools.choose_class(class_id)

    def _on_data(self, event: Any) -> None:
        if self._is_writing or self.layer is None:
            return
        if event.action == ActionType.ADDED and len(self.layer.data) == len(self._ids) + 1:
            self._on_added(self.layer.data[-1])
        elif event.action == ActionType.CHANGED and len(event.data_indices) < max(2, len(self._ids)):
            self._on_moved(event.data_indices)
        elif event.action == ActionType.REMOVED and len(self.layer.data) + len(event.data_indices) == len(self._ids):
            ids = self._ids[list(event.data_indices)]
            self._act(partial(self._session.points.remove, self._image_id, ids))
        elif event.action in (ActionType.ADDED, ActionType.CHANGED, ActionType.REMOVED):
            self.refresh()

    def _on_added(self, place: NDArray[np.float64]) -> None:
        class_id = self._tools.class_id
        if self._pressed is None and class_id is not None:
            y, x = (float(v) for v in place)
            self._act(partial(self._session.points.add, self._image_id, y, x, class_id))
            self._fresh = len(self._ids) - 1
        else:
            self.refresh()  # a click on a point selects it and adds no other

    def _on_moved(self, indices: Sequence[int]) -> None:
        layer = self.layer
        if layer is None:
            return
        for index in indices:
            y, x = (float(v) for v in layer.data[index])
            self._act(partial(self._session.points.move, self._image_id, int(self._ids[index]), y, x))

    def _on_drag(self, layer: Points, event: Any) -> Iterator[None]:
        """While points are added: a point under the pointer is moved instead of the view."""
        index = self._hovered(layer, event.position) if str(layer.mode) == "add" else None
        self._pressed, start = index, np.array(event.pos)
        yield
        is_moved = False
        while index is not None and event.type == "mouse_move":
            event.handled = True
            is_moved |= bool(np.linalg.norm(np.array(event.pos) - start) >= _DRAG_PX)
            if is_moved:
                layer.data[index] = layer.world_to_data(event.position)[-2:]
                layer.refresh(extent=False, thumbnail=False)
            yield
        if is_moved and index is not None:
            self._on_moved([index])
        self._pressed = None

    def _on_pointer_moved(self, layer: Points, event: Any) -> None:
        if self._is_stale:
            self._is_stale = False
            layer.features = _features(self._session.cells.table(self._image_id), self._ids, self._appearance.schema)
        if self._fresh is not None and self._hovered(layer, event.position) != self._fresh:
            self._fresh = None

    def _on_selected(self) -> None:
        if not self._is_writing:
            self.selected.emit(self.selection)

    def _step(self, step: Callable[[str], Any]) -> None:
        self._act(partial(step, self._image_id))

    def _act(self, act: Callable[[], Any]) -> None:
        """Do it; whatever comes of it, show afterwards what the session holds."""
        try:
            act()
        except HistosegError as error:
            self._warn(str(error))
        finally:
            self.refresh()

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_cells_changed(self, image_id: str, _box: Box) -> None:
        if image_id == self._image_id:
            self.refresh()

    def _on_project_changed(self) -> None:
        if self.layer is not None and not self._is_known():
            self.hide()
            self.gone.emit()

    def _is_known(self) -> bool:
        """Whether the image is one of the open project."""
        project = self._session.project
        return project is not None and self._image_id in [entry.id for entry in project.images]

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer and self.layer is not None:
            self._let_go()
            self.gone.emit()

    def _listen(self, layer: Points) -> None:
        layer.events.data.connect(self._on_data)
        layer.selected_data.events.items_changed.connect(self._on_selected)
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.mouse_move_callbacks.append(self._on_pointer_moved)
        layer.bind_key("Escape", lambda _: self.gone.emit(), overwrite=True)
        layer.bind_key("Control-Z", lambda _: self._step(self._session.undo), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda _: self._step(self._session.redo), overwrite=True)
        layer.bind_key("Control-V", _nothing, overwrite=True)  # pasted points would belong to no cell

    def _let_go(self) -> None:
        layer, self.layer = self.layer, None
        self._image_id, self._ids, self._fresh, self._pressed = "", np.zeros(0, np.int64), None, None
        if layer is not None:
            layer.events.data.disconnect(self._on_data)
            layer.selected_data.events.items_changed.disconnect(self._on_selected)
            layer.mouse_drag_callbacks.remove(self._on_drag)
            layer.mouse_move_callbacks.remove(self._on_pointer_moved)

    # -- small helpers ---------------------------------------------------------------------------------------------

    def _bind_keys(self, layer: Points) -> None:
        schema = self._appearance.schema
        wanted = {} if schema is None else {c.key.upper(): c.id for c in schema.classes if c.key is not None}
        for key in set(self._keys) - set(wanted):
            layer.bind_key(key, None)
        for key, class_id in wanted.items():
            layer.bind_key(key, _key_of(self, class_id), overwrite=True)
        self._keys = list(wanted)

    def _hovered(self, layer: Points, position: Any = None) -> int | None:
        """Place among the points of the one under the pointer."""
        value = layer.get_value(self._viewer.cursor.position if position is None else position, world=True)
        return None if value is None or value >= len(self._ids) else int(value)

    def _side(self) -> float:
        """Diameter in pixels of the image."""
        project = self._session.project
        mpp = None if project is None else project.image(self._image_id).mpp
        return _SIDE_PX if mpp is None else _SIDE_UM / mpp

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Changes of the layer inside are ours and nobody's act."""
        before, self._is_writing = self._is_writing, True
        try:
            yield
        finally:
            self._is_writing = before


def _class_colors(schema: LabelSchema | None) -> NDArray[np.float64]:
    """Colour by class id, (256, 4), 0 to 1."""
    from napari.utils.colormaps.standardize_color import transform_color

    colors = np.repeat(transform_color(_UNKNOWN), IGNORE + 1, axis=0)
    for c in () if schema is None else schema.classes:
        colors[c.id] = transform_color(c.color)[0]
    return colors


def _features(table: CellTable, ids: NDArray[np.int64], schema: LabelSchema | None) -> dict[str, NDArray[Any]]:
    """What the text under the pointer and napari's table of features tell of the points of those cells."""
    rows = np.searchsorted(table.ids, ids)
    names = np.full(IGNORE + 1, "unknown", object)
    for c in () if schema is None else schema.classes:
        names[c.id] = c.name
    return {
        "class": names[table.class_ids[rows]],
        "area (µm²)": table.area_um2[rows].round(1),
        "haematoxylin": table.haematoxylin[rows].round(3),
        "score": table.score[rows].round(2),
    }


def _key_of(points: PointsLayer, class_id: int) -> Callable[[Any], None]:
    def press(_layer: Any) -> None:
        points.set_class(class_id)

    return press


def _nothing(_layer: Any) -> None:
    """What a key does that would do harm."""
