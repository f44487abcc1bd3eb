"""Every use of a name that napari does not promise to keep, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_histoseg.core.box import Box

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels


def unwrapped(viewer: ViewerModel) -> ViewerModel:
    """The viewer itself when napari hands out a proxy that hides private names."""
    return getattr(viewer, "__wrapped__", viewer)


def forget_history(layer: Labels) -> None:
    """Empty napari's own undo and redo, which would bring back pixels from before a model ran."""
    layer._reset_history()


def has_open_stroke(layer: Labels) -> bool:
    """Whether pixels have been painted that no ``paint`` event has told yet."""
    return bool(layer._block_history or layer._staged_history)


def painted_box(event: Any, shape: tuple[int, ...]) -> Box:
    """The smallest box around the pixels of a ``paint`` event; the whole array when the event tells nothing known."""
    box = Box(0, 0, 0, 0)
    for atom in event.value:
        key = getattr(atom, "slice_key", None)
        if key is not None:
            (y, x) = key
            box = box.union(Box(y.start, x.start, y.stop, x.stop))
        elif isinstance(atom, tuple) and len(atom) == 3:
            ys, xs = (np.asarray(index) for index in atom[0])
            box = box.union(Box(int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1))
        else:
            return Box.of_shape(shape)
    return box


def refresh_box(layer: Labels, box: Box) -> None:
    """Show pixels that were written into ``layer.data[box]`` without uploading the rest of the array."""
    shown = layer._slice.image.view
    if not layer.visible or not layer.loaded or not np.may_share_memory(layer.data, shown):
        layer.refresh(extent=False)
        return
    layer._accumulate_updated_slice(box.slices)
    layer._partial_labels_refresh()


def on_window_closed(viewer: Any, act: Callable[[], None]) -> None:
    """Call ``act`` when the window of the viewer goes away."""
    viewer.window._qt_window.destroyed.connect(lambda *_: act())
