"""What is done to cells at once, by key or button."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
