"""Every use of a name that napari does not promise to keep, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer


def unwrapped(viewer: ViewerModel) -> ViewerModel:
    """The viewer itself when napari hands out a proxy that hides private names."""
    return getattr(viewer, "__wrapped__", viewer)


def forget_history(layer: Labels) -> None:
    """Empty napari's own undo and redo, which would bring back pixels from before a model ran."""
    layer._reset_history()


def has_open_stroke(layer: Labels) -> bool:
    """Whether pixels are being painted: written already, told by a ``paint`` event at the end."""
    return bool(layer._block_history or layer._staged_history)


def painted(event: Any, layer: Labels) -> tuple[Box, NDArray[np.uint8]]:
    """Where a ``paint`` event painted and what the labels there are after it.

    A stroke of the brush tells its event when all is written; polygon and fill by a program tell it just before, so
    that what the event says is laid over the pixels here.

    Returns
    -------
    box : Box
        The smallest one around all changes; the whole layer when the event tells nothing known.
    after : ndarray of uint8, shape (h, w)
        A copy.
    """
    atoms = [_Atom.of(atom) for atom in event.value]
    box = Box(0, 0, 0, 0)
    for atom in atoms:
        box = box.union(Box.of_shape(layer.data.shape) if atom is None else atom.box)
    after = np.array(layer.data[box.slices])
    if not has_open_stroke(layer):
        for atom in atoms:
            if atom is not None:
                atom.lay_over(after, box)
    return box, after


@dataclass(frozen=True)
class _Atom:
    """One change as napari's history keeps it."""

    box: Box
    index: Any
    value: Any

    @classmethod
    def of(cls, atom: Any) -> _Atom | None:
        key = getattr(atom, "slice_key", None)
        if key is not None:
            y, x = key
            whole = np.ones((y.stop - y.start, x.stop - x.start), bool)
            mask = whole if atom.mask is None else atom.mask
            return cls(Box(y.start, x.start, y.stop, x.stop), np.nonzero(mask), atom.new_value)
        if isinstance(atom, tuple) and len(atom) == 3:
            ys, xs = (np.asarray(index) for index in atom[0])
            box = Box(int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1)
            return cls(box, (ys - box.y0, xs - box.x0), atom[2])
        return None

    def lay_over(self, labels: NDArray[np.uint8], of: Box) -> None:
        labels[self.box.relative_to(of).slices][self.index] = self.value


def refresh_box(layer: Labels, box: Box) -> None:
    """Show pixels that were written into ``layer.data[box]`` without uploading the rest of the array."""
    shown = layer._slice.image.raw if layer.contour else layer._slice.image.view
    if not layer.visible or not layer.loaded or not np.may_share_memory(layer.data, shown):
        layer.refresh(extent=False)
        return
    layer._accumulate_updated_slice(box.slices)
    layer._partial_labels_refresh()


def on_window_closed(viewer: Any, act: Callable[[], None]) -> None:
    """Call ``act`` when the window of the viewer goes away."""
    viewer.window._qt_window.destroyed.connect(lambda *_: act())


def remove_layer(viewer: Any, layer: Layer) -> None:
    """Take a layer out of the viewer and draw what is left at once; nothing when it is gone already.

    Taking out two labels layers between two draws makes vispy's next draw crash in Mesa's drivers.
    """
    if layer not in viewer.layers:
        return
    viewer.layers.remove(layer)
    window = getattr(viewer, "window", None)
    if window is not None:
        window._qt_viewer.canvas.native.repaint()


def accept_backend() -> None:
    """Keep napari from warning, in every window, about the Qt binding that the installation chose for the person."""
    from napari._qt import qt_main_window

    qt_main_window.SHOW_QT_WARNING = False
