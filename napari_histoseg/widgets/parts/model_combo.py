"""A list of models under the headings of their tasks."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItem, QStandardItemModel
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_histoseg.session import ModelInfo
from napari_histoseg.session.catalogue import grouped

_MOST_ROWS = 20


class ModelCombo(QComboBox):
    """Models by task, those that have learned something first; ``currentData()`` is the id."""

    def __init__(self, infos: Iterable[ModelInfo]) -> None:
        super().__init__()
        self.setToolTip("The model; its card below tells what it was made for")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(8)
        self.setMaxVisibleItems(_MOST_ROWS)
        rows = QStandardItemModel(self)
        for title, group in grouped(infos):
            rows.appendRow(_heading(title, is_bold=True))
            untrained = [info for info in group if info.is_untrained]
            for info in group[: len(group) - len(untrained)]:
                rows.appendRow(_entry(info))
            if untrained:
                rows.appendRow(_heading("untrained:", is_bold=False))
            for info in untrained:
                rows.appendRow(_entry(info))
        self.setModel(rows)
        self.choose(None)

    def choose(self, model_id: str | None) -> None:
        """Show that model as chosen, or none."""
        self.setCurrentIndex(-1 if model_id is None else self.findData(model_id))

    def showPopup(self) -> None:  # noqa: N802
        """Open the list as wide as its longest title."""
        view = self.view()
        view.setMinimumWidth(view.sizeHintForColumn(0) + view.verticalScrollBar().sizeHint().width())
        super().showPopup()


def _entry(info: ModelInfo) -> QStandardItem:
    entry = QStandardItem(info.title)
    entry.setData(info.id, Qt.ItemDataRole.UserRole)
    entry.setToolTip(info.spec.paper)
    return entry


def _heading(title: str, *, is_bold: bool) -> QStandardItem:
    heading = QStandardItem(title)
    heading.setFlags(Qt.ItemFlag.NoItemFlags)
    font = heading.font()
    font.setBold(is_bold)
    font.setItalic(not is_bold)
    heading.setFont(font)
    return heading
