"""The lines of the history, made only when they come into sight."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_histoseg.core.errors import HistosegError
from napari_histoseg.session.history_words import thumbnail, words
from napari_histoseg.widgets.parts.times import clock

if TYPE_CHECKING:
    from napari_histoseg.session import Session
    from napari_histoseg.session.history import Act, History

_COLUMNS = (
    ("What", "What was done, and a picture of the place"),
    ("When", "Hours and minutes, with the day when it was another one"),
    ("Who", "Who did it, or the model that ran"),
)
_SIDE_PX = 36
_MOST_KEPT = 2000
_PICTURE_EVERY_MS = 15
_STANDINGS = {
    "in force": "",
    "taken back": "It was taken back and can be done again.",
    "replaced": "It was taken back and other work followed, so it cannot be done again.",
    "note": "",
}


class HistoryModel(QAbstractTableModel):
    """What was done, the newest first; words and pictures are made when a line is drawn.

    Parameters
    ----------
    session : Session
    history : History
    parent : QObject
        With whose timers those of the pictures stop.
    """

    def __init__(self, session: Session, history: History, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._history = history
        self._acts: list[Act] = []
        self._names: dict[str, str] = {}
        self._words: OrderedDict[int, str] = OrderedDict()
        self._pictures: OrderedDict[int, QPixmap] = OrderedDict()
        self._wanted: list[Act] = []
        self._blank = QPixmap(_SIDE_PX, _SIDE_PX)
        self._blank.fill(Qt.GlobalColor.transparent)
        self._drawing = QTimer(self)
        self._drawing.setInterval(_PICTURE_EVERY_MS)
        self._drawing.timeout.connect(self._draw_one)

    def show_acts(self, acts: list[Act], names: dict[str, str]) -> None:
        """Show these lines; ``names`` of images are told where the lines are of several."""
        self.beginResetModel()
        self._acts, self._names = acts, names
        self._words.clear()
        self._pictures.clear()
        self._wanted.clear()
        self.endResetModel()

    def put_on_top(self, act: Act) -> None:
        """One line more."""
        self.beginInsertRows(QModelIndex(), 0, 0)
        self._acts.insert(0, act)
        self.endInsertRows()

    def refresh(self) -> None:
        """The lines are the same, but some of them stand differently now."""
        if self._acts:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._acts) - 1, len(_COLUMNS) - 1))

    def act(self, line: int) -> Act | None:
        return self._acts[line] if 0 <= line < len(self._acts) else None

    # -- what Qt asks ----------------------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(self._acts)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section][0]
        return _COLUMNS[section][1] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        act = self.act(index.row())
        if act is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return (self._told(act), clock(act.at), act.author)[index.column()]
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self._picture(act)
        if role == Qt.ItemDataRole.ForegroundRole and self._history.standing(act) in ("taken back", "replaced"):
            return QColor(Qt.GlobalColor.gray)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(act)
        return None

    def _told(self, act: Act) -> str:
        if act.record is None:
            return act.note
        seq, project = act.record.seq, self._session.project
        if seq not in self._words and project is not None:
            _keep(self._words, seq, words(project, act.record))
        name = self._names.get(act.record.image_id)
        return self._words.get(seq, "") + ("" if name is None else f" – {name}")

    def _tip(self, act: Act) -> str:
        standing = self._history.standing(act)
        undo = self._history.taken_back_by(act) if standing in ("taken back", "replaced") else None
        who = "" if undo is None else f"Taken back {clock(undo.at)} by {undo.author}."
        place = "" if act.image_id is None else "Double click: go to the place."
        return "\n".join(part for part in (self._told(act), who, _STANDINGS[standing], place) if part)

    def _picture(self, act: Act) -> QPixmap:
        """The picture when it is drawn already; else it is drawn soon, and its room is kept free."""
        if act.record is None:
            return self._blank
        if act.record.seq not in self._pictures:
            self._wanted.append(act)
            self._drawing.start()
        return self._pictures.get(act.record.seq, self._blank)

    def _draw_one(self) -> None:
        """The line that came into sight last first: the person may have scrolled on."""
        if not self._wanted:
            self._drawing.stop()
            return
        act = self._wanted.pop()
        if act.record is None or act.record.seq in self._pictures or self._session.project is None:
            return
        try:
            pixels = thumbnail(self._session, act.record, _SIDE_PX)
        except HistosegError:  # the line stays without a picture; the panels say that the image is gone
            _keep(self._pictures, act.record.seq, self._blank)
            return
        _keep(self._pictures, act.record.seq, _square(pixels))
        if act in self._acts:
            place = self.index(self._acts.index(act), 0)
            self.dataChanged.emit(place, place)


def history_view(model: HistoryModel) -> QTableView:
    """A table of lines of one height, of which one can be selected."""
    view = QTableView()
    view.setModel(model)
    view.setIconSize(QSize(_SIDE_PX, _SIDE_PX))
    view.setShowGrid(False)
    view.verticalHeader().hide()
    view.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    view.verticalHeader().setDefaultSectionSize(_SIDE_PX + 4)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    view.setWordWrap(True)
    letter = view.fontMetrics().horizontalAdvance("0")
    header = view.horizontalHeader()
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    for column, letters in ((1, 8), (2, 9)):
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
        header.resizeSection(column, letters * letter)
    return view


def _square(pixels: NDArray[np.uint8]) -> QPixmap:
    """A picture (h, w, 3) in the middle of a clear square, so that the words beside all pictures begin in a line."""
    height, width = pixels.shape[:2]
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    square = QPixmap(_SIDE_PX, _SIDE_PX)
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    painter.drawImage((_SIDE_PX - width) // 2, (_SIDE_PX - height) // 2, image)
    painter.end()
    return square


def _keep(memory: OrderedDict[int, Any], key: int, value: Any) -> None:
    memory[key] = value
    if len(memory) > _MOST_KEPT:
        memory.popitem(last=False)
