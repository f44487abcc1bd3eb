"""Retrain: learn from the corrections, judge the result, go back when it is worse."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_histoseg.session import JobStatus, Session
from napari_histoseg.widgets.parts.curve import LossCurve
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.plan_form import PlanForm
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.reference_row import ReferenceRow
from napari_histoseg.widgets.parts.times import clock
from napari_histoseg.widgets.parts.view import View

if TYPE_CHECKING:
    from napari_histoseg.core.revision import Revision

_COLUMNS = (
    ("Revision", "The one in use is marked"),
    ("Edits", "Dice on corrections held out of the training, before → after"),
    ("Old data", "Dice on fields verified earlier, or agreement with the parent elsewhere, before → after"),
    ("Verdict", "Promoted revisions are used; refused ones are kept but not used"),
)
_ON_EDITS = ("corrections", "seen corrections")
_ON_OLD = ("folder", "verified", "agreement")


class RetrainPanel(Panel):
    """One button, a live curve, a verdict with its numbers, and the list of revisions."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._is_running = session.is_running("finetune")
        self._run = QPushButton("Retrain on edits")
        self._form = PlanForm()
        self._progress = ProgressRow()
        self._curve = LossCurve()
        self._result = text_label()
        self._result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._reference = ReferenceRow(session, view)
        for widget in (self._run, self._progress, self._curve, self._result, self._form, self._reference):
            self.column.addWidget(widget)
        self._table = _table()
        self._about = text_label()
        self._table.currentCellChanged.connect(self._show_about)
        self.column.addWidget(self._table)
        self.column.addWidget(self._about)
        self.column.addLayout(self._revision_row())
        self._copy = QPushButton("Copy as command")
        self._copy.setToolTip("Copy the shell command that does the same as Retrain on edits")
        self._copy.clicked.connect(self._on_copy_clicked)
        self.column.addWidget(self._copy)
        self.column.addStretch(1)
        self._curve.hide()
        self._run.clicked.connect(self._on_run_clicked)
        self.listen(session.job_changed, self._on_job_changed)
        self.listen(session.loss_added, self._curve.add)
        self.listen(session.revision_added, self._on_revision_added)
        self.listen(session.model_changed, self._refresh)
        self.listen(session.project_changed, self._on_project_changed)
        self.listen(session.edited, self._refresh_button)
        self.listen(view.images.current_changed, self._refresh_button)
        self._on_project_changed()

    def _revision_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._use = QPushButton("Use this revision")
        self._use.setToolTip("Make the selected revision the model in use and segment anew")
        self._use.clicked.connect(self._on_use_clicked)
        self._back = QPushButton("Roll back")
        self._back.setToolTip("Go back to what the revision in use was made from")
        self._back.clicked.connect(self._on_back_clicked)
        for button in (self._use, self._back):
            row.addWidget(button)
        return row

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_run_clicked(self) -> None:
        if self._is_running:
            self._session.cancel("finetune")
            return
        plan = self._form.plan()
        with self.telling():
            self._session.retrain(plan)

    def _on_job_changed(self, status: JobStatus) -> None:
        if status.kind != "finetune":
            return
        self._is_running = not status.is_over
        self._progress.show_status(status)
        if status.state == "queued":
            self._curve.clear()
            self._curve.show()
            self._result.hide()
        self._curve.set_total(status.total)
        if status.state in ("cancelled", "failed"):
            self._say(status.message)
        self._refresh_button()

    def _on_revision_added(self, revision: Revision) -> None:
        verb = "is in use now" if revision.verdict == "promoted" else "is kept but not used"
        self._say(f"<b>{revision.id} {verb}.</b> {html.escape(revision.reason)}")
        self._refresh()

    def _on_project_changed(self) -> None:
        self._reference.refresh()
        self._curve.hide()
        self._result.hide()
        self._refresh()

    def _on_use_clicked(self) -> None:
        chosen = self._table.currentItem()
        if chosen is not None:
            revision_id = self._table.item(chosen.row(), 0).data(Qt.ItemDataRole.UserRole)
            with self.telling():
                self._session.activate(revision_id or None)

    def _on_back_clicked(self) -> None:
        with self.telling():
            self._session.rollback()

    def _on_copy_clicked(self) -> None:
        with self.telling():
            QApplication.clipboard().setText(self._session.command("finetune"))
            self._view.say("info", "The command is on the clipboard.")

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._result.setText(text)
        self._result.show()

    def _refresh(self) -> None:
        active = self._session.active
        revisions = () if self._session.project is None or active is None else self._session.revisions()
        self._table.setRowCount(0)
        for revision in reversed(revisions):
            self._add_row(revision, is_active=active is not None and revision.id == active.revision_id)
        self._table.setVisible(bool(revisions))
        self._show_about(self._table.currentRow())
        self._use.setVisible(bool(revisions))
        self._back.setVisible(bool(revisions))
        self._back.setEnabled(active is not None and active.revision_id is not None)
        self._refresh_button()

    def _show_about(self, line: int, *_: int) -> None:
        item = self._table.item(line, 0) if line >= 0 else None
        self._about.setVisible(item is not None)
        self._about.setText("" if item is None else html.escape(item.toolTip()))

    def _add_row(self, revision: Revision, *, is_active: bool) -> None:
        line = self._table.rowCount()
        self._table.insertRow(line)
        cells = (
            revision.id + (" ✓" if is_active else ""),
            change(revision, *_ON_EDITS),
            change(revision, *_ON_OLD),
            revision.verdict,
        )
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(about(revision))
            self._table.setItem(line, column, item)
        self._table.item(line, 0).setData(Qt.ItemDataRole.UserRole, revision.id)
        if is_active:
            self._table.selectRow(line)

    def _refresh_button(self) -> None:
        session = self._session
        is_running = self._is_running
        is_corrected = self._is_corrected()
        is_ready = session.active is not None and session.active.can_learn and is_corrected
        self._run.setText("Cancel" if is_running else "Retrain on edits")
        self._run.setToolTip(
            "Stop; the model stays as it is"
            if is_running
            else "Learn from everything you painted, accepted or corrected as cells"
        )
        self._run.setEnabled(is_running or is_ready)
        self._form.setEnabled(not is_running)
        self._form.setVisible(not is_running)
        self._reference.setVisible(not is_running)
        self._copy.setEnabled(is_ready)
        self.suggest(self._next(is_running, is_corrected=is_corrected))

    def _is_corrected(self) -> bool:
        project = self._session.project
        return project is not None and any(project.is_edited(entry.id) for entry in project.images)

    def _next(self, is_running: bool, *, is_corrected: bool) -> str:
        if is_running:
            return "keep correcting while the model learns; it does not see strokes made from now on."
        if self._session.active is None:
            return "choose a model (tab Segment)."
        if not self._session.active.can_learn:
            return "this model does not learn from labels: choose a network that draws them (tab Segment)."
        if not is_corrected:
            return "correct something first (tab Correct or Cells)."
        if self._session.active.is_untrained:
            return "paint every class in several places, since this model starts from nothing; then press Retrain."
        return "press Retrain on edits; it learns only from what you painted, accepted or corrected as cells."


def about(revision: Revision) -> str:
    """When it was made, from what, and what the gate said."""
    return f"Made {clock(revision.created_at)} from {revision.parent or 'nothing'}. {revision.reason}"


def change(revision: Revision, *kinds: str) -> str:
    """``before→after`` of the first of the kinds of score that the revision has."""
    scores: Any = next((revision.metrics[kind] for kind in kinds if kind in revision.metrics), None)
    if scores is None:
        return "–"
    return f"{scores['before']:.2f}→{scores['after']:.2f}"


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setHorizontalHeaderLabels([title for title, _ in _COLUMNS])
    for column, (_, tooltip) in enumerate(_COLUMNS):
        table.horizontalHeaderItem(column).setToolTip(tooltip)
    table.verticalHeader().hide()
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(len(_COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setMinimumHeight(120)
    return table
