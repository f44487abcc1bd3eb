"""The scores of an image as a heat map above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.viewer import compat, layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_histoseg.session import Session
    from napari_histoseg.session.scoring import ScoredField
    from napari_histoseg.viewer.images import Images

_COLORMAP = "viridis"
_STEPS_PER_FIELD = 16


class ScoreMap:
    """One layer with the predicted scores of the image that is worked on.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    images : Images
    """

    def __init__(self, viewer: ViewerModel, session: Session, images: Images) -> None:
        self._viewer = viewer
        self._session = session
        self._images = images
        self._layer: Image | None = None
        session.scores.changed.connect(self._on_scores_changed)
        images.current_changed.connect(self._show)
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Stop listening; the layer stays."""
        self._session.scores.changed.disconnect(self._on_scores_changed)
        self._images.current_changed.disconnect(self._show)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _on_scores_changed(self, image_id: str) -> None:
        if image_id == self._images.current:
            self._show()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = None

    def _show(self) -> None:
        image_id, source, project = self._images.current, self._images.source, self._session.project
        scores = None if image_id is None else self._session.scores.of(image_id)
        if image_id is None or source is None or project is None or scores is None or not scores.fields:
            shown, self._layer = self._layer, None
            if shown is not None:
                compat.remove_layer(self._viewer, shown)
            return
        pixels, step_px = heat_map(scores.fields, project.image(image_id).shape)
        if self._layer is not None and self._layer.metadata[layers.METADATA]["image"] == image_id:
            self._layer.data = pixels
            self._layer.scale, self._layer.translate = _place(source, step_px)
            return
        if self._layer is not None:
            compat.remove_layer(self._viewer, self._layer)
        active = self._viewer.layers.selection.active
        self._layer = self._add(source, pixels, step_px, image_id)
        self._viewer.layers.selection.active = active

    def _add(self, source: Image, pixels: NDArray[np.float32], step_px: int, image_id: str) -> Image:
        scale, translate = _place(source, step_px)
        return self._viewer.add_image(
            pixels,
            name=f"{source.name} – cellularity",
            rgb=False,
            colormap=_COLORMAP,
            contrast_limits=(0.0, 1.0),
            opacity=0.5,
            interpolation2d="nearest",
            scale=scale,
            translate=translate,
            units=source.units[-2:],
            metadata={layers.METADATA: {"shows": "scores", "image": image_id}},
        )


def _place(source: Image, step_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and translation of a map whose pixels are that wide, with its corner at the corner of the image."""
    scale = np.asarray(source.scale[-2:], float)
    return scale * step_px, np.asarray(source.translate[-2:], float) + scale * (step_px - 1) / 2


def heat_map(fields: Sequence[ScoredField], shape: tuple[int, int]) -> tuple[NDArray[np.float32], int]:
    """The scores drawn coarsely.

    Parameters
    ----------
    fields : sequence of ScoredField
        At least one.
    shape : tuple of int
        Height and width of the image in pixels.

    Returns
    -------
    pixels : ndarray of float32, shape (ceil(H / step), ceil(W / step))
        NaN where nothing was scored.
    step_px : int
        Side of a pixel of the map in pixels of the image, a sixteenth of a field.
    """
    step_px = max(1, max(max(field.box.shape) for field in fields) // _STEPS_PER_FIELD)
    pixels = np.full((-(-shape[0] // step_px), -(-shape[1] // step_px)), np.nan, np.float32)
    for field in fields:
        y0, x0, y1, x1 = (round(side / step_px) for side in (field.box.y0, field.box.x0, field.box.y1, field.box.x1))
        pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = field.predicted
    return pixels, step_px
