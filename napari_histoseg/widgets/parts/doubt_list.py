"""What looks wrong, worst first, to go through with the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_histoseg.session import Session
from napari_histoseg.widgets.parts.list_keys import ListKeys
from napari_histoseg.widgets.parts.panel import telling, text_label
from napari_histoseg.widgets.parts.reasons import allow
from napari_histoseg.widgets.parts.view import View

if TYPE_CHECKING:
    from napari_histoseg.inference.doubts import Doubt

_MOST = 300
_ROWS = 4
_LOOK = (
    "Look for cells with a weak border or an odd size, for two points in one nucleus, and for nuclei without a point"
)
_HOW = (
    "A click goes to the place. Enter: it is right as it is. A class letter: this is its class. Delete: there is no "
    "cell. Each brings the next one."
)


class DoubtList(QWidget):
    """Doubtful places of the image that nobody has judged yet."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__()
        self._session = session
        self._view = view
        self._shown: tuple[Doubt, ...] = ()
        self._passed: set[tuple[str, float, float]] = set()
        self._searched: str | None = None
        self._is_asked = False
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        row = QHBoxLayout()
        self._title = QLabel()
        self._look = QPushButton("Look for doubtful cells")
        self._look.clicked.connect(lambda _=False: self._on_look_clicked())
        row.addWidget(self._title, 1)
        row.addWidget(self._look)
        column.addLayout(row)
        self._list = QListWidget()
        self._list.setToolTip(_HOW)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setFixedHeight(_ROWS * (self.fontMetrics().height() + 6) + 4)
        self._list.currentRowChanged.connect(lambda _: self._go())
        self._list.itemClicked.connect(lambda _: self._go())
        self._keys = ListKeys(self._list, self._on_key)
        self._told = text_label()
        column.addWidget(self._list)
        column.addWidget(self._told)

    @property
    def count(self) -> int:
        """How many doubtful places nobody has judged yet."""
        return len(self._shown)

    @property
    def current(self) -> int:
        """Number of the cell in the current row; 0 where there is none."""
        row = self._list.currentRow()
        return self._shown[row].cell_id if 0 <= row < len(self._shown) else 0

    def refresh(self, reason: str) -> None:
        """Show what is left.

        Parameters
        ----------
        reason : str
            Why nothing can be looked for; empty when it can.
        """
        shown = self._left()
        if shown != self._shown:
            self._fill(shown)
        nothing = "Nothing doubtful." if self._searched == self._view.images.current is not None else ""
        self._title.setText(f"{len(shown)} doubtful" if shown else nothing)
        self._list.setVisible(bool(shown))
        self._tell()
        allow(self._look, _LOOK, reason)

    def show_found(self, image_id: str) -> None:
        """Doubtful cells were looked for; who asked for it here goes on with the keyboard."""
        self._searched = image_id
        is_wanted, self._is_asked = self._is_asked, False
        if image_id != self._view.images.current:
            return
        self.refresh("")
        if is_wanted and self._shown:
            self._list.setFocus()
            self._list.setCurrentRow(0)

    def _left(self) -> tuple[Doubt, ...]:
        """Doubts that are open and were not passed over here."""
        image_id = self._view.images.current
        if image_id is None:
            return ()
        doubts = self._session.points.doubts(image_id)
        return tuple(d for d in doubts if self._key(image_id, d) not in self._passed)

    @staticmethod
    def _key(image_id: str, doubt: Doubt) -> tuple[str, float, float]:
        return image_id, doubt.y, doubt.x

    def _fill(self, shown: tuple[Doubt, ...]) -> None:
        row = self._list.currentRow()
        self._shown = shown
        self._list.blockSignals(True)
        self._list.clear()
        for doubt in shown[:_MOST]:
            self._list.addItem(QListWidgetItem(doubt.sentence))
            self._list.item(self._list.count() - 1).setToolTip(f"{doubt.sentence}\n{_HOW}")
        self._list.setCurrentRow(min(row, self._list.count() - 1))
        self._list.blockSignals(False)

    def _go(self) -> None:
        row = self._list.currentRow()
        if not 0 <= row < len(self._shown):
            return
        doubt, cells = self._shown[row], self._view.cells
        self._tell()
        if doubt.cell_id:
            cells.jump_to(doubt.cell_id)
        else:
            cells.jump_to_place(doubt.y, doubt.x)
            cells.select(())

    def _tell(self) -> None:
        """The whole sentence of the current doubt, which the list may have cut."""
        row = self._list.currentRow()
        self._told.setVisible(0 <= row < len(self._shown))
        if self._told.isVisibleTo(self):
            self._told.setText(self._shown[row].sentence)

    def _on_key(self, name: str) -> bool:
        """Judge the doubt in the current row; the next one moves up and is gone to."""
        row, image_id, schema = self._list.currentRow(), self._view.images.current, self._view.appearance.schema
        if not 0 <= row < len(self._shown) or image_id is None or schema is None:
            return False
        doubt = self._shown[row]
        class_id = next((c.id for c in schema.classes if c.key == name), None)
        if name not in ("enter", "delete") and class_id is None:
            return False
        with telling(self._view):
            self._judge(image_id, doubt, name, class_id)
            if not doubt.cell_id:
                self._passed.add(self._key(image_id, doubt))
        self.refresh("")
        self._go()
        return True

    def _judge(self, image_id: str, doubt: Doubt, name: str, class_id: int | None) -> None:
        cells, cell_id = self._session.cells, doubt.cell_id
        if class_id is not None and cell_id:
            cells.set_class(image_id, [cell_id], class_id)
        elif class_id is not None:
            self._session.points.add(image_id, doubt.y, doubt.x, class_id)
        elif cell_id and name == "enter":
            cells.verify(image_id, [cell_id])
        elif cell_id:
            cells.delete(image_id, [cell_id])

    def _on_look_clicked(self) -> None:
        image_id = self._view.images.current
        if image_id is None:
            return
        with telling(self._view):
            self._session.points.refresh_doubts(image_id)
            self._is_asked = True
            self._title.setText("Looking…")
