"""One labels layer and the session: what is painted goes in, what the model or undo changed comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.viewer import compat

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_histoseg.session import Session

_TOOL_OF_MODE = {"paint": "brush", "erase": "eraser", "fill": "fill", "polygon": "polygon"}


class StrokeRecorder:
    """Keeps a labels layer and the project the same, stroke by stroke.

    While a stroke is being drawn nothing is written into the layer: what arrives meanwhile waits until its end, so
    that neither the stroke nor the model's pixels are lost.

    Parameters
    ----------
    layer : napari.layers.Labels
        Single-scale, uint8; its array belongs to the recorder.
    image_id : str
    session : Session
    warn : callable
        Told the sentence when a stroke could not be kept.
    """

    def __init__(self, layer: Labels, image_id: str, session: Session, warn: Callable[[str], None]) -> None:
        self.layer = layer
        self.image_id = image_id
        self._session = session
        self._warn = warn
        self._pending: list[Box] = []
        self._is_writing = False
        layer.events.paint.connect(self._on_painted)
        layer.events.labels_update.connect(self._on_drawn)
        layer.events.data.connect(self._on_data_replaced)
        layer.mouse_drag_callbacks.append(self._on_drag)

    def show(self, box: Box) -> None:
        """Show what the session holds for ``box``; later when a stroke is being drawn."""
        box = box.clip(self.layer.data.shape)
        if box.is_empty:
            return
        if compat.has_open_stroke(self.layer):
            self._pending.append(box)
            return
        self._write(box)

    def close(self) -> None:
        """Let go of the layer."""
        self.layer.events.paint.disconnect(self._on_painted)
        self.layer.events.labels_update.disconnect(self._on_drawn)
        self.layer.events.data.disconnect(self._on_data_replaced)
        if self._on_drag in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._on_drag)

    def _write(self, box: Box) -> None:
        self.layer.data[box.slices] = self._session.displayed(self.image_id, box)
        compat.refresh_box(self.layer, box)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        for box in pending:
            self._write(box)

    def _on_painted(self, event: Any) -> None:
        is_written = compat.has_open_stroke(self.layer)
        box, after = compat.painted(event, self.layer)
        compat.forget_history(self.layer)
        self._record(_TOOL_OF_MODE.get(str(self.layer.mode), "brush"), box, after)
        if is_written:
            self._flush()

    def _record(self, tool: str, box: Box, after: NDArray[np.uint8]) -> None:
        """Hand a stroke to the session; what the session does not keep disappears from the layer again."""
        try:
            self._session.record(self.image_id, tool, box, after)
        except HistosegError as error:
            self._pending.append(box)
            self._warn(str(error))
        else:
            if tool == "eraser" and self.layer.colormap.background_value == IGNORE:
                self._pending.append(box)  # the person's label is taken back, so the model's shows again

    def _on_drawn(self) -> None:
        if self._pending and not compat.has_open_stroke(self.layer):
            self._flush()

    def _on_drag(self, _layer: Labels, event: Any) -> Iterator[None]:
        yield
        while event.type == "mouse_move":
            yield
        if not compat.has_open_stroke(self.layer):
            self._flush()

    def _on_data_replaced(self, _event: Any) -> None:
        """Someone assigned ``layer.data``: take it as an edit of ours, or put ours back."""
        if self._is_writing:
            return
        truth = self._session.displayed(self.image_id)
        given = np.asarray(self.layer.data)
        self._is_writing = True
        try:
            if given.shape != truth.shape or given.min() < 0 or given.max() > 255:
                self.layer.data = truth
                self._warn(f"'{self.layer.name}' keeps its own labels: the array put into it does not fit the image.")
                return
            self.layer.data = given.astype(np.uint8)
        finally:
            self._is_writing = False
            compat.forget_history(self.layer)
        self._record("import", Box.of_shape(truth.shape), np.array(self.layer.data))
        self._flush()
