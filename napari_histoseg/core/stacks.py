"""Which edits of an image are in force and which were taken back."""

from __future__ import annotations


def push(done: list[int], undone: list[int], seq: int, kind: str, target: int | None) -> None:
    """Bring the two stacks of an image up to date with one more row of the journal."""
    if kind == "undo" and target in done:
        done.remove(target)
        undone.append(target)
    elif kind == "redo" and target in undone:
        undone.remove(target)
        done.append(target)
    elif target is None:
        done.append(seq)
        undone.clear()
