"""Controls that say why they cannot be used."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget


def allow(control: QWidget, tooltip: str, reason: str) -> None:
    """Enable a control, or disable it with the reason in its tooltip.

    Parameters
    ----------
    control : QWidget
    tooltip : str
        What it does.
    reason : str
        Why it cannot be used now; empty when it can.
    """
    control.setEnabled(not reason)
    control.setToolTip(f"{tooltip}\nNot now: {reason}" if reason else tooltip)
