"""The layers of cells of all images of a project, kept the same as the project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.viewer.cell_layer import CellLayer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_histoseg.session import Session
    from napari_histoseg.viewer.appearance import Appearance
    from napari_histoseg.viewer.images import Images


class CellLayers:
    """Shows the cells of an image as soon as it has any and is worked on.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    images : Images
    appearance : Appearance
    """

    shown = Signal()
    """The layer of the current image came or went, or another image is worked on."""
    updated = Signal(Box)
    """Cells of the current image changed inside a box."""

    def __init__(self, viewer: ViewerModel, session: Session, images: Images, appearance: Appearance) -> None:
        self._viewer = viewer
        self._session = session
        self._images = images
        self._appearance = appearance
        self._layers: dict[str, CellLayer] = {}
        self.is_filled = True
        session.cells.changed.connect(self._on_cells_changed)
        session.project_changed.connect(self._on_project_changed)
        images.current_changed.connect(self._on_current_changed)
        appearance.changed.connect(self._on_appearance_changed)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active_changed)

    @property
    def current(self) -> CellLayer | None:
        """That of the image that is worked on, while it is there."""
        return self._layers.get(self._images.current or "")

    def show(self) -> CellLayer | None:
        """That of the image that is worked on, made when it is not there; None without an image."""
        image_id, source = self._images.current, self._images.source
        if image_id is None or source is None:
            return None
        if image_id not in self._layers:
            self._layers[image_id] = CellLayer(self._viewer, self._session, self._appearance, image_id, source)
            self._layers[image_id].fill(self.is_filled)
            self.shown.emit()
        return self._layers[image_id]

    def fill(self, is_filled: bool) -> None:
        """Fill all cells faintly, or show their outlines only."""
        self.is_filled = is_filled
        for layer in self._layers.values():
            layer.fill(is_filled)

    def clear(self) -> None:
        """Show nothing as chosen, proposed or being drawn, on any image."""
        for image_id in self._known() & set(self._layers):
            layer = self._layers[image_id]
            layer.choose(())
            layer.propose((), 0)
            layer.wipe()

    def close(self) -> None:
        """Let go of the layers and of the viewer."""
        for layer in self._layers.values():
            layer.close()
        self._layers.clear()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.layers.selection.events.active.disconnect(self._on_active_changed)

    def _known(self) -> set[str]:
        """Images of the open project."""
        project = self._session.project
        return set() if project is None else {entry.id for entry in project.images}

    def _has_cells(self, image_id: str) -> bool:
        return len(self._session.cells.of(image_id)) > 0

    def _on_current_changed(self) -> None:
        image_id = self._images.current
        if image_id is not None and image_id not in self._layers and self._has_cells(image_id):
            self.show()
        else:
            self.shown.emit()

    def _on_cells_changed(self, image_id: str, box: Box) -> None:
        layer = self._layers.get(image_id)
        if layer is not None:
            layer.write(box)
        elif image_id == self._images.current and self._has_cells(image_id):
            self.show()
        if image_id == self._images.current:
            self.updated.emit(box)

    def _on_appearance_changed(self) -> None:
        for layer in self._layers.values():
            layer.dress()

    def _on_project_changed(self) -> None:
        """Layers of another project leave; their cells are saved there."""
        for image_id in set(self._layers) - self._known():
            self._layers.pop(image_id).remove()
        self.shown.emit()

    def _on_removed(self, event: Any) -> None:
        for image_id, layer in list(self._layers.items()):
            if layer.layer is event.value:
                layer.close()
                del self._layers[image_id]
                self.shown.emit()

    def _on_active_changed(self, event: Any) -> None:
        """Work on the image whose cells a person selects in the layer list."""
        for image_id, layer in list(self._layers.items()):
            source = self._images.of_image(image_id)
            if layer.layer is event.value and source is not None:
                self._images.work_on(source)
