"""Segment: choose an image and a model, and run it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QPushButton, QSizePolicy

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.session import JobStatus, ModelInfo, Session
from napari_histoseg.widgets.parts.attention import highlight
from napari_histoseg.widgets.parts.model_card import ModelCard
from napari_histoseg.widgets.parts.model_combo import ModelCombo
from napari_histoseg.widgets.parts.panel import Panel, text_label
from napari_histoseg.widgets.parts.progress_row import ProgressRow
from napari_histoseg.widgets.parts.project_row import ProjectRow
from napari_histoseg.widgets.parts.sizes import memory
from napari_histoseg.widgets.parts.times import duration
from napari_histoseg.widgets.parts.view import View

if TYPE_CHECKING:
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.inference.estimate import Estimate

_MPP_WHY = (
    "How many µm one pixel of this image is. The file does not say, and a wrong value makes the model look at the "
    "wrong magnification: 0.25 is usual for 40x scans, 0.5 for 20x, 1.0 for 10x."
)


class SegmentPanel(Panel):
    """Image, model with its card, µm per pixel, Segment, progress."""

    def __init__(self, session: Session, view: View) -> None:
        super().__init__(view)
        self._session = session
        self._models: tuple[ModelInfo, ...] = session.models()
        self._estimate = ""
        self._is_running = session.is_running("predict")
        self._project = ProjectRow(session, view)
        self.column.insertWidget(0, self._project)
        self._build_form()
        self._build_buttons()
        self.column.addStretch(1)
        self._connect()
        self._on_project_changed()

    def _build_form(self) -> None:
        form = QFormLayout()
        self._image = _wide_combo("The image to segment; every image layer and every image of the project is listed")
        self._model = ModelCombo(self._models)
        self._weights = _wide_combo("What the network has learned; revisions of your own are chosen under Retrain")
        self._mpp = QDoubleSpinBox()
        self._mpp.setRange(0.0, 100.0)
        self._mpp.setDecimals(4)
        self._mpp.setSingleStep(0.05)
        self._mpp.setSpecialValueText("unknown")
        self._mpp.setKeyboardTracking(False)
        form.addRow("Image", self._image)
        form.addRow("Model", self._model)
        form.addRow("Weights", self._weights)
        form.addRow("µm per pixel", self._mpp)
        self.column.addLayout(form)
        train = QPushButton("Train from your annotations")
        train.setToolTip("Go to Retrain, where this model learns from nothing but what you paint and accept")
        train.clicked.connect(lambda: self._view.show_panel("Retrain"))
        self._card = ModelCard(train)
        self._notes = text_label()
        for widget in (self._card, self._notes):
            self.column.addWidget(widget)

    def _build_buttons(self) -> None:
        self._run = QPushButton("Segment")
        self._show = QPushButton("Show labels")
        self._show.setToolTip("The labels layer was closed; bring it back from the project")
        self._copy = QPushButton("Copy as command")
        self._copy.setToolTip("Copy the shell command that does the same as Segment, for scripts and clusters")
        self._progress = ProgressRow()
        row = QHBoxLayout()
        row.addWidget(self._show)
        row.addWidget(self._copy)
        self._found = text_label()
        self._found.setToolTip("Single cells of this image, outlined in their own layer; they are told when a run ends")
        self.column.addWidget(self._run)
        self.column.addWidget(self._progress)
        self.column.addWidget(self._found)
        self.column.addLayout(row)

    def _connect(self) -> None:
        view, session = self._view, self._session
        self._image.activated.connect(lambda index: view.images.choose(str(self._image.itemData(index))))
        self._model.activated.connect(lambda _: self._choose_model(None))
        self._weights.activated.connect(lambda index: self._choose_model(str(self._weights.itemData(index))))
        self._mpp.valueChanged.connect(self._on_mpp_entered)
        self._run.clicked.connect(self._on_run_clicked)
        self._show.clicked.connect(lambda: view.show_labels())
        self._copy.clicked.connect(self._on_copy_clicked)
        self._estimating = QTimer(self)
        self._estimating.setSingleShot(True)
        self._estimating.timeout.connect(self._show_estimate)
        self.listen(view.images.changed, self._show_images)
        self.listen(view.images.current_changed, self._on_image_changed)
        self.listen(view.labels_shown, self._refresh)
        self.listen(session.project_changed, self._on_project_changed)
        self.listen(session.model_changed, self._on_model_changed)
        self.listen(session.estimated, self._show_estimate)
        self.listen(session.job_changed, self._on_job_changed)
        self.listen(session.edited, self._project.refresh)
        self.listen(session.cells.changed, self._refresh)

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _on_project_changed(self) -> None:
        self._project.refresh()
        self._show_models()
        self._on_image_changed()

    def _on_image_changed(self) -> None:
        self._show_images()
        self._on_model_changed()

    def _on_model_changed(self) -> None:
        self._estimate = ""
        self._show_models()
        self._refresh()
        self._estimating.start(50)

    def _on_job_changed(self, status: JobStatus) -> None:
        if status.kind == "predict":
            self._is_running = not status.is_over
            self._progress.show_status(status)
            self._refresh()

    def _on_mpp_entered(self, mpp: float) -> None:
        image_id = self._view.images.current
        if image_id is not None and mpp > 0:
            with self.telling():
                self._session.set_mpp(image_id, mpp)
        self._estimating.start(50)
        self._refresh()

    def _on_run_clicked(self) -> None:
        if self._is_running:
            self._session.cancel("predict")
        else:
            self._view.segment()
        self._refresh()

    def _on_copy_clicked(self) -> None:
        with self.telling():
            QApplication.clipboard().setText(self._session.command("predict"))
            self._view.say("info", "The command is on the clipboard.")

    def _choose_model(self, weights_name: str | None) -> None:
        with self.telling():
            self._session.choose_model(str(self._model.currentData()), weights_name)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _show_images(self) -> None:
        self._image.clear()
        for choice in self._view.images.choices():
            self._image.addItem(choice.name, choice.key)
        self._image.setCurrentIndex(self._image.findData(self._view.images.current_key))
        self._image.setEnabled(self._image.count() > 0)

    def _show_models(self) -> None:
        active = self._session.active
        self._model.choose(None if active is None else active.spec.id)
        self._weights.clear()
        self._weights.setEnabled(active is not None and active.spec.needs_weights)
        if active is None:
            return
        for weights in self._info(active.spec.id).weights:
            self._weights.addItem(weights.name if active.spec.needs_weights else "none needed", weights.name)
        if active.revision_id is not None:
            self._weights.addItem(f"revision {active.revision_id}", active.revision_id)
        elif active.is_untrained:
            self._weights.addItem("random (untrained)", active.label)
        self._weights.setCurrentIndex(self._weights.findData(active.label))

    def _info(self, model_id: str) -> ModelInfo:
        return next(info for info in self._models if info.id == model_id)

    def _refresh(self) -> None:
        """Everything that depends on image, model and what is running."""
        view, session = self._view, self._session
        mpp = self._image_mpp()
        self._mpp.blockSignals(True)
        self._mpp.setValue(mpp or 0.0)
        self._mpp.blockSignals(False)
        is_asked = view.images.current is not None and mpp is None
        highlight(self._mpp, is_asked)
        self._mpp.setEnabled(view.images.current is not None)
        self._mpp.setToolTip(_MPP_WHY if is_asked else "µm per pixel of this image, remembered in the project")
        self._show_card()
        self._notes.setText(" ".join(view.images.notes))
        self._notes.setVisible(bool(view.images.notes))
        is_running = self._is_running
        is_scorer = session.active is not None and session.active.spec.task == "regression"
        is_ready = view.images.current is not None and session.active is not None and mpp is not None and not is_scorer
        self._run.setText("Cancel" if is_running else "Segment")
        self._run.setEnabled(is_running or is_ready)
        self._run.setToolTip("Stop; what is done stays" if is_running else "Run the model: what is on screen first")
        self._show.setVisible(self._has_hidden_labels() and not is_running)
        self._copy.setEnabled(is_ready)
        self._found.setText(self._found_text())
        self._found.setVisible(bool(self._found.text()))
        self.suggest(self._next(is_running, is_asked))

    def _next(self, is_running: bool, is_asked: bool) -> str:
        images = self._view.images
        if images.problem:
            return html.escape(images.problem)
        if images.current is None:
            return "open an image: drop a file on the window, or take one from File ▸ Open Sample."
        if is_asked:
            return "say how many µm one pixel is."
        if self._session.active is None:
            return "choose a model."
        if is_running:
            return "wait, or look around: what is on screen is done first."
        if self._session.active.spec.task == "regression":
            return "this model gives a score and draws no labels: go to the tab Cellularity."
        if self._found.text() and not self._session.draws_classes:
            return "say what the cells are, or correct them, under Cells."
        if self._view.has_labels:
            return "correct what is wrong under Correct, or segment again."
        return "press Segment."

    def _found_text(self) -> str:
        image_id, project = self._view.images.current, self._session.project
        if image_id is None or project is None:
            return ""
        counts = self._session.cells.of(image_id).counts()
        return cells_sentence(counts, project.schema) if counts else ""

    def _has_hidden_labels(self) -> bool:
        image_id = self._view.images.current
        if image_id is None or self._session.project is None or self._view.has_labels:
            return False
        return any(self._session.shares(image_id).values())

    def _image_mpp(self) -> float | None:
        image_id, project = self._view.images.current, self._session.project
        return None if image_id is None or project is None else project.image(image_id).mpp

    def _show_card(self) -> None:
        active = self._session.active
        if active is None:
            self._card.clear()
        else:
            self._card.show_model(self._info(active.spec.id), active, self._estimate)

    def _show_estimate(self) -> None:
        image_id = self._view.images.current
        if image_id is None or self._session.active is None or self._image_mpp() is None:
            return
        with self.telling():
            self._estimate = cost_sentence(self._session.estimate(image_id))
        self._show_card()


def cells_sentence(counts: Mapping[int, int], schema: LabelSchema) -> str:
    """How many cells there are, by class id, and why the labels do not show them where no class is known."""
    names = {c.id: c.name for c in schema.classes} | {IGNORE: "without a class"}
    kinds = ", ".join(names[k] for k in counts)
    if len(counts) > 1:
        kinds = ", ".join(f"{number:,} {names[k]}".replace(",", " ") for k, number in sorted(counts.items()))
    told = f"<b>{sum(counts.values()):,}</b> cells".replace(",", " ") + f" ({html.escape(kinds)})."
    if set(counts) == {IGNORE}:
        told += " They are outlined; the labels stay as they are."
    return told


def cost_sentence(cost: Estimate | None) -> str:
    """What a run on the image will take, in words; nothing while it is not known."""
    if cost is None:
        return ""
    about = "" if cost.seconds < 1 else "roughly " if cost.is_rough else "about "
    return f"This image takes {about}{duration(cost.seconds)} and {memory(cost.memory_bytes)} of memory on this machine"


def _wide_combo(tooltip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tooltip)
    combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    combo.setMinimumContentsLength(8)
    return combo
