"""Cellularity: what a regression model says about each field, beside what the labels say."""

from __future__ import annotations

import html

from qtpy.QtCore import QSize, Qt, QTimer
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
from napari_histoseg.session.scoring import ImageScores, ScoredField
from napari_histoseg.widgets.parts.model_card import UNTRAINED_SCORE
from napari_histoseg.widgets.parts.model_combo import ModelCombo
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.view import View

_COLUMNS = (
    ("Field", "Row and column of the field's upper left corner in pixels of the image; click to go there"),
    ("Model", "What the model predicts, from 0 to 1"),
    ("Labels", "Malignant area over tissue area by the labels, from 0 to 1"),
    ("Tissue", "Share of the field that is tissue; emptier fields count less in the mean"),
)
_REREAD_AFTER_MS = 1000
_LOOK_EVERY_MS = 200


class CellularityPanel(Panel):
    """Model, scores of view and image, and a table of fields."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._is_running = session.is_running("score")
        self._shown: tuple[ScoredField, ...] = ()
        self._build()
        self._rereading = self._timer(_REREAD_AFTER_MS, self._reread_labels)
        self._looking = self._timer(_LOOK_EVERY_MS, self._show_means)
        self.listen(session.model_changed, self._refresh)
        self.listen(session.project_changed, self._refresh)
        self.listen(session.job_changed, self._on_job_changed)
        self.listen(session.scores.changed, self._on_scores_changed)
        self.listen(session.edited, self._reread_soon)
        self.listen(session.labels_changed, self._reread_soon)
        self.listen(view.images.current_changed, self._refresh)
        self.listen(view.images.view_moved, self._look_soon)
        self._refresh()

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(super().sizeHint().width(), 420)

    def _build(self) -> None:
        self._model = ModelCombo(info for info in self._session.models() if info.spec.task == "regression")
        self._model.activated.connect(self._on_model_activated)
        self._warning = text_label(UNTRAINED_SCORE)
        self._run = QPushButton("Score the image")
        self._run_view = QPushButton("Score this view")
        self._run_view.setToolTip("Score the fields of what is on screen only")
        self._run.clicked.connect(self._on_run_clicked)
        self._run_view.clicked.connect(lambda: self._score(is_whole=False))
        row = QHBoxLayout()
        row.addWidget(self._run)
        row.addWidget(self._run_view)
        self._progress = ProgressRow()
        self._means = text_label()
        self._table = _table()
        self._table.cellClicked.connect(self._on_cell_clicked)
        self._copy = QPushButton("Copy as command")
        self._copy.setToolTip("Copy the shell command that scores the image, for scripts and clusters")
        self._copy.clicked.connect(self._on_copy_clicked)
        for widget in (self._model, self._warning):
            self.column.addWidget(widget)
        self.column.addLayout(row)
        for widget in (self._progress, self._means, self._table, self._copy):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def _timer(self, after_ms: int, act: object) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(after_ms)
        timer.timeout.connect(act)
        return timer

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_model_activated(self) -> None:
        model_id = self._model.currentData()
        if model_id is not None:
            with self.telling():
                self._session.choose_model(str(model_id))

    def _on_run_clicked(self) -> None:
        if self._is_running:
            self._session.cancel("score")
        else:
            self._score(is_whole=True)

    def _score(self, *, is_whole: bool) -> None:
        image_id = self._view.images.current
        if image_id is not None:
            with self.telling():
                self._session.score(image_id, None if is_whole else self._view.images.visible_box())
        self._refresh()

    def _on_job_changed(self, status: JobStatus) -> None:
        if status.kind == "score":
            self._is_running = not status.is_over
            self._progress.show_status(status)
            self._refresh()

    def _on_scores_changed(self, image_id: str) -> None:
        if image_id == self._view.images.current:
            self._show_scores()

    def _reread_soon(self) -> None:
        self._rereading.start()

    def _look_soon(self) -> None:
        self._looking.start()

    def _reread_labels(self) -> None:
        image_id = self._view.images.current
        if image_id is not None and self._session.project is not None:
            with self.telling():
                self._session.refresh_derived_scores(image_id)

    def _on_cell_clicked(self, line: int, _column: int) -> None:
        self._view.images.look_at(self._shown[line].box)

    def _on_copy_clicked(self) -> None:
        with self.telling():
            QApplication.clipboard().setText(self._session.command("predict"))
            self._view.say("info", "The command is on the clipboard.")

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        active, images = self._session.active, self._view.images
        is_scorer = active is not None and active.spec.task == "regression"
        self._model.choose(active.spec.id if active is not None and is_scorer else None)
        self._warning.setVisible(active is not None and is_scorer and active.is_untrained)
        is_ready = is_scorer and images.current is not None and self._has_mpp()
        self._run.setText("Cancel" if self._is_running else "Score the image")
        self._run.setToolTip("Stop; what is scored stays" if self._is_running else "Score every field of the image")
        self._run.setEnabled(self._is_running or is_ready)
        self._run_view.setEnabled(is_ready and not self._is_running)
        self._copy.setEnabled(is_ready)
        self.suggest(self._next(is_scorer))
        self._show_scores()

    def _has_mpp(self) -> bool:
        image_id, project = self._view.images.current, self._session.project
        return image_id is not None and project is not None and project.image(image_id).mpp is not None

    def _next(self, is_scorer: bool) -> str:
        if self._view.images.current is None:
            return "open an image: drop a file on the window, or take one from File ▸ Open Sample."
        if not self._has_mpp():
            return "say how many µm one pixel is (tab Segment)."
        if not is_scorer:
            return "choose a model for the score."
        if self._is_running:
            return "wait, or look around: fields appear as they are scored."
        return "score what is on screen, or the whole image."

    def _scores(self) -> ImageScores | None:
        image_id = self._view.images.current
        return None if image_id is None else self._session.scores.of(image_id)

    def _show_scores(self) -> None:
        scores = self._scores()
        fields = () if scores is None else scores.fields
        if fields[: len(self._shown)] != self._shown:
            self._table.setRowCount(0)
            self._shown = ()
        for field in fields[len(self._shown) :]:
            self._add_row(field)
        self._shown = fields
        self._table.setVisible(bool(fields))
        self._show_means()

    def _add_row(self, field: ScoredField) -> None:
        line = self._table.rowCount()
        self._table.insertRow(line)
        texts = (
            f"{field.box.y0}, {field.box.x0}",
            f"{field.predicted:.2f}",
            told(field.derived),
            f"{100 * field.tissue:.0f} %",
        )
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
            self._table.setItem(line, column, item)

    def _show_means(self) -> None:
        scores = self._scores()
        self._means.setVisible(scores is not None)
        if scores is None:
            return
        box = self._view.images.visible_box()
        title = html.escape(scores.model.spec.title)
        lines = [f"<b>{title}</b>, untrained" if scores.model.is_untrained else f"<b>{title}</b>"]
        for name, place in (("This view", box), ("All scored fields", None)):
            lines.append(f"{name}: model {told(scores.predicted(place))}, labels {told(scores.derived(place))}")
        if scores.fields and scores.derived() is None:
            lines.append(self._why_no_labels())
        self._means.setText("<br>".join(lines))

    def _why_no_labels(self) -> str:
        if not self._session.has_malignant_class:
            return "The project has no class named malignant, neoplastic, tumor or cancer, so its labels give no score."
        return "Nothing is labelled here yet, so the labels give no score."


def told(score: float | None) -> str:
    """A score with two digits; a dash where there is none."""
    return "–" if score is None else f"{score:.2f}"


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setHorizontalHeaderLabels([title for title, _ in _COLUMNS])
    for column, (_, tooltip) in enumerate(_COLUMNS):
        table.horizontalHeaderItem(column).setToolTip(tooltip)
    table.verticalHeader().hide()
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setMinimumHeight(180)
    return table
