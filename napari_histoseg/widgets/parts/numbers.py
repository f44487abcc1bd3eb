"""Numbers as a person reads them."""

from __future__ import annotations


def grouped(number: int) -> str:
    """The number with a space between thousands."""
    return f"{number:,}".replace(",", " ")
