"""How much work went into the images of a project, told from its journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from napari_histoseg.core.edit import Record

PAUSE_S = 300.0
"""Who does nothing for longer than this has done something else meanwhile."""


@dataclass(frozen=True)
class Effort:
    """Work on one image.

    Parameters
    ----------
    image_id : str
    edits : int
        Rows of the journal, with undo and redo.
    undone : int
        Those that took another back.
    pixels, cells : int
        Sums of the changed pixels and cells over all rows.
    authors : tuple of str
    first_at, last_at : float
        Unix time in seconds.
    active_s : float
        Time spent: the seconds before each edit since the one before it, on whichever image, where they are no more
        than `PAUSE_S`.
    """

    image_id: str
    edits: int
    undone: int
    pixels: int
    cells: int
    authors: tuple[str, ...]
    first_at: float
    last_at: float
    active_s: float


def efforts(records: Iterable[Record]) -> tuple[Effort, ...]:
    """Work on each image that has records, in the order of their first one."""
    in_order = sorted(records, key=lambda record: record.seq)
    active: dict[str, float] = {}
    own: dict[str, list[Record]] = {}
    before: float | None = None
    for record in in_order:
        gap = 0.0 if before is None else record.at - before
        active[record.image_id] = active.get(record.image_id, 0.0) + (gap if 0 <= gap <= PAUSE_S else 0.0)
        own.setdefault(record.image_id, []).append(record)
        before = record.at
    return tuple(
        Effort(
            image_id,
            len(rows),
            sum(row.kind == "undo" for row in rows),
            sum(row.changed for row in rows),
            sum(row.cells or 0 for row in rows),
            tuple(dict.fromkeys(row.author for row in rows)),
            rows[0].at,
            rows[-1].at,
            active[image_id],
        )
        for image_id, rows in own.items()
    )
