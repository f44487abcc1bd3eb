"""The layers that lie over one image: its labels and, when wanted, the outlines of what was edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.box import Box
from napari_histoseg.viewer import compat, layers
from napari_histoseg.viewer.strokes import StrokeRecorder

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

    from napari_histoseg.session import Session
    from napari_histoseg.viewer.appearance import Appearance


class Overlay:
    """Labels layer and edit marks of one image of the project.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    appearance : Appearance
    image_id : str
    warn : callable
        Told the sentence when a stroke could not be kept.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        appearance: Appearance,
        image_id: str,
        warn: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._appearance = appearance
        self._warn = warn
        self._recorder: StrokeRecorder | None = None
        self._edits: Labels | None = None
        self._given_name = ""
        self.image_id = image_id

    @property
    def labels(self) -> Labels | None:
        return None if self._recorder is None else self._recorder.layer

    def show(self, source: Image) -> None:
        """Put the labels layer above its image; nothing when it is there already."""
        if self._recorder is not None:
            return
        labels = self._session.displayed(self.image_id)
        layer = layers.add_labels_layer(self._viewer, source, labels, name=source.name)
        self._recorder = StrokeRecorder(layer, self.image_id, self._session, self._warn)
        self._given_name = layer.name
        layer.events.opacity.connect(self._on_opacity_changed)
        self.describe(source.name)
        self.dress()

    def describe(self, image_name: str) -> None:
        """Write model, revision and classes into name and metadata; a name that a person gave stays.

        A model that draws no labels here, but outlines cells or gives a score, changes nothing.
        """
        layer, active, project = self.labels, self._session.active, self._session.project
        if (
            layer is None
            or project is None
            or (layer.metadata and active is not None and not self._session.draws_classes)
        ):
            return
        if layer.name == self._given_name:
            layer.name = f"{image_name} – {'labels' if active is None else active.spec.title}"
            self._given_name = layer.name
        layer.metadata[layers.METADATA] = {
            "image": self.image_id,
            "mpp": project.image(self.image_id).mpp,
            "model": None if active is None else active.spec.id,
            "revision": None if active is None else active.label,
            "classes": [c.to_json() for c in project.schema.classes],
        }

    def dress(self) -> None:
        """Give the labels the colours, hidden classes and opacity that were chosen."""
        layer, schema = self.labels, self._appearance.schema
        if layer is None or schema is None:
            return
        layer.features = layers.class_features(schema)
        layer.colormap = layers.class_colormap(schema, self._appearance.hidden)
        layer.opacity = self._appearance.opacity

    def update(self, box: Box) -> None:
        """Show what the session holds for ``box`` now."""
        if self._recorder is not None:
            self._recorder.show(box)
        self.update_marks(box)

    def update_marks(self, box: Box) -> None:
        """Show which pixels of ``box`` are edited or verified now."""
        if self._edits is not None:
            self._edits.data[box.slices] = self._session.state(self.image_id, box)
            compat.refresh_box(self._edits, box)

    def mark_edits(self, is_shown: bool) -> None:
        """Show or remove the outlines of edited and verified pixels."""
        labels = self.labels
        if is_shown and self._edits is None and labels is not None:
            state = self._session.state(self.image_id)
            active = self._viewer.layers.selection.active
            self._edits = layers.add_edits_layer(self._viewer, labels, state, name=f"{labels.name} (edited)")
            self._viewer.layers.selection.active = active
        elif not is_shown and self._edits is not None:
            edits, self._edits = self._edits, None
            compat.remove_layer(self._viewer, edits)

    def forget(self, layer: Layer) -> bool:
        """Let go of a layer that left the viewer; True when it was one of this overlay's."""
        if layer is self._edits:
            self._edits = None
            return True
        if layer is not self.labels:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Stop listening to the layers; they stay where they are."""
        if self._recorder is not None:
            self._recorder.layer.events.opacity.disconnect(self._on_opacity_changed)
            self._recorder.close()
            self._recorder = None

    def remove(self) -> None:
        """Take the layers out of the viewer; everything in them is in the project."""
        self.mark_edits(False)
        layer = self.labels
        self.close()
        if layer is not None:
            compat.remove_layer(self._viewer, layer)

    def _on_opacity_changed(self, event: Any) -> None:
        self._appearance.set_opacity(float(event.source.opacity))
