"""Small squares of colour."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap

SIDE_PX = 16


def swatch(color: str) -> QIcon:
    """A square of the colour with a thin frame, so that it shows on dark and on light themes."""
    pixmap = QPixmap(SIDE_PX, SIDE_PX)
    pixmap.fill(QColor(color))
    painter = QPainter(pixmap)
    painter.setPen(QColor(Qt.GlobalColor.gray))
    painter.drawRect(0, 0, SIDE_PX - 1, SIDE_PX - 1)
    painter.end()
    return QIcon(pixmap)
