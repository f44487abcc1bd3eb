"""Models: what there is, where it comes from, and whether it has learned anything yet."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QPushButton, QTreeWidget, QTreeWidgetItem

from napari_histoseg.session import ModelInfo, Session
from napari_histoseg.session.catalogue import grouped
from napari_histoseg.widgets.parts.model_card import ModelCard
from napari_histoseg.widgets.parts.panel import Panel
from napari_histoseg.widgets.parts.view import View

_COLUMNS = ("Model", "Weights")


class ModelsPanel(Panel):
    """The registered models by task and the card of the selected one."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._infos: dict[str, ModelInfo] = {info.id: info for info in session.models()}
        self._tree = _tree()
        self._items: dict[str, QTreeWidgetItem] = {}
        for title, group in grouped(self._infos.values()):
            heading = QTreeWidgetItem([title])
            heading.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self._tree.addTopLevelItem(heading)
            heading.setFirstColumnSpanned(True)
            heading.setExpanded(True)
            for info in group:
                self._items[info.id] = _entry(info)
                heading.addChild(self._items[info.id])
        self._card = ModelCard()
        self._use = QPushButton("Use this model")
        self._use.setToolTip("Segment with the selected model from now on")
        for widget in (self._tree, self._card, self._use):
            self.column.addWidget(widget)
        self.column.addStretch(1)
        self._tree.currentItemChanged.connect(self._show_card)
        self._use.clicked.connect(self._on_use_clicked)
        self.listen(session.model_changed, self._show_active)
        self.suggest("select a model to read where it comes from.")
        self._show_active()

    def _show_active(self) -> None:
        active = self._session.active
        if active is not None:
            self._tree.setCurrentItem(self._items.get(active.spec.id))
        self._show_card()

    def _selected(self) -> ModelInfo | None:
        item = self._tree.currentItem()
        return None if item is None else self._infos.get(item.data(0, Qt.ItemDataRole.UserRole))

    def _on_use_clicked(self) -> None:
        info = self._selected()
        if info is not None:
            with self.telling():
                self._session.choose_model(info.id)

    def _show_card(self, *_: object) -> None:
        info = self._selected()
        self._use.setEnabled(info is not None)
        if info is None:
            self._card.clear()
        else:
            self._card.show_model(info)


def _entry(info: ModelInfo) -> QTreeWidgetItem:
    entry = QTreeWidgetItem([info.title, _weights_text(info)])
    entry.setData(0, Qt.ItemDataRole.UserRole, info.id)
    for column in range(len(_COLUMNS)):
        entry.setToolTip(column, info.title)
    return entry


def _weights_text(info: ModelInfo) -> str:
    if not info.spec.needs_weights:
        return "none needed"
    present = sum(weights.is_present for weights in info.weights)
    return f"{present} trained" if present else "untrained"


def _tree() -> QTreeWidget:
    tree = QTreeWidget()
    tree.setHeaderLabels(list(_COLUMNS))
    tree.setIndentation(10)
    tree.setRootIsDecorated(False)
    tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    tree.header().setStretchLastSection(False)
    tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
    tree.setToolTip("Select a model to read its card")
    tree.setMinimumHeight(220)
    return tree
