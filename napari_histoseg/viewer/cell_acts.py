"""What is done to cells at once, by key or button."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


class Keyring:
    """Keys that were bound, so that each of them can be let go."""

    def __init__(self) -> None:
        self._bound: list[tuple[Any, str]] = []

    def bind(self, owner: Any, keys: str, action: Callable[[], Any], *, overwrite: bool) -> None:
        """Let a key of a layer or viewer act; ``ValueError`` when it is somebody else's and not to be overwritten."""

        def press(_owner: Any) -> None:
            action()

        owner.bind_key(keys, press, overwrite=overwrite)
        self._bound.append((owner, keys))

    def release(self) -> None:
        for owner, keys in self._bound:
            owner.bind_key(keys, None)
        self._bound.clear()
