"""What is done to cells at once, by key or button."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_histoseg.viewer.cell_keys import KEYS

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.inference.doubts import Doubt
    from napari_histoseg.session import Session

_STEP_UM = 0.25


def acts_on_cells(session: Session) -> dict[str, Callable[[str, tuple[int, ...]], Any]]:
    """What can be done to given cells of an image, by name; each is one step that undo takes back."""
    cells = session.cells

    def step_um(image_id: str) -> float:
        """How far a key moves outlines: a quarter of a µm, and a pixel at least."""
        mpp = session.need_project().image(image_id).mpp
        return max(_STEP_UM, mpp or 0.0)

    return {
        "delete": cells.delete,
        "verify": cells.verify,
        "grow": lambda image_id, ids: cells.grow(image_id, ids, step_um(image_id)),
        "shrink": lambda image_id, ids: cells.grow(image_id, ids, -step_um(image_id)),
        "smooth": cells.smooth,
        "fill_holes": cells.fill_holes,
        "repaint": cells.repaint,
        "join": cells.merge,
    }


class DoubtWalk:
    """The way through a list of doubts that gets shorter while one walks it."""

    def __init__(self) -> None:
        self._seen: Doubt | None = None
        self._place = 0

    def step(self, doubts: tuple[Doubt, ...], way: int) -> Doubt:
        """The doubt after (1) or before (-1) the one that was seen last, round and round; what is settled is passed.

        Parameters
        ----------
        doubts : tuple of Doubt
            Worst first; not empty.
        way : {1, -1}
        """
        if self._seen in doubts:
            self._place = doubts.index(self._seen) + way
        elif self._seen is None:
            self._place = min(0, way)
        else:
            self._place += min(0, way)
        self._place %= len(doubts)
        self._seen = doubts[self._place]
        return self._seen


class CellKeyboard:
    """The keys of cells on their layer and on the viewer, so that each of them can be let go.

    Parameters
    ----------
    viewer : ViewerModel
    press : callable
        Told the name of a mode or an act when its key is pressed.
    set_class : callable
        Told the class id when its letter is pressed.
    """

    def __init__(self, viewer: ViewerModel, press: Callable[[str], None], set_class: Callable[[int], None]) -> None:
        self._viewer = viewer
        self._press = press
        self._set_class = set_class
        self._bound: list[tuple[Any, str]] = []
        self._schema: LabelSchema | None = None

    def fits(self, schema: LabelSchema | None) -> bool:
        """Whether the letters are those of these classes."""
        return schema == self._schema

    def hold(self, layer: Labels | None, schema: LabelSchema | None) -> None:
        """Let the keys work on a layer, and those of the modes wherever they are free."""
        self.release()
        self._schema = schema
        for key in KEYS.values():
            if key.is_everywhere:
                with contextlib.suppress(ValueError):  # somebody else's key on the viewer stays theirs
                    self._bind(self._viewer, key.keys, partial(self._press, key.name), overwrite=False)
        if layer is None:
            return
        for key in KEYS.values():
            for keys in key.bindings:
                self._bind(layer, keys, partial(self._press, key.name), overwrite=True)
        for c in () if schema is None else schema.classes:
            if c.key is not None:
                self._bind(layer, c.key.upper(), partial(self._set_class, c.id), overwrite=True)

    def release(self) -> None:
        for owner, keys in self._bound:
            owner.bind_key(keys, None)
        self._bound.clear()

    def _bind(self, owner: Any, keys: str, action: Callable[[], Any], *, overwrite: bool) -> None:
        def press(_owner: Any) -> None:
            action()

        owner.bind_key(keys, press, overwrite=overwrite)
        self._bound.append((owner, keys))
