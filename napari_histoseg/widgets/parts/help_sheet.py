"""A sheet of all keys."""

from __future__ import annotations

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget


class HelpSheet(QDialog):
    """Keys and what they do; it does not block the window."""

    def __init__(self, shortcuts: tuple[tuple[str, str], ...], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys for correcting")
        column = QVBoxLayout(self)
        column.addWidget(QLabel("These keys work while the labels layer is selected and the pointer is on the image."))
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setColumnStretch(1, 1)
        for line, (keys, text) in enumerate(shortcuts):
            grid.addWidget(QLabel(f"<b>{keys}</b>"), line, 0)
            grid.addWidget(QLabel(text), line, 1)
        column.addLayout(grid)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        column.addWidget(buttons)
