"""The session: one open project, one active model, at most one run of each kind. It knows no window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import HistosegError, InputError, ProjectError
from napari_histoseg.inference.cell_finding import repaint_cells
from napari_histoseg.inference.predict import Predictors, PredictRequest
from napari_histoseg.inference.recover import recover_memory
from napari_histoseg.inference.scoring import malignant_ids
from napari_histoseg.jobs.lane import Lane, Priority
from napari_histoseg.session import choosing
from napari_histoseg.session.catalogue import class_table
from napari_histoseg.session.cells import CellWork
from napari_histoseg.session.commands import finetune_command, predict_command
from napari_histoseg.session.estimating import Estimator
from napari_histoseg.session.model_choice import ModelChoice
from napari_histoseg.session.one_job import OneJob
from napari_histoseg.session.points import PointWork
from napari_histoseg.session.retraining import Retrainer, RetrainOutcome, prepare
from napari_histoseg.session.schema_change import ClassWork
from napari_histoseg.session.scoring import Scorer, ScoreTask
from napari_histoseg.session.segmenting import Segmenter, SegmentTask
from napari_histoseg.session.similar import SimilarWork
from napari_histoseg.session.status import JobKind, Runner

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_histoseg.core.revision import Revision
    from napari_histoseg.inference.cell_finding import Outline
    from napari_histoseg.inference.estimate import Estimate
    from napari_histoseg.learning.plan import FineTunePlan

_log = logging.getLogger(__name__)


class Session(ModelChoice):
    """What the panels and the commands drive; every signal is emitted on the thread that delivers the lane's queue.

    Parameters
    ----------
    lane : Lane, optional
        Runs the jobs; an own one by default.
    device : {"auto", "cpu", "cuda"}
        Where models compute.
    is_beside_viewer : bool
        Fine-tune gently, so that a window in the same process stays live.
    """

    estimated = Signal()
    """``estimate`` knows more than before."""
    job_changed = Signal(object, reemission="queued")
    """``JobStatus``; in their order also for a slot that lets the window live on, as napari's progress bars do"""
    loss_added = Signal(int, float)
    """step and training loss"""
    revision_added = Signal(object)
    """The ``Revision`` that was published, promoted or refused."""

    def __init__(self, lane: Lane | None = None, *, device: str = "auto", is_beside_viewer: bool = False) -> None:
        super().__init__()
        self._lane = lane or Lane(recover_memory)
        self._device = device
        self._is_beside_viewer = is_beside_viewer
        self._predictors = Predictors()
        self._repainter = OneJob(self._lane, "repaint", on_status=self.job_changed.emit, on_error=self._on_job_error)
        self.cells = CellWork(self, self._repaint, lambda image_id: self.similar.features(image_id)["haematoxylin"])
        self.similar = SimilarWork(self, self._lane, on_status=self.job_changed.emit, on_error=self._on_job_error)
        self._estimator = Estimator(
            self._lane, self._predictors, device, on_known=self.estimated.emit, on_error=self._on_job_error
        )
        self._segmenter = Segmenter(
            self._lane,
            self._predictors,
            on_status=self.job_changed.emit,
            on_labels=self.labels_changed.emit,
            on_cells=self.tell,
            on_error=self._on_job_error,
        )
        self.scores = Scorer(self._lane, self._predictors, on_status=self.job_changed.emit, on_error=self._on_job_error)
        self._retrainer = Retrainer(
            self._lane,
            on_status=self.job_changed.emit,
            on_loss=self.loss_added.emit,
            on_outcome=self._on_retrained,
            on_error=self._on_job_error,
        )

        self.points = PointWork(self, self._lane, on_status=self.job_changed.emit, on_error=self._on_job_error)
        self._runners: dict[JobKind, Runner] = {
            "predict": self._segmenter,
            "finetune": self._retrainer,
            "score": self.scores,
            "points": self.points,
            "repaint": self._repainter,
            "features": self.similar,
        }
        self.classes = ClassWork(self, lambda: any(self.is_running(kind) for kind in ("predict", "repaint")))

    def _before_switching(self) -> None:
        self._segmenter.cancel()
        self._repainter.cancel()

    def _before_closing(self) -> None:
        for runner in self._runners.values():
            runner.cancel()
        self._segmenter.clear()
        self.scores.clear()

    def foreground(self, image_id: str, box: Box) -> NDArray[np.float32] | None:
        return self._segmenter.foreground(image_id, box)

    def estimate(self, image_id: str) -> Estimate | None:
        """Time and memory that running the active model on the whole image will take on this machine.

        None when that is not known: without a model or µm per pixel never, otherwise until the model has been loaded
        and timed in the background, which starts now and ends with ``estimated``.
        """
        model = self._active
        if model is None or self.need_project().image(image_id).mpp is None:
            return None
        return self._estimator.of(model, self.image_ref(image_id))

    def segment(self, image_id: str, visible: Box | None = None) -> None:
        """Start the active model on an image: the visible box first, then the rest. Returns at once.

        Raises
        ------
        InputError
            When no model is chosen, the µm per pixel is unknown, or no class of model and project fits.
        ProjectError
            When the image cannot be read any more or the project is read-only.
        """
        if visible is not None:
            self.set_visible(image_id, visible)
        self._segmenter.start([self._segment_task(image_id)])

    def score(self, image_id: str, box: Box | None = None) -> None:
        """Start the active regression model on the fields of an image, or of a box of it. Returns at once.

        Raises
        ------
        InputError
            When the active model gives no score or the µm per pixel is unknown.
        ProjectError
            When the image cannot be read any more.
        """
        model = self._need_active()
        if model.spec.task != "regression":
            raise InputError(f"{model.spec.title} draws labels and gives no score; choose a model for cellularity.")
        if self.need_project().image(image_id).mpp is None:
            raise InputError("The µm per pixel of the image is not known; set it first, then score.")
        self.scores.start(self._score_task(image_id, () if box is None else (box,)))

    def refresh_derived_scores(self, image_id: str) -> None:
        """Find out anew, in the background, what the labels say about the fields that were scored."""
        scores = self.scores.of(image_id)
        if scores is not None and scores.fields:
            self.scores.derive(replace(self._score_task(image_id, ()), model=scores.model))

    def _score_task(self, image_id: str, boxes: tuple[Box, ...]) -> ScoreTask:
        project, model, image = self.need_project(), self._need_active(), self.image_ref(image_id)
        malignant = malignant_ids(project.schema.classes)
        return ScoreTask(image_id, image, model, boxes, self.displayed(image_id), malignant, self._device)

    def _segment_task(self, image_id: str) -> SegmentTask:
        project, model = self.need_project(), self._need_active()
        if model.spec.task == "regression":
            raise InputError(f"{model.spec.title} gives a score and draws no labels; use the Cellularity panel.")
        image = self.image_ref(image_id)
        if image.mpp is None:
            raise InputError(f"The µm per pixel of '{image.name}' is not known; set it first, then segment.")
        finds_only_cells = model.spec.task == "instance" and not self.draws_classes
        table = None if finds_only_cells else class_table(project.schema, model.weights)
        return SegmentTask(project, image_id, image, model, table, self._visible.get(image_id), self._device)

    def _repaint(
        self, image_id: str, outlines: Mapping[int, Outline], on_done: Callable[[Mapping[int, Outline]], str]
    ) -> None:
        """Have the active model outline cells anew; errors as in `segment`."""
        model, image = self._need_active(), self.image_ref(image_id)
        if model.spec.task != "instance":
            raise InputError(f"{model.spec.title} tells no single cells; choose a model of nuclei, then repaint.")
        if image.mpp is None:
            raise InputError(f"The µm per pixel of '{image.name}' is not known; set it first, then repaint.")
        request = PredictRequest(image, model.spec.id, model.weights, device=self._device)
        job = partial(repaint_cells, request, outlines, self._predictors)
        self._repainter.start(job, image_id, on_done, priority=Priority.INTERACTIVE)

    def _segment_again(self) -> None:
        """Segment every image that has been segmented, the one on screen first."""
        project = self.need_project()
        done = dict.fromkeys(run.image_id for run in reversed(project.runs()) if run.model != "import")
        tasks = []
        for image_id in sorted(done, key=lambda image_id: image_id != self._last_image_id):
            try:
                tasks.append(self._segment_task(image_id))
            except HistosegError as error:
                self.message.emit("warning", str(error))
        self._segmenter.start(tasks)

    def cancel(self, kind: JobKind) -> None:
        """Stop a run; finished tiles and fields stay, a fine-tuning leaves no revision."""
        self._runners[kind].cancel()

    def is_running(self, kind: JobKind) -> bool:
        return self._runners[kind].is_running

    # -- retraining ------------------------------------------------------------------------------------------------

    def retrain(self, plan: FineTunePlan | None = None, reference: Path | None = None) -> None:
        """Start fine-tuning the active model on everything vouched for. Returns at once.

        Parameters
        ----------
        plan : FineTunePlan, optional
        reference : Path, optional
            Folder of labelled images that the candidate is judged on, see `reference_images`; by default the one that
            the project remembers.

        Raises
        ------
        InputError
            When a fine-tuning runs already or nothing has been corrected.
        """
        from napari_histoseg.learning.plan import FineTunePlan

        if self.is_running("finetune"):
            raise InputError("A retrain is running; wait for it or cancel it first.")
        project = self.need_project()
        if project.read_only:
            raise ProjectError("The project is open for reading only, so no new revision can be kept in it.")
        self._retrainer.start(
            prepare(
                project,
                self._need_active(),
                plan or FineTunePlan(),
                device=self._device,
                is_beside_viewer=self._is_beside_viewer,
                reference=reference or self.reference,
            )
        )

    def _on_retrained(self, outcome: RetrainOutcome) -> None:
        self.revision_added.emit(outcome.revision)
        try:
            self._take_over(outcome.revision)
        except HistosegError as error:
            self.message.emit("error", str(error))

    def _take_over(self, revision: Revision) -> None:
        """Use a promoted revision, unless the person has turned elsewhere meanwhile."""
        project = self.need_project()
        if revision.verdict != "promoted":
            self.message.emit("warning", revision.reason)
        elif (project.revisions.active(revision.model_id) or revision.parent) != revision.parent:
            self.message.emit("warning", f"Revision {revision.id} is ready, but another one was activated meanwhile.")
        elif self._active is None or self._active.spec.id != revision.model_id:
            project.revisions.activate(revision.model_id, revision.id)
        else:
            self.activate(revision.id)
            self.message.emit("info", revision.reason)

    def revisions(self) -> tuple[Revision, ...]:
        """Revisions of the active model, oldest first."""
        if self._project is None or self._active is None:
            return ()
        return self._project.revisions.list(self._active.spec.id)

    def activate(self, revision_id: str | None) -> None:
        """Use a revision (None: the weights before any) from now on and segment anew what was segmented.

        Raises
        ------
        ProjectError, WeightsError
            When the revision does not exist or is damaged; the active model stays.
        """
        project, active = self.need_project(), self._need_active()
        if revision_id is None:
            self._switch(choosing.base_in(project, active.spec.id))
        else:
            self._switch(choosing.revised_model(project.revisions, revision_id))
        self._segment_again()

    def rollback(self) -> None:
        """Go back to the parent of the active revision; ``InputError`` when none is active."""
        project, active = self.need_project(), self._need_active()
        if active.revision_id is None:
            raise InputError("There is nothing to roll back: the model's own weights are in use.")
        parent = project.revisions.get(active.revision_id).parent
        self.activate(parent if parent in [r.id for r in project.revisions.list(active.spec.id)] else None)

    # -- commands --------------------------------------------------------------------------------------------------

    def command(self, kind: JobKind) -> str:
        """The shell command that does what the button does; ``InputError`` when nothing is open."""
        project, model = self.need_project(), self._need_active()
        if kind == "finetune":
            return finetune_command(project, model, self.reference)
        image_id = self._last_image_id or next((entry.id for entry in project.images), None)
        if image_id is None:
            raise InputError("The project has no image; open one first.")
        return predict_command(project, self.image_ref(image_id), image_id, model)

    def wait(self) -> None:
        """Deliver what the jobs tell until none is left, where no window does."""
        self._lane.wait()

    def close(self) -> None:
        """Stop everything, write everything; at most two seconds."""
        self.close_project()
        self._lane.close(timeout=2.0)

    def _on_job_error(self, error: Exception) -> None:
        if isinstance(error, HistosegError):
            self.message.emit("error", str(error))
        else:
            _log.error("A job failed", exc_info=error)
            self.message.emit("error", f"Something unexpected stopped the run: {type(error).__name__}: {error}.")
