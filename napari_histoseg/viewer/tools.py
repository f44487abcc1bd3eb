"""What the hand holds: tool, class and brush size of the current labels layer, and the keys that choose them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.viewer.layers import METADATA

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

_MODES = {
    "move": "pan_zoom",
    "brush": "paint",
    "eraser": "erase",
    "fill": "fill",
    "polygon": "polygon",
    "pick": "pick",
}
_TOOLS = {mode: tool for tool, mode in _MODES.items()}


@dataclass(frozen=True)
class Shortcut:
    """A key and what it does, for tooltips and the help sheet; ``command`` is None where napari acts itself."""

    keys: str
    text: str
    command: str | None = None


SHORTCUTS = (
    Shortcut("Control-Z", "Undo the last correction, also after a restart", "undo"),
    Shortcut("Control-Shift-Z", "Redo", "redo"),
    Shortcut("A", "Accept this view: what is on screen and untouched is verified", "accept"),
    Shortcut("D", "Show or hide the marks of edited pixels", "edits"),
    Shortcut("2 or P", "Brush"),
    Shortcut("1 or E", "Eraser: paints the class with number 0"),
    Shortcut("4 or F", "Fill"),
    Shortcut("3", "Polygon: click corners, Enter or double click to finish, Esc to drop it"),
    Shortcut("5 or L", "Pick the class under the pointer"),
    Shortcut("6 or Z", "Move the view; holding Space does the same"),
    Shortcut("[ and ]", "Smaller and larger brush"),
    Shortcut("V", "Show or hide the selected layer"),
)
"""Keys on the labels layer besides those of the classes. Napari's own keep their meaning."""


class Tools:
    """Tool, class and brush size, in step with napari's own controls.

    Parameters
    ----------
    viewer : ViewerModel
    commands : mapping of name to callable
        What the keys of ``SHORTCUTS`` call.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, commands: dict[str, Callable[[], Any]]) -> None:
        self._viewer = viewer
        self._commands = commands
        self._schema: LabelSchema | None = None
        self._layer: Labels | None = None
        self._bound: list[tuple[Any, str]] = []
        self.class_id: int | None = None
        self.brush_size = 20

    @property
    def layer(self) -> Labels | None:
        return self._layer

    @property
    def tool(self) -> str:
        """``"move"`` while there is nothing to paint on."""
        return "move" if self._layer is None else _TOOLS.get(str(self._layer.mode), "move")

    def shortcuts(self) -> tuple[tuple[str, str], ...]:
        """(keys, what they do) of everything that works on the labels layer, classes first."""
        classes = () if self._schema is None else self._schema.classes
        chosen = tuple((c.key.upper(), f"Paint {c.name}") for c in classes if c.key is not None)
        return chosen + tuple((s.keys.replace("Control", "Ctrl").replace("-", "+"), s.text) for s in SHORTCUTS)

    def hold(self, layer: Labels | None, schema: LabelSchema | None) -> None:
        """Work on this layer from now on; None lets go."""
        self._release()
        self._layer, self._schema = layer, schema
        if layer is not None and schema is not None:
            if self.class_id not in schema.ids:
                self.class_id = next((c.id for c in schema.classes if c.id != 0), schema.classes[0].id)
            layer.selected_label = self.class_id
            layer.brush_size = self.brush_size
            layer.events.mode.connect(self._on_layer_changed)
            layer.events.brush_size.connect(self._on_layer_changed)
            layer.events.selected_label.connect(self._on_layer_changed)
            self._bind(layer, schema)
        self.changed.emit()

    def set_tool(self, tool: str) -> None:
        """Take a tool and make its layer the one that gets the mouse."""
        if self._layer is None:
            return
        self._viewer.layers.selection.active = self._layer
        self._layer.mode = _MODES[tool]

    def set_brush_size(self, brush_size: int) -> None:
        self.brush_size = max(1, brush_size)
        if self._layer is not None:
            self._layer.brush_size = self.brush_size

    def set_class(self, class_id: int) -> None:
        """Choose the class to paint; from the eraser or from moving the hand goes to the brush, not from cells."""
        self.choose_class(class_id)
        if self.tool in ("eraser", "pick", "move") and not self._works_on_cells():
            self.set_tool("brush")

    def choose_class(self, class_id: int) -> None:
        """Choose the class of what comes next, with whatever the hand holds."""
        self.class_id = class_id
        if self._layer is not None:
            self._layer.selected_label = class_id
        self.changed.emit()

    def choose_cell_class(self, schema: LabelSchema | None) -> None:
        """Have a class for new cells: the first that is not the background, unless one of those is chosen."""
        cells = () if schema is None else tuple(c.id for c in schema.classes if c.id != 0)
        if cells and self.class_id not in cells:
            self.choose_class(cells[0])

    def _works_on_cells(self) -> bool:
        active = self._viewer.layers.selection.active
        return active is not None and active.metadata.get(METADATA, {}).get("shows") in ("points", "cells")

    def _on_layer_changed(self) -> None:
        layer, schema = self._layer, self._schema
        if layer is None or schema is None:
            return
        self.brush_size = int(layer.brush_size)
        if layer.selected_label in schema:
            self.class_id = int(layer.selected_label)
        elif self.class_id is not None and layer.selected_label != self.class_id:
            self._viewer.status = f"There is no class {layer.selected_label} in this project."
            layer.selected_label = self.class_id
        self.changed.emit()

    def _bind(self, layer: Labels, schema: LabelSchema) -> None:
        actions: dict[str, Callable[[], Any]] = {
            s.keys: self._commands[s.command] for s in SHORTCUTS if s.command is not None
        }
        for c in schema.classes:
            if c.key is not None:
                actions[c.key.upper()] = _chooser(self, c.id)
        for keys, action in actions.items():
            layer.bind_key(keys, _pressed(action), overwrite=True)
            self._bound.append((layer, keys))
            with contextlib.suppress(ValueError):  # somebody else's key on the viewer stays theirs
                self._viewer.bind_key(keys, _pressed(action))
                self._bound.append((self._viewer, keys))

    def _release(self) -> None:
        for owner, keys in self._bound:
            owner.bind_key(keys, None)
        self._bound.clear()
        if self._layer is not None:
            self._layer.events.mode.disconnect(self._on_layer_changed)
            self._layer.events.brush_size.disconnect(self._on_layer_changed)
            self._layer.events.selected_label.disconnect(self._on_layer_changed)


def _chooser(tools: Tools, class_id: int) -> Callable[[], None]:
    return lambda: tools.set_class(class_id)


def _pressed(action: Callable[[], Any]) -> Callable[[Any], None]:
    def press(_owner: Any) -> None:
        action()

    return press
