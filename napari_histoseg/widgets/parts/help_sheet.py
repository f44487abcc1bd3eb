"""A sheet of all keys."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_histoseg.widgets.parts.view import View

_HIGHEST_PX = 660
_WIDEST_PX = 1180
_TEXT_PX = 360


class HelpSheet(QDialog):
    """Keys and what they do, for painting and for cells side by side; it does not block the window."""

    def __init__(self, view: View, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys for correcting")
        sheets = QWidget()
        row = QHBoxLayout(sheets)
        row.setSpacing(24)
        row.addWidget(_sheet("While the labels layer is selected", view.tools.shortcuts()))
        row.addWidget(_sheet("While the layer of cells is selected", view.cells.shortcuts()))
        area = QScrollArea()
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setWidget(sheets)
        column = QVBoxLayout(self)
        column.addWidget(area)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        column.addWidget(buttons)
        wanted = sheets.sizeHint()
        self.resize(min(wanted.width() + 48, _WIDEST_PX), min(wanted.height() + 80, _HIGHEST_PX))


def _sheet(title: str, shortcuts: tuple[tuple[str, str], ...]) -> QWidget:
    sheet = QWidget()
    grid = QGridLayout(sheet)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(16)
    grid.setVerticalSpacing(3)
    grid.setColumnStretch(1, 1)
    grid.addWidget(QLabel(title), 0, 0, 1, 2)
    for line, (keys, text) in enumerate(shortcuts, start=1):
        told = QLabel(text)
        told.setWordWrap(True)
        told.setMinimumWidth(_TEXT_PX)
        grid.addWidget(QLabel(f"<b>{keys}</b>"), line, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(told, line, 1, Qt.AlignmentFlag.AlignTop)
    grid.setRowStretch(len(shortcuts) + 1, 1)
    return sheet
