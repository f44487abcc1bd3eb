"""Which image is worked on: the image layers of the viewer and the images of the project, brought together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.viewer import layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_histoseg.session import Session

_VIEW = "view"


@dataclass(frozen=True)
class Choice:
    """An image layer, or an image of the project that has no layer yet."""

    key: str
    name: str


class Images:
    """The images that can be chosen and the one that is worked on.

    Parameters
    ----------
    viewer : ViewerModel
    session : Session
    """

    changed = Signal()
    """Images came, went or were renamed."""
    current_changed = Signal()
    """Another image is worked on, or none."""
    view_moved = Signal()
    """Something else is on screen."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        self._viewer = viewer
        self._session = session
        self._sources: dict[str, Image] = {}
        self._source: Image | None = None
        self._current: str | None = None
        self._is_adding = False
        self.problem = ""
        self.notes: tuple[str, ...] = ()
        events = viewer.layers.events
        events.inserted.connect(self._on_inserted)
        events.removed.connect(self._on_removed)
        session.project_changed.connect(self._on_project_changed)
        for layer in viewer.layers:
            layer.events.name.connect(self._on_renamed)

    @property
    def current(self) -> str | None:
        """Id of the image that is worked on; None while there is none or it cannot be used, see ``problem``."""
        return self._current

    @property
    def current_key(self) -> str | None:
        """Key of the choice that is worked on."""
        return None if self._source is None else str(self._source.unique_id)

    @property
    def source(self) -> Image | None:
        """Layer of the image that is worked on."""
        return self._source

    def choices(self) -> tuple[Choice, ...]:
        """Image layers of the viewer, then images of the project that have none."""
        found = [Choice(str(layer.unique_id), layer.name) for layer in self._layers()]
        project = self._session.project
        if project is not None:
            found += [Choice(entry.id, entry.name) for entry in project.images if entry.id not in self._sources]
        return tuple(found)

    def choose(self, key: str) -> None:
        """Work on that image, bringing it into the viewer when it is not there."""
        for layer in self._layers():
            if str(layer.unique_id) == key:
                self.work_on(layer)
                return
        try:
            ref = self._session.image_ref(key)
        except HistosegError as error:
            self._drop(str(error))
            return
        layer = self._layer_with(ref.content_id)
        if layer is None:
            self.open(ref)
        else:
            self.work_on(layer)

    def choose_any(self) -> None:
        """Work on the image of the last visit, else on the first there is; nothing when one is worked on."""
        if self._source is not None:
            return
        project = self._session.project
        view = self._session.get_setting(_VIEW, None)
        last = view.get("image") if isinstance(view, dict) else None
        known = [] if project is None else [entry.id for entry in project.images]
        if last in known:
            self.choose(str(last))
            self._restore_view(view)
        elif layer := next(self._layers(), None):
            self.work_on(layer)
        elif known:
            self.choose(known[0])

    def open(self, ref: ImageRef) -> Image:
        """Show an image and work on it."""
        layer = layers.add_image_layer(self._viewer, ref)
        self.work_on(layer)
        return layer

    def work_on(self, layer: Image) -> None:
        """Work on the image of a layer; ``problem`` says why when that cannot be."""
        if layer is self._source and self._current is not None:
            return
        self.save_view()
        project = self._session.project
        self._source, self._current, self.problem, self.notes = layer, None, "", ()
        self._is_adding = True
        try:
            ref = layers.image_ref(layer)
            _check_size(ref)
            self._current = self._session.add_image(ref).id
            self.notes = ref.notes
            self._sources[self._current] = layer
        except HistosegError as error:
            self.problem = str(error)
        finally:
            self._is_adding = False
        if self._session.project is not project:  # earlier work on this image was found again
            self._restore_view(self._session.get_setting(_VIEW, None))
        self.changed.emit()
        self.current_changed.emit()

    def of_image(self, image_id: str) -> Image | None:
        """The layer that shows an image of the project."""
        return self._sources.get(image_id)

    def image_of(self, layer: Any) -> str | None:
        """The image of the project that a layer shows."""
        return next((image_id for image_id, source in self._sources.items() if source is layer), None)

    def visible_box(self) -> Box | None:
        """What of the current image is on screen, in its pixels."""
        if self._source is None or self._current is None:
            return None
        height, width = self._source.level_shapes[0][:2] if self._source.multiscale else self._source.data.shape[:2]
        return layers.visible_box(self._source, (int(height), int(width)))

    def look_at(self, box: Box) -> None:
        """Bring a box of the current image to the middle of the screen."""
        if self._source is not None:
            center = self._source.data_to_world(box.center)
            self._viewer.camera.center = (0, *center[-2:])

    def save_view(self) -> None:
        """Remember in the project which image is worked on and what is on screen."""
        if self._source is None or self._current is None:
            return
        center = self._source.world_to_data(self._viewer.camera.center[-2:])
        zoom = self._viewer.camera.zoom * abs(float(self._source.scale[-1]))
        view = {"image": self._current, "center": [float(c) for c in center[-2:]], "zoom": float(zoom)}
        with contextlib.suppress(HistosegError):  # a disk that is full costs only this memory
            self._session.set_setting(_VIEW, view)

    def close(self) -> None:
        """Remember the view and let go of the viewer."""
        self.save_view()
        self._source = self._current = None
        self._sources.clear()
        events = self._viewer.layers.events
        events.inserted.disconnect(self._on_inserted)
        events.removed.disconnect(self._on_removed)

    def _restore_view(self, view: Any) -> None:
        if self._source is None or not isinstance(view, dict) or view.get("image") != self._current:
            return
        try:
            center = self._source.data_to_world([float(c) for c in view["center"]])
            self._viewer.camera.zoom = float(view["zoom"]) / abs(float(self._source.scale[-1]))
            self._viewer.camera.center = (0, *center[-2:])
        except (KeyError, TypeError, ValueError):
            self._viewer.reset_view()

    def _layers(self) -> Iterator[Image]:
        from napari.layers import Image

        return (layer for layer in self._viewer.layers if isinstance(layer, Image))

    def _layer_with(self, content_id: str) -> Image | None:
        """The layer that shows these pixels."""
        for layer in self._layers():
            with contextlib.suppress(InputError):
                if layers.image_ref(layer).content_id == content_id:
                    return layer
        return None

    def _drop(self, problem: str) -> None:
        self._source, self._current, self.problem, self.notes = None, None, problem, ()
        self.changed.emit()
        self.current_changed.emit()

    def _on_inserted(self, event: Any) -> None:
        from napari.layers import Image

        event.value.events.name.connect(self._on_renamed)
        if isinstance(event.value, Image):
            self.changed.emit()
            if self._source is None:
                self.work_on(event.value)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        layer.events.name.disconnect(self._on_renamed)
        if layer is self._source:
            self.save_view()
            self._drop("")
        image_id = self.image_of(layer)
        if image_id is not None:
            del self._sources[image_id]
        self.changed.emit()

    def _on_renamed(self) -> None:
        self.changed.emit()

    def _on_project_changed(self) -> None:
        if self._is_adding:  # the project is being made for the image that is being added
            return
        self._sources.clear()
        self._drop("")
        if self._session.project is not None:
            self.choose_any()


def _check_size(ref: ImageRef) -> None:
    if max(ref.shape) > layers.MAX_SIDE_PX:
        raise InputError(
            f"'{ref.name}' is {ref.shape[0]} x {ref.shape[1]} px; labels can be painted on images up to "
            f"{layers.MAX_SIDE_PX} px a side, so crop the region of interest and open that, or segment the whole "
            "with the command 'napari-histoseg predict'."
        )
