"""Retrain on edits: from a snapshot of what people vouched for to a published revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.errors import InputError
from napari_histoseg.io.images import open_image
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.jobs.lane import Priority
from napari_histoseg.session.choosing import WEIGHTS_FILE
from napari_histoseg.session.reference import labelled_files, reference_images
from napari_histoseg.session.status import ActiveModel, Clock, JobState, JobStatus

if TYPE_CHECKING:
    from pathlib import Path

    from napari_histoseg.core.project import Project
    from napari_histoseg.core.revision import Revision, RevisionStore
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.jobs.lane import Lane, Ticket
    from napari_histoseg.learning.finetune import FineTuneResult
    from napari_histoseg.learning.plan import FineTunePlan
    from napari_histoseg.learning.snapshot import EditSnapshot


@dataclass(frozen=True, eq=False)
class RetrainTask:
    """A fine-tuning to run and where its revision goes.

    Parameters
    ----------
    model : ActiveModel
        The parent.
    snapshot : EditSnapshot
    plan : FineTunePlan
    store : RevisionStore
    device : str
    is_beside_viewer : bool
        Compute gently, so that a window in the same process stays live.
    schema : LabelSchema
        Of the reference labels.
    reference : Path or None
        Folder of images and labels that judge and never teach; see `reference_images`.
    """

    model: ActiveModel
    snapshot: EditSnapshot
    plan: FineTunePlan
    store: RevisionStore
    device: str
    is_beside_viewer: bool
    schema: LabelSchema
    reference: Path | None


@dataclass(frozen=True, eq=False)
class RetrainOutcome:
    """The published revision beside the result it was made from."""

    revision: Revision
    result: FineTuneResult


def prepare(
    project: Project,
    model: ActiveModel,
    plan: FineTunePlan,
    *,
    device: str,
    is_beside_viewer: bool,
    reference: Path | None = None,
) -> RetrainTask:
    """Copy everything that the fine-tuning may look at, on the thread that owns the project; torch is not needed.

    Parameters
    ----------
    project : Project
    model : ActiveModel
        The parent.
    plan : FineTunePlan
    device : {"auto", "cpu", "cuda"}
    is_beside_viewer : bool
    reference : Path, optional
        Folder of images and labels that judge and never teach; see `reference_images`.

    Raises
    ------
    InputError
        When the folder holds no labelled image, nothing has been corrected, or an edited image has no known µm per
        pixel.
    """
    from napari_histoseg.learning.cell_targets import CellTeacher
    from napari_histoseg.learning.snapshot import take_snapshot

    if reference is not None:
        labelled_files(reference)  # tell at once when it holds nothing; it is read in the background
    is_of_cells = model.spec.task == "instance" and model.can_learn
    teacher = CellTeacher.of(project.schema.classes, model.weights.classes) if is_of_cells else None
    snapshot = take_snapshot(
        project,
        model_id=model.spec.id,
        parent_revision=model.revision_id,
        open_file=open_image,
        teacher=teacher,
    )
    if not snapshot.images:
        raise InputError("There are no corrections to learn from yet; paint over some mistakes, then retrain.")
    return RetrainTask(model, snapshot, plan, project.revisions, device, is_beside_viewer, project.schema, reference)


def retrain_job(task: RetrainTask) -> Job[RetrainOutcome]:
    """Fine-tune, judge, publish; closing it before the end publishes nothing."""
    from napari_histoseg.learning.finetune import FineTuneRequest, finetune
    from napari_histoseg.models.predictor import find_device

    device, snapshot = str(find_device(task.device)), task.snapshot
    if task.reference is not None:
        yield Progress(0, 0, f"Reading the images of '{task.reference.name}'.")
        snapshot = replace(snapshot, reference=reference_images(task.reference, task.schema))
    request = FineTuneRequest(task.model.weights, snapshot, task.plan, device, task.is_beside_viewer)
    result = yield from finetune(request)
    return RetrainOutcome(_publish(task, result), result)


def _publish(task: RetrainTask, result: FineTuneResult) -> Revision:
    """Keep the candidate as an immutable revision, promoted or refused."""
    from napari_histoseg.models.weights import save_weights

    card = result.to_card()
    parent = task.model.weights.card
    weights_card = replace(
        parent,
        name=parent.name if parent.parent is not None else f"{parent.name}, retrained",
        recipe="retrain on edits",
        seed=task.plan.seed,
        metrics=card["metrics"],
        parent=task.model.label,
        self_test=None,
    )

    def write(folder: Path) -> None:
        save_weights(folder / WEIGHTS_FILE, result.state, weights_card)

    return task.store.publish(task.model.spec.id, write, {**card, "parent": task.model.label})


class Retrainer:
    """Runs one fine-tuning at a time in the background."""

    def __init__(
        self,
        lane: Lane,
        *,
        on_status: Callable[[JobStatus], None],
        on_loss: Callable[[int, float], None],
        on_outcome: Callable[[RetrainOutcome], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._lane = lane
        self._on_status = on_status
        self._on_loss = on_loss
        self._on_outcome = on_outcome
        self._on_error = on_error
        self._ticket: Ticket | None = None
        self._clock = Clock()
        self._generation = 0
        self._done = 0
        self._total = 0

    @property
    def is_running(self) -> bool:
        return self._ticket is not None

    def start(self, task: RetrainTask) -> None:
        """Begin; the caller has made sure that nothing runs."""
        self._generation += 1
        generation = self._generation
        self._clock, self._done, self._total = Clock(), 0, 0

        def guarded(act: Callable[[Any], None]) -> Callable[[Any], None]:
            def deliver(value: Any) -> None:
                if generation == self._generation:
                    act(value)

            return deliver

        self._ticket = self._lane.submit(
            lambda: retrain_job(task),
            priority=Priority.BACKGROUND,
            on_progress=guarded(self._on_progress),
            on_done=guarded(self._on_done),
            on_error=guarded(self._on_failure),
        )
        self._report("queued", "Waiting for the lane.")

    def cancel(self) -> None:
        """Stop; no revision is made."""
        if self._ticket is not None:
            self._finish("cancelled", "Stopped; the model stays as it was.")

    def _on_progress(self, progress: Progress) -> None:
        if progress.payload is not None:
            self._on_loss(progress.payload.step, progress.payload.loss)
        self._done, self._total = progress.done, progress.total
        self._report("running", progress.message)

    def _on_done(self, outcome: RetrainOutcome) -> None:
        self._finish("done", outcome.revision.reason)
        self._on_outcome(outcome)

    def _on_failure(self, error: Exception) -> None:
        self._finish("failed", str(error))
        self._on_error(error)

    def _finish(self, state: JobState, message: str) -> None:
        if self._ticket is not None:
            self._ticket.cancel()
        self._ticket = None
        self._generation += 1
        self._report(state, message)

    def _report(self, state: JobState, message: str) -> None:
        eta_s = self._clock.eta_s(self._done, self._total) if state == "running" else None
        self._on_status(JobStatus("finetune", state, None, self._done, self._total, message, eta_s))
