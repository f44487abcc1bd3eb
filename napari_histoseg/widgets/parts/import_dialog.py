"""Masks of other programs: what is in the file, and which class each of its values is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QRadioButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.io.masks import About, Mask, guessed_classes
from napari_histoseg.session.importing import import_mask, look_at_mask
from napari_histoseg.widgets.parts.numbers import grouped
from napari_histoseg.widgets.parts.panel import text_label
from napari_histoseg.widgets.parts.swatch import swatch

if TYPE_CHECKING:
    from napari_histoseg.session import Session
    from napari_histoseg.widgets.parts.view import View

_FILES = "Masks (*.tif *.tiff *.png *.bmp *.geojson *.json);;All files (*)"
_ABOUT: tuple[tuple[About, str, str], ...] = (
    ("regions", "Tissue regions", "Each value, colour or name of the file is a class"),
    ("cells", "Single cells", "Each value of the file is the number of one cell, or each outline is a cell"),
)
_WORD = (
    (False, "As a proposal", "Nobody has vouched for it: models do not learn from it, and you correct and accept it"),
    (True, "As verified", "You vouch for all of it: models learn from it"),
)
_WIDTH_PX, _HEIGHT_PX = 460, 420


def ask_import(session: Session, view: View, parent: QWidget) -> ImportDialog | None:
    """Let a person choose a file of masks for the image on screen and say what it is; the window stays usable."""
    if session.project is None or view.images.current is None:
        view.say("warning", "Open an image first; masks are brought in for the image on screen.")
        return None
    path, _ = QFileDialog.getOpenFileName(parent, "Import masks", str(Path.home()), _FILES)
    if not path:
        return None
    dialog = ImportDialog(session, view, view.images.current, Path(path), parent)
    dialog.show()
    return dialog


class ImportDialog(QDialog):
    """What is in a file, which class each value, colour or name is, and whether a person vouches for it.

    Parameters
    ----------
    session : Session
    view : View
    image_id : str
        Image of the open project that the file belongs to.
    path : Path
    parent : QWidget
    """

    def __init__(self, session: Session, view: View, image_id: str, path: Path, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._view, self._image_id, self._path = session, view, image_id, path
        self._mask: Mask | None = None
        self._combos: list[QComboBox] = []
        self.setWindowTitle("Import masks")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(_WIDTH_PX, _HEIGHT_PX)
        column = QVBoxLayout(self)
        project = session.project
        name = "" if project is None else project.image(image_id).name
        column.addWidget(text_label(f"<b>{path.name}</b> for {name}"))
        self._about, row = _choice(self, _ABOUT)
        column.addLayout(row)
        self._table = _table()
        column.addWidget(self._table, 1)
        self._notes = text_label()
        column.addWidget(self._notes)
        self._word, row = _choice(self, _WORD)
        self._word.button(0).setChecked(True)
        column.addLayout(row)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self._import = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self._import.setText("Import")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)
        self.look(None)
        self._about.idClicked.connect(lambda k: self.look(_ABOUT[k][0]))

    @property
    def classes(self) -> dict[str, int]:
        """Class id by value, colour or name, as chosen; ``IGNORE`` for none."""
        kinds = () if self._mask is None else self._mask.kinds
        return {kind.key: int(combo.currentData()) for kind, combo in zip(kinds, self._combos, strict=True)}

    def look(self, about: About | None) -> None:
        """Read the file as regions or as cells, by default as what it looks like."""
        project = self._session.project
        self._mask, problem = None, ""
        try:
            if project is not None:
                self._mask = look_at_mask(project, self._image_id, self._path, about)
        except HistosegError as error:
            problem = str(error)
        if self._mask is not None:
            self._about.button([name for name, _, _ in _ABOUT].index(self._mask.about)).setChecked(True)
        self._fill()
        if problem:
            self._notes.setText(problem)

    def choose(self, key: str, class_id: int) -> None:
        """Say which class a value, colour or name is."""
        kinds = () if self._mask is None else self._mask.kinds
        for kind, combo in zip(kinds, self._combos, strict=True):
            if kind.key == key:
                combo.setCurrentIndex(combo.findData(class_id))

    def vouch(self, is_verified: bool) -> None:
        """Say whether all of it is as a person's word."""
        self._word.button(int(is_verified)).setChecked(True)

    def accept(self) -> None:
        """Bring the mask in; the dialog stays open when that cannot be."""
        if self._mask is None:
            return
        try:
            is_verified = self._word.checkedId() == 1
            told = import_mask(self._session, self._image_id, self._mask, self.classes, verified=is_verified)
        except HistosegError as error:
            self._notes.setText(str(error))
            return
        self._view.say("info", " ".join(told))
        super().accept()

    def _fill(self) -> None:
        mask, schema = self._mask, self._view.appearance.schema
        self._table.setRowCount(0)
        self._combos.clear()
        if mask is None or schema is None:
            self._show_state()
            return
        unit = "Cells" if mask.about == "cells" else "Pixels"
        self._table.setHorizontalHeaderLabels(["In the file", unit, "Class"])
        guessed = guessed_classes(mask, schema)
        for line, kind in enumerate(mask.kinds):
            self._table.insertRow(line)
            shown = QTableWidgetItem(kind.key if kind.name in (None, kind.key) else f"{kind.key}, {kind.name}")
            if kind.color is not None:
                shown.setIcon(swatch(kind.color))
            amount = QTableWidgetItem(grouped(kind.amount))
            amount.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
            combo = QComboBox()
            combo.addItem("unknown" if mask.about == "cells" else "– leave out –", IGNORE)
            for c in schema.classes:
                combo.addItem(swatch(c.color), c.name, c.id)
            combo.setCurrentIndex(combo.findData(guessed.get(kind.key, IGNORE)))
            combo.setToolTip(f"Class of {kind.key}")
            combo.currentIndexChanged.connect(self._show_state)
            self._combos.append(combo)
            self._table.setItem(line, 0, shown)
            self._table.setItem(line, 1, amount)
            self._table.setCellWidget(line, 2, combo)
        self._show_state()

    def _show_state(self) -> None:
        """Say what will not come in, and whether anything can."""
        mask = self._mask
        if mask is None:
            self._import.setEnabled(False)
            self._notes.setText("")
            return
        left = [kind for kind in mask.kinds if self.classes[kind.key] == IGNORE]
        amount = grouped(sum(kind.amount for kind in left))
        if mask.about == "cells":
            said = f"{amount} cells come in without a class; give it later by key." if left else ""
        else:
            said = f"{amount} pixels have no class yet and are left out." if left else ""
        self._notes.setText(" ".join((said, *mask.notes)).strip())
        self._import.setEnabled(mask.about == "cells" or len(left) < len(mask.kinds))


def _table() -> QTableWidget:
    table = QTableWidget(0, 3)
    table.setHorizontalHeaderLabels(["In the file", "Pixels", "Class"])
    table.verticalHeader().hide()
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    header = table.horizontalHeader()
    for column, mode in enumerate(("Stretch", "ResizeToContents", "Stretch")):
        header.setSectionResizeMode(column, getattr(QHeaderView.ResizeMode, mode))
    return table


def _choice(parent: QWidget, options: tuple[tuple[object, str, str], ...]) -> tuple[QButtonGroup, QHBoxLayout]:
    """Radio buttons in a row, numbered from 0."""
    group, row = QButtonGroup(parent), QHBoxLayout()
    for k, (_, title, tooltip) in enumerate(options):
        button = QRadioButton(title)
        button.setToolTip(tooltip)
        group.addButton(button, k)
        row.addWidget(button)
    row.addStretch(1)
    return group, row
