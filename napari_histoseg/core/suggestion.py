"""What to say about a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 20


def suggestion(name: str, known: Iterable[str], *, otherwise: str = "choose from") -> str:
    """The end of a sentence: the nearest of the known names, or ``otherwise`` and all of them, if they are not many."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"did you mean '{near[0]}'?"
    shown = ", ".join(names[:_MOST]) or "none"
    return f"{otherwise} {shown}{', …' if len(names) > _MOST else '.'}"
