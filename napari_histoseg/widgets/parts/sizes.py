"""Amounts of memory in words."""

from __future__ import annotations


def memory(size_bytes: int) -> str:
    """E.g. ``"90 MB"``, ``"1.4 GB"``, with no more digits than an estimate deserves."""
    if size_bytes < 1e9:
        return f"{max(10, round(size_bytes / 1e7) * 10)} MB"
    return f"{size_bytes / 1e9:.1f} GB"
