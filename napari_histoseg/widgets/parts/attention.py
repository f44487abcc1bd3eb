"""Drawing the eye to a field that needs an answer, in the theme's own colour."""

from __future__ import annotations

from qtpy.QtGui import QColor
from qtpy.QtWidgets import QGraphicsDropShadowEffect, QWidget

_ORANGE = "#E3B617"


def highlight(field: QWidget, is_wanted: bool) -> None:
    """Lay a coloured glow around a field, or take it away."""
    if not is_wanted:
        field.setGraphicsEffect(None)
        return
    glow = QGraphicsDropShadowEffect(field)
    glow.setOffset(0, 0)
    glow.setBlurRadius(14)
    glow.setColor(QColor(_ORANGE))
    field.setGraphicsEffect(glow)
