"""The classes of the project: names, colours, keys, new ones, and what becomes of those that go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.core.schema_steps import CLASS_KEYS, AddClass, AlterClass, RemoveClass, SchemaStep, free_color
from napari_histoseg.widgets.parts.panel import text_label
from napari_histoseg.widgets.parts.swatch import swatch

if TYPE_CHECKING:
    from napari_histoseg.session import Session
    from napari_histoseg.widgets.parts.view import View

_WIDTH_PX, _HEIGHT_PX = 520, 430
_KEEP = -1


class ClassRow:
    """Colour, name, key and fate of one class.

    Parameters
    ----------
    dialog : SchemaDialog
    own : LabelClass or None
        The class as it is; None for a new one.
    color : str
    """

    def __init__(self, dialog: SchemaDialog, own: LabelClass | None, color: str) -> None:
        self.own = own
        self._dialog = dialog
        self.is_leaving = False
        self.color = color
        self.swatch = QToolButton()
        self.swatch.setToolTip("Another colour")
        self.swatch.clicked.connect(self._ask_color)
        self.name = QLineEdit("" if own is None else own.name)
        self.name.setPlaceholderText("name of the new class")
        self.name.setToolTip("Name in the legend and in files; models still know the old one")
        self.key = QComboBox()
        self.key.addItem("–", "")
        for letter in CLASS_KEYS:
            self.key.addItem(letter.upper(), letter)
        self.key.setToolTip("Key that chooses the class")
        self.key.setCurrentIndex(max(0, self.key.findData("" if own is None else own.key or "")))
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Take the class out of the list; what carries it is asked about first")
        self.remove.clicked.connect(lambda: dialog.toggle_leaving(self))
        self.fate = QComboBox()
        self.fate.setToolTip("What becomes of the pixels and cells of this class; undo brings them and the class back")
        self.fate.hide()
        self.set_color(color)

    @property
    def widgets(self) -> tuple[QWidget, ...]:
        return self.swatch, self.name, self.key, self.remove

    def set_color(self, color: str) -> None:
        self.color = color
        self.swatch.setIcon(swatch(color))

    def step(self) -> SchemaStep | None:
        """What has to be done to the class; None when nothing."""
        name, key = self.name.text().strip(), str(self.key.currentData())
        if self.own is None:
            return None if self.is_leaving or not name else AddClass(name, self.color, key)
        if self.is_leaving:
            fate = self.fate.currentData()
            return None if fate == _KEEP else RemoveClass(self.own.id, fate)
        if (name, self.color, key) == (self.own.name, self.own.color, self.own.key or ""):
            return None
        return AlterClass(self.own.id, name, self.color, None if key == (self.own.key or "") else key)

    def _ask_color(self) -> None:
        picker = QColorDialog(QColor(self.color), self._dialog)
        picker.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        picker.colorSelected.connect(lambda color: self.set_color(color.name().upper()))
        picker.open()


class SchemaDialog(QDialog):
    """Edit the classes of the open project; nothing changes before Apply, and the window stays usable."""

    def __init__(self, session: Session, view: View, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._view = session, view
        self.rows: list[ClassRow] = []
        self.setWindowTitle("Edit classes")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(_WIDTH_PX, _HEIGHT_PX)
        column = QVBoxLayout(self)
        column.addWidget(text_label("Every class keeps its labels and cells when its name, colour or key changes."))
        body = QWidget()
        self._grid = QGridLayout(body)
        self._grid.setColumnStretch(1, 1)
        self._grid.setAlignment(Qt.AlignmentFlag.AlignTop)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(body)
        column.addWidget(area, 1)
        add = QPushButton("Add class")
        add.setToolTip("One more class at the end of the list")
        add.clicked.connect(self.add_row)
        column.addWidget(add, 0, Qt.AlignmentFlag.AlignLeft)
        self._said = text_label()
        column.addWidget(self._said)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Apply | QDialogButtonBox.StandardButton.Cancel)
        apply = buttons.button(QDialogButtonBox.StandardButton.Apply)
        apply.setToolTip("Change the classes now")
        apply.clicked.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)
        project = session.project
        for c in () if project is None else project.schema.classes:
            self._place(ClassRow(self, c, c.color))

    def add_row(self) -> ClassRow:
        """A line for one class more."""
        row = ClassRow(self, None, free_color([row.color for row in self.rows]))
        taken = {row.key.currentData() for row in self.rows}
        row.key.setCurrentIndex(row.key.findData(next((k for k in CLASS_KEYS if k not in taken), "")))
        self._place(row)
        row.name.setFocus()
        return row

    def toggle_leaving(self, row: ClassRow) -> None:
        """Let a class go, or let it stay after all; how much carries it is counted, and its fate asked for."""
        row.is_leaving = not row.is_leaving
        row.remove.setText("Keep" if row.is_leaving else "Remove")
        for widget in (row.swatch, row.name, row.key):
            widget.setEnabled(not row.is_leaving)
        row.fate.clear()
        if row.is_leaving and row.own is not None:
            self._offer_fates(row, row.own)
        row.fate.setVisible(row.fate.count() > 1)

    def accept(self) -> None:
        """Change the classes; the dialog stays open when that cannot be."""
        steps = [step for row in self.rows if (step := row.step()) is not None]
        order = {RemoveClass: 0, AlterClass: 1, AddClass: 2}
        try:
            told = self._session.classes.change(sorted(steps, key=lambda step: order[type(step)])) if steps else ()
        except HistosegError as error:
            self._said.setText(str(error))
            return
        if told:
            self._view.say("info", f"{'; '.join(told)}.")
        super().accept()

    def _place(self, row: ClassRow) -> None:
        line = 2 * len(self.rows)
        self.rows.append(row)
        for column, widget in enumerate(row.widgets):
            self._grid.addWidget(widget, line, column)
        self._grid.addWidget(row.fate, line + 1, 1, 1, 3)

    def _offer_fates(self, row: ClassRow, own: LabelClass) -> None:
        try:
            carried = self._session.classes.carried(own.id)
        except HistosegError as error:
            self._said.setText(str(error))
            return
        if not carried.pixels and not carried.cells:
            row.fate.addItem("", None)
            return
        amounts = (
            f"{carried.cells:,} cells" if carried.cells else "",
            f"{carried.pixels:,} px" if carried.pixels else "",
        )
        amount = " and ".join(part for part in amounts if part).replace(",", " ")
        row.fate.addItem(f"{amount} are {own.name}: keep the class", _KEEP)
        for other in self.rows:
            if other.own is not None and other is not row and not other.is_leaving:
                row.fate.addItem(swatch(other.color), f"{amount} become {other.name.text()}", other.own.id)
        row.fate.addItem(f"{amount} become unknown", IGNORE)
