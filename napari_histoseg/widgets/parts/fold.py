"""A part of a panel that opens with a click on its title."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """A title and, once opened, what lies behind it.

    Parameters
    ----------
    title, tooltip : str
    body : QWidget
        Hidden at first.
    """

    opened = Signal(bool)
    """Whether the body shows now."""

    def __init__(self, title: str, tooltip: str, body: QWidget) -> None:
        super().__init__()
        self._body = body
        self._title = QToolButton()
        self._title.setObjectName("fold")
        self._title.setText(title)
        self._title.setToolTip(tooltip)
        self._title.setCheckable(True)
        self._title.setAutoRaise(True)
        self._title.setArrowType(Qt.ArrowType.RightArrow)
        self._title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.toggled.connect(self.set_open)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._title)
        column.addWidget(body)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        body.hide()

    def set_open(self, is_open: bool) -> None:
        """Show or hide the body."""
        self._title.setChecked(is_open)
        self._title.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._body.setVisible(is_open)
        self.opened.emit(is_open)
