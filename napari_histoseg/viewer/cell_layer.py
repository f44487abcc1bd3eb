"""The layer that shows the cells of one image: class, outline, what is chosen, proposed or being drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.viewer import compat, layers
from napari_histoseg.viewer.cell_codes import DRAWN, cell_codes, cell_colormap, cell_features, place_codes

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_histoseg.core.cell_plane import Cells
    from napari_histoseg.session import Session
    from napari_histoseg.viewer.appearance import Appearance

_NOBODY = np.zeros(0, np.int64)


class CellLayer:
    """Shows the live cells of an image in a labels layer that cannot be painted on.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    appearance : Appearance
    image_id : str
    source : napari.layers.Image
        The layer of the image.
    """

    def __init__(
        self, viewer: ViewerModel, session: Session, appearance: Appearance, image_id: str, source: Image
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._appearance = appearance
        self._chosen = _NOBODY
        self._proposed = _NOBODY
        self._proposed_class = 0
        self._drawn: NDArray[np.bool_] | None = None
        self._drawn_box = Box(0, 0, 0, 0)
        self._is_filled = True
        self.image_id = image_id
        shape = self._cells.shape
        codes = np.zeros(shape, np.uint16)
        active = viewer.layers.selection.active
        self.layer: Labels = layers.add_cells_layer(viewer, source, codes, image_id)
        viewer.layers.selection.active = active
        self.layer.events.data.connect(self._on_data_replaced)
        self.dress()
        self.write(Box.of_shape(shape))

    @property
    def is_filled(self) -> bool:
        """Whether cells are filled faintly, besides their outlines."""
        return self._is_filled

    def fill(self, is_filled: bool) -> None:
        self._is_filled = is_filled
        self.dress()

    def dress(self) -> None:
        """Give the cells the colours, hidden classes and opacity that were chosen."""
        schema = self._appearance.schema
        if schema is None:
            return
        self.layer.features = cell_features(schema)
        self.layer.colormap = cell_colormap(schema, self._appearance.hidden, is_filled=self._is_filled)
        self.layer.opacity = min(1.0, 2 * self._appearance.opacity)

    def write(self, box: Box) -> None:
        """Show the cells of ``box`` as they are now."""
        cells = self._cells
        written, read = place_codes(cells.shape, box)
        if written.is_empty:
            return
        codes = cell_codes(
            cells.instances[read.slices],
            cells.class_lookup,
            is_chosen=_flags(self._chosen, cells.next_id),
            is_proposed=_flags(self._proposed, cells.next_id),
            proposed_class=self._proposed_class,
        )[written.relative_to(read).slices]
        if self._drawn is not None:
            codes[self._drawn[written.slices]] = DRAWN
        self.layer.data[written.slices] = codes
        compat.refresh_box(self.layer, written)

    def choose(self, ids: Iterable[int]) -> None:
        """Outline these cells brightly, and no others."""
        old, self._chosen = self._chosen, self._existing(ids)
        self._rewrite(old, self._chosen)

    def propose(self, ids: Iterable[int], class_id: int) -> None:
        """Outline these cells thickly in the colour of a class that they would have, and no others."""
        old, self._proposed = self._proposed, self._existing(ids)
        old_class, self._proposed_class = self._proposed_class, class_id
        if class_id == old_class:
            self._rewrite(np.setxor1d(old, self._proposed))
        else:
            self._rewrite(old, self._proposed)

    def draw(self, places: ArrayLike, radius_px: float) -> None:
        """Add a line (n, 2) of (y, x), or a single spot, of that radius to what is being drawn."""
        from scipy import ndimage

        from napari_histoseg.core.cell_shapes import line_mask

        corners = np.asarray(places, np.float64).reshape(-1, 2)
        margin = int(np.ceil(radius_px)) + 1
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
        box = Box(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1).pad(margin)
        line = line_mask(np.repeat(corners, 1 + (len(corners) == 1), axis=0) - (box.y0, box.x0), box.shape)
        near = ndimage.distance_transform_edt(~line) <= radius_px
        inside = box.clip(self._cells.shape)
        if self._drawn is None:
            self._drawn = np.zeros(self._cells.shape, bool)
        self._drawn[inside.slices] |= near[inside.relative_to(box).slices]
        self._drawn_box = self._drawn_box.union(inside)
        self.write(inside)

    @property
    def drawn(self) -> tuple[Box, NDArray[np.bool_]]:
        """What is being drawn: the box around it and its pixels there, a copy."""
        if self._drawn is None:
            return Box(0, 0, 0, 0), np.zeros((0, 0), bool)
        return self._drawn_box, self._drawn[self._drawn_box.slices].copy()

    def wipe(self) -> None:
        """Forget what was being drawn."""
        box, self._drawn, self._drawn_box = self._drawn_box, None, Box(0, 0, 0, 0)
        if not box.is_empty:
            self.write(box)

    def close(self) -> None:
        """Let go of the layer; it stays where it is."""
        self.layer.events.data.disconnect(self._on_data_replaced)

    def remove(self) -> None:
        """Take the layer out of the viewer; the cells are in the project."""
        self.close()
        compat.remove_layer(self._viewer, self.layer)

    @property
    def _cells(self) -> Cells:
        return self._session.cells.of(self.image_id)

    def _existing(self, ids: Iterable[int]) -> NDArray[np.int64]:
        cells = self._cells
        return np.array([i for i in ids if i in cells], np.int64)

    def _rewrite(self, *groups: NDArray[np.int64]) -> None:
        """Write the boxes of cells anew, one by one where they are few."""
        cells = self._cells
        ids = self._existing(np.unique(np.concatenate(groups)).tolist())
        whole = cells.box_around(ids) if ids.size else Box(0, 0, 0, 0)
        boxes = [Box(*corners.tolist()) for corners in cells.boxes(ids)] if ids.size else []
        if 4 * sum(box.pad(4).area for box in boxes) < whole.area and len(boxes) < 50:
            for box in boxes:
                self.write(box)
        else:
            self.write(whole)

    def _on_data_replaced(self) -> None:
        """Somebody assigned ``layer.data``: put ours back."""
        with self.layer.events.data.blocker():
            self.layer.data = np.zeros(self._cells.shape, np.uint16)
        self.write(Box.of_shape(self._cells.shape))


def _flags(ids: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    flags = np.zeros(count, bool)
    flags[ids[ids < count]] = True
    return flags
