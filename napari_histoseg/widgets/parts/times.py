"""Times in words."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """E.g. ``"under 1 s"``, ``"42 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``."""
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(unix_s: float) -> str:
    """Hours and minutes of the local day, with the date when it was another day."""
    moment, now = time.localtime(unix_s), time.localtime()
    return time.strftime("%H:%M" if moment[:3] == now[:3] else "%Y-%m-%d %H:%M", moment)
