"""All cells of an image as a table: sorted by a click on a title, chosen by rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    Qt,
    Signal,
)
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.widgets.parts.list_keys import ListKeys
from napari_histoseg.widgets.parts.swatch import swatch

_HEIGHT_PX = 190
_MARGIN_PX = 14
_COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("Class", "Class of the cell; a class letter gives it to the rows chosen", "", ""),
    ("µm²", "Area in µm²", ".0f", "0000"),
    ("Stain", "Mean amount of haematoxylin in optical density; – until the cells were measured", ".2f", "Stain"),
    ("Score", "How sure the model was of the class, 0 to 1; 1 where a person gave it", ".2f", "Score"),
    ("No.", "Number of the cell", "d", "000000"),
)
"""Title, tooltip, format of the values, and a text as wide as the widest."""


class CellTableModel(QAbstractTableModel):
    """Rows are read from arrays when they come on screen, so that 20,000 cells cost no more than 20."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[NDArray[Any], ...] = (np.zeros(0, np.uint8), *(np.zeros(0) for _ in _COLUMNS[1:]))
        self._ids = np.zeros(0, np.int64)
        self._order = np.zeros(0, np.intp)
        self._sorting = (4, Qt.SortOrder.AscendingOrder)
        self._names: dict[int, str] = {}
        self._icons: dict[int, QIcon] = {}

    def show_cells(self, table: CellTable, schema: LabelSchema | None) -> None:
        """Show other cells, in the order that was chosen."""
        self.beginResetModel()
        classes = () if schema is None else schema.classes
        self._names = {c.id: c.name for c in classes}
        self._icons = {c.id: swatch(c.color) for c in classes}
        self._ids = table.ids
        self._columns = (table.class_ids, table.area_um2, table.haematoxylin, table.score, table.ids)
        self._order = self._ordered()
        self.endResetModel()

    def ids_at(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """Numbers of the cells in those rows."""
        return self._ids[self._order[rows]]

    def rows_of(self, ids: Iterable[int]) -> NDArray[np.intp]:
        """Rows of those cells, ascending."""
        return np.flatnonzero(np.isin(self._ids[self._order], np.fromiter(ids, np.int64)))

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        return 0 if parent is not None and parent.isValid() else len(self._ids)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        return 0 if parent is not None and parent.isValid() else len(_COLUMNS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        value, column = self._columns[index.column()][self._order[index.row()]], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            if column == 0:
                return self._names.get(int(value), "unknown")
            return "–" if np.isnan(value) else format(value, _COLUMNS[column][2])
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return self._icons.get(int(value))
        if role == Qt.ItemDataRole.TextAlignmentRole and column > 0:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section][0]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return f"{_COLUMNS[section][1]}. A click sorts by it."
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self.beginResetModel()
        self._sorting = (column, order)
        self._order = self._ordered()
        self.endResetModel()

    def _ordered(self) -> NDArray[np.intp]:
        """Stable, and with what is not known at the end."""
        column, direction = self._sorting
        values = self._columns[column]
        if column == 0:
            names = sorted(set(self._names.values()))
            rank = np.full(256, len(names))
            for class_id, name in self._names.items():
                rank[class_id] = names.index(name)
            values = rank[values]
        keys = -values.astype(np.float64) if direction == Qt.SortOrder.DescendingOrder else values
        return np.argsort(keys, kind="stable")


class CellTableView(QTableView):
    """The table; `chosen` tells the cells of the rows that a person chose."""

    chosen = Signal(object)
    """tuple of numbers"""
    jumped = Signal(int)
    """Number of the cell whose row was double-clicked or entered."""

    def __init__(self, on_key: Callable[[str], bool]) -> None:
        super().__init__()
        self.cells = CellTableModel()
        self.setModel(self.cells)
        self.setSortingEnabled(True)
        self.sortByColumn(4, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setFixedHeight(_HEIGHT_PX)
        self.setToolTip("Rows chosen are the cells chosen; double click or Enter goes to the cell, a letter classes it")
        rows, titles = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and titles is not None:
            rows.hide()
            rows.setDefaultSectionSize(self.fontMetrics().height() + 6)
            titles.setHighlightSections(False)  # it would ask for every row
            titles.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            titles.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            for column in range(1, len(_COLUMNS)):
                titles.resizeSection(column, self.fontMetrics().horizontalAdvance(_COLUMNS[column][3]) + _MARGIN_PX)
        self._is_showing = False
        self._keys = ListKeys(self, lambda name: self._jump() if name == "enter" else on_key(name))
        self.doubleClicked.connect(lambda _: self._jump())
        self._hear_selection()

    @property
    def ids(self) -> tuple[int, ...]:
        """Numbers of the cells in the rows chosen."""
        selection = self.selectionModel()
        ranges = [] if selection is None else [(r.top(), r.bottom() + 1) for r in selection.selection()]
        rows = np.concatenate([np.zeros(0, np.intp), *(np.arange(low, high) for low, high in ranges)])
        return tuple(self.cells.ids_at(np.unique(rows)).tolist())

    def show_cells(self, table: CellTable, schema: LabelSchema | None, ids: Iterable[int]) -> None:
        """Show other cells with some of them chosen."""
        kept, top = set(self.ids), self.verticalScrollBar()
        at = 0 if top is None else top.value()
        self._is_showing = True
        self.cells.show_cells(table, schema)
        self._is_showing = False
        self.doItemsLayout()  # else nothing can be brought into sight before the next draw
        self.choose(ids)
        if top is not None and set(self.ids) == kept:
            top.setValue(at)

    def choose(self, ids: Iterable[int]) -> None:
        """Choose the rows of those cells, without telling, and bring the first into sight."""
        selection, model = self.selectionModel(), self.cells
        if selection is None:
            return
        rows = model.rows_of(ids)
        chosen = QItemSelection()
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if rows.size else ():
            chosen.select(model.index(int(run[0]), 0), model.index(int(run[-1]), len(_COLUMNS) - 1))
        self._is_showing = True
        selection.select(chosen, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        self._is_showing = False
        if rows.size:
            self.scrollTo(model.index(int(rows[0]), 0), QAbstractItemView.ScrollHint.PositionAtCenter)

    def _hear_selection(self) -> None:
        selection = self.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._on_selection_changed)
        self.cells.modelAboutToBeReset.connect(self._on_reset)
        self.cells.modelReset.connect(self._on_was_reset)
        self._kept: tuple[int, ...] = ()

    def _on_reset(self) -> None:
        self._kept = self.ids

    def _on_was_reset(self) -> None:
        """A table sorted otherwise keeps its rows chosen."""
        if not self._is_showing:
            self.choose(self._kept)

    def _on_selection_changed(self) -> None:
        if not self._is_showing:
            self.chosen.emit(self.ids)

    def _jump(self) -> bool:
        row = self.currentIndex().row()
        if row < 0:
            return False
        self.jumped.emit(int(self.cells.ids_at(np.array([row]))[0]))
        return True
