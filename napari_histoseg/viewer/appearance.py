"""How classes look: palette, hidden classes and opacity, remembered in the project."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.palettes import PALETTES, get_palette
from napari_histoseg.core.schema import LabelSchema

if TYPE_CHECKING:
    from napari_histoseg.session import Session

_SETTING = "appearance"


class Appearance:
    """Palette, hidden classes and opacity of the open project; ``changed`` tells legend and layers."""

    changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = session
        self.palette_id = PALETTES[0].id
        self.hidden: frozenset[int] = frozenset()
        self.opacity = 0.5
        session.project_changed.connect(self.load)
        session.classes.changed.connect(self._on_classes_changed)

    @property
    def schema(self) -> LabelSchema | None:
        """The classes of the project in the colours of the palette; None without a project."""
        project = self._session.project
        return None if project is None else get_palette(self.palette_id).apply(project.schema)

    def load(self) -> None:
        """Take over what the project remembers; what it does not know stays as it is."""
        saved = self._session.get_setting(_SETTING, None)
        saved = saved if isinstance(saved, dict) else {}
        try:
            self.palette_id = get_palette(str(saved.get("palette", PALETTES[0].id))).id
        except InputError:
            self.palette_id = PALETTES[0].id
        self.hidden = frozenset(int(i) for i in saved.get("hidden", ()))
        self.opacity = float(saved.get("opacity", 0.5))
        self.changed.emit()

    def set_palette(self, palette_id: str) -> None:
        self._set(palette_id=get_palette(palette_id).id)
        self.save()

    def set_opacity(self, opacity: float) -> None:
        """0 (labels invisible) to 1 (tissue invisible); saved with the next change of another kind or `save`."""
        self._set(opacity=min(1.0, max(0.0, opacity)))

    def set_class_visible(self, class_id: int, is_visible: bool) -> None:
        self._set(hidden=self.hidden - {class_id} if is_visible else self.hidden | {class_id})
        self.save()

    def save(self) -> None:
        """Remember all of it in the project; a disk that is full costs only this memory."""
        looks = {"palette": self.palette_id, "hidden": sorted(self.hidden), "opacity": self.opacity}
        with contextlib.suppress(HistosegError):
            self._session.set_setting(_SETTING, looks)

    def _on_classes_changed(self) -> None:
        self.changed.emit()

    def _set(self, **values: Any) -> None:
        if all(getattr(self, name) == value for name, value in values.items()):
            return
        for name, value in values.items():
            setattr(self, name, value)
        self.changed.emit()
