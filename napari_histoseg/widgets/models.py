"""Models: what there is, where it comes from, and whether it has learned anything yet."""

from __future__ import annotations

import html

from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem

from napari_histoseg.session import ModelInfo, Session
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.view import View

_COLUMNS = ("Model", "Task", "Weights")


class ModelsPanel(Panel):
    """A table of the registered models and the card of the selected one."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._infos: tuple[ModelInfo, ...] = session.models()
        self._table = QTableWidget(len(self._infos), len(_COLUMNS))
        self._table.setHorizontalHeaderLabels(list(_COLUMNS))
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._table.setToolTip("Select a model to read its card")
        self._table.setMinimumHeight(120)
        for line, info in enumerate(self._infos):
            for column, text in enumerate((info.title, info.task, _weights_text(info))):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self._table.setItem(line, column, item)
        self._card = text_label()
        self._use = QPushButton("Use this model")
        self._use.setToolTip("Segment with the selected model from now on")
        for widget in (self._table, self._card, self._use):
            self.column.addWidget(widget)
        self.column.addStretch(1)
        self._table.currentCellChanged.connect(self._show_card)
        self._use.clicked.connect(self._on_use_clicked)
        self.listen(session.model_changed, self._show_active)
        self.suggest("select a model to read where it comes from.")
        self._show_active()

    def _show_active(self) -> None:
        active = self._session.active
        for line, info in enumerate(self._infos):
            if active is not None and info.id == active.spec.id:
                self._table.selectRow(line)
        self._show_card()

    def _on_use_clicked(self) -> None:
        line = self._table.currentRow()
        if line >= 0:
            with self.telling():
                self._session.choose_model(self._infos[line].id)

    def _show_card(self, *_: int) -> None:
        line = self._table.currentRow()
        self._use.setEnabled(line >= 0)
        self._card.setText("" if line < 0 else card_text(self._infos[line]))


def card_text(info: ModelInfo) -> str:
    """What there is to know of a model, as rich text."""
    rows = [
        ("Paper", info.paper),
        ("Classes", ", ".join(c.name for c in info.classes)),
        ("Looks at", f"{info.mpp:g} µm per pixel"),
        ("Parameters", f"{info.parameters_total:,} as in the paper".replace(",", " ")),
    ]
    for weights in info.weights:
        state = "" if weights.is_present else " (untrained)"
        rows.append(
            (f"Weights {weights.name}", f"{weights.licence}{state}; {', '.join(c.name for c in weights.classes)}")
        )
    return "<br>".join(f"<b>{html.escape(name)}</b>: {html.escape(text)}" for name, text in rows)


def _weights_text(info: ModelInfo) -> str:
    present = sum(w.is_present for w in info.weights)
    return f"{present} trained" if present else "untrained"
