"""Correct: paint over what is wrong, accept what is right."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QShortcut,
    QSlider,
    QSpinBox,
    QWidget,
)

from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.help_sheet import HelpSheet
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.swatch import swatch
from napari_histoseg.widgets.parts.times import clock
from napari_histoseg.widgets.parts.view import View

_TOOLS = (
    ("brush", "Brush", "Paint the chosen class (key P or 2)"),
    ("eraser", "Eraser", "Paint the class with number 0 (key E or 1)"),
    ("fill", "Fill", "Give a connected region the chosen class with one click (key F or 4)"),
    ("polygon", "Polygon", "Click corners; Enter or a double click fills the polygon (key 3)"),
    ("pick", "Pick", "Choose the class under the pointer (key L or 5)"),
    ("move", "Move", "Move the view instead of painting (key Z or 6, or hold Space)"),
)
_MAX_BRUSH_PX = 200


class CorrectPanel(Panel):
    """Tools, brush size, undo, accepting, and what has been corrected so far."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._sheet: HelpSheet | None = None
        self._buttons: dict[str, QPushButton] = {}
        self._painted = QWidget()
        self._painted.setLayout(self._tools_grid())
        self.column.addWidget(self._painted)
        self.column.addLayout(self._history_row())
        self.column.addLayout(self._review_row())
        self._counts = text_label()
        self._counts.setToolTip(
            "Pixels that you painted, by class; retraining learns from these and from what you accepted"
        )
        self.column.addWidget(self._counts)
        self.column.addLayout(self._foot_row())
        self.column.addStretch(1)
        self.listen(view.tools.changed, self._show_tools)
        self.listen(view.labels_shown, self._refresh)
        self.listen(view.marks_changed, self._show_marks)
        self.listen(view.images.current_changed, self._refresh)
        self.listen(session.edited, self._refresh)
        self.listen(session.project_changed, self._refresh)
        self._show_tools()
        self._refresh()

    def _tools_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        group = QButtonGroup(self)
        for place, (tool, title, tooltip) in enumerate(_TOOLS):
            button = QPushButton(title)
            button.setCheckable(True)
            button.setToolTip(tooltip)
            button.clicked.connect(partial(self._on_tool_clicked, tool))
            group.addButton(button)
            grid.addWidget(button, place // 3, place % 3)
            self._buttons[tool] = button
        self._class = QPushButton()
        self._class.setFlat(True)
        self._class.setToolTip("The class you paint; choose another one in the legend below or by its key")
        grid.addWidget(QLabel("Painting"), 2, 0)
        grid.addWidget(self._class, 2, 1, 1, 2)
        self._size = QSlider(Qt.Orientation.Horizontal)
        self._size.setRange(1, _MAX_BRUSH_PX)
        self._size.setToolTip("Brush size in pixels of the image ([ and ] on the keyboard)")
        self._number = QSpinBox()
        self._number.setRange(1, 10 * _MAX_BRUSH_PX)
        self._number.setSuffix(" px")
        self._number.setToolTip(self._size.toolTip())
        self._size.valueChanged.connect(lambda size: self._view.tools.set_brush_size(size))
        self._number.valueChanged.connect(lambda size: self._view.tools.set_brush_size(size))
        grid.addWidget(QLabel("Brush size"), 3, 0)
        grid.addWidget(self._size, 3, 1)
        grid.addWidget(self._number, 3, 2)
        return grid

    def _history_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._undo = QPushButton("Undo")
        self._undo.setToolTip("Take back the last correction, also one from before a restart (Ctrl+Z)")
        self._undo.clicked.connect(lambda: self._view.undo())
        self._redo = QPushButton("Redo")
        self._redo.setToolTip("Bring back what was undone (Ctrl+Shift+Z)")
        self._redo.clicked.connect(lambda: self._view.redo())
        row.addWidget(self._undo)
        row.addWidget(self._redo)
        return row

    def _review_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._accept = QPushButton("Accept this view")
        self._accept.setToolTip("Vouch for everything on screen that you have not painted: it is verified (key A)")
        self._accept.clicked.connect(lambda: self._view.accept_view())
        self._marks = QCheckBox("Show edits")
        self._marks.setToolTip("Outline edited pixels in yellow and verified ones in green (key D)")
        self._marks.clicked.connect(lambda: self._view.toggle_marks())
        row.addWidget(self._accept, 1)
        row.addWidget(self._marks)
        return row

    def _foot_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._saved = QLabel()
        self._saved.setToolTip("Every correction is on the disk when you let go of the mouse")
        self._help = QPushButton("? Keys")
        self._help.setToolTip("All keys for correcting (key ?)")
        self._help.clicked.connect(self.show_help)
        QShortcut(QKeySequence("?"), self).activated.connect(self.show_help)
        row.addWidget(self._saved, 1)
        row.addWidget(self._help)
        return row

    def show_help(self) -> None:
        """Open the sheet of keys."""
        if self._sheet is not None:
            self._sheet.deleteLater()
        self._sheet = HelpSheet(self._view, self)
        self._sheet.show()

    def _on_tool_clicked(self, tool: str) -> None:
        self._view.tools.set_tool(tool)
        self._show_tools()

    def _show_tools(self) -> None:
        tools, schema = self._view.tools, self._view.appearance.schema
        self._buttons[tools.tool].setChecked(True)
        for field in (self._size, self._number):
            field.blockSignals(True)
            field.setValue(tools.brush_size)
            field.blockSignals(False)
        if schema is not None and tools.class_id in schema.ids and tools.class_id is not None:
            chosen = schema.by_id(tools.class_id)
            self._class.setText(chosen.name)
            self._class.setIcon(swatch(chosen.color))

    def _show_marks(self, is_shown: bool) -> None:
        self._marks.setChecked(is_shown)

    def _refresh(self) -> None:
        view, session = self._view, self._session
        has_labels = view.has_labels
        image_id = view.images.current
        for widget in (self._painted, self._accept, self._marks):
            widget.setEnabled(has_labels)
        project = session.project
        counts: dict[int, int] = {}
        can_undo = can_redo = False
        if project is not None and image_id is not None:
            can_undo, can_redo = project.can_undo(image_id), project.can_redo(image_id)
            counts = session.counts(image_id)
        self._undo.setEnabled(can_undo)
        self._redo.setEnabled(can_redo)
        self._counts.setText(self._count_text(counts))
        saved_at = session.saved_at
        self._saved.setText("" if saved_at is None else f"saved {clock(saved_at)}")
        self.suggest(self._next(has_labels, sum(counts.values())))

    def _count_text(self, counts: dict[int, int]) -> str:
        schema = self._view.appearance.schema
        if schema is None or not any(counts.values()):
            return "Nothing corrected yet."
        told = [f"{schema.by_id(i).name} {n:,} px".replace(",", " ") for i, n in sorted(counts.items()) if n]
        return "Corrected: " + ", ".join(told)

    def _next(self, has_labels: bool, corrected: int) -> str:
        if not has_labels:
            return "segment an image first (tab Segment)."
        if corrected == 0:
            return "choose a class below and paint over what is wrong."
        return "paint more, accept what is right, or retrain (tab Retrain)."
