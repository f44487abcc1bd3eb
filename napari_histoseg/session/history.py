"""What was done in the open project, in a person's words, and going back in it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_histoseg.core.edit import Edit, Record
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.history import Effort, efforts
from napari_histoseg.models.registry import list_models

if TYPE_CHECKING:
    from napari_histoseg.core.project import Project
    from napari_histoseg.core.run import Run
    from napari_histoseg.session.review import Review

Standing = Literal["in force", "taken back", "replaced", "note"]
"""Of an act: it holds; it was taken back and can be done again; it was taken back and other work followed, so it can
not; or it is no act on an image but a note, such as a run of a model."""


@dataclass(frozen=True)
class Act:
    """One line of the history.

    Parameters
    ----------
    at : float
        Unix time in seconds.
    author : str
    image_id : str or None
        None for what is about the whole project.
    record : Record or None
        The row of the journal; None for a note.
    note : str
        What a note says.
    """

    at: float
    author: str
    image_id: str | None
    record: Record | None = None
    note: str = ""


class History:
    """The acts of the open project: what people and programs did, without the taking back and doing again.

    Parameters
    ----------
    review : Review
        Its project is read by `reload`; afterwards tell `add` of every edit.
    """

    def __init__(self, review: Review) -> None:
        self._review = review
        self._records: list[Record] = []
        self._notes: list[Act] = []
        self._stacks: dict[str, tuple[frozenset[int], frozenset[int]]] = {}
        self.damaged: tuple[str, ...] = ()
        self.reload()

    def reload(self) -> None:
        """Read everything anew."""
        project = self._review.project
        records, self.damaged = ((), ()) if project is None else project.history()
        self._records = list(records)
        self._notes = [] if project is None else _notes(project, self._records)
        self._stacks.clear()
        for image_id in dict.fromkeys(record.image_id for record in self._records):
            self._restack(image_id)

    def add(self, edit: Edit) -> Act | None:
        """Take a new edit in; the line it adds, or None when it only changes how others stand or is known already."""
        if self._records and edit.seq <= self._records[-1].seq:
            return None
        self._records.append(Record(**{name: getattr(edit, name) for name in Record.__dataclass_fields__}))
        self._restack(edit.image_id)
        return _act(self._records[-1]) if edit.target is None else None

    def acts(self, image_id: str | None = None) -> list[Act]:
        """Lines of one image, or of all, the newest first."""
        rows = [_act(r) for r in self._records if r.target is None and image_id in (None, r.image_id)]
        notes = [note for note in self._notes if None in (image_id, note.image_id) or note.image_id == image_id]
        return list(heapq.merge(rows, notes, key=lambda act: act.at))[::-1]

    def standing(self, act: Act) -> Standing:
        """Whether an act holds."""
        if act.record is None:
            return "note"
        in_force, redoable = self._stacks.get(act.record.image_id, (frozenset(), frozenset()))
        if act.record.seq in in_force:
            return "in force"
        return "taken back" if act.record.seq in redoable else "replaced"

    def taken_back_by(self, act: Act) -> Record | None:
        """The latest row that took an act back."""
        seq = None if act.record is None else act.record.seq
        return next((r for r in reversed(self._records) if r.kind == "undo" and r.target == seq), None)

    def effort(self, image_id: str | None = None) -> tuple[Effort, ...]:
        """Work on one image, or on each."""
        return tuple(effort for effort in efforts(self._records) if image_id in (None, effort.image_id))

    def steps_to(self, act: Act) -> Iterator[int]:
        """Take back or do again, one step at each turn, until ``act`` is the newest act in force on its image.

        Yields
        ------
        int
            Number of steps that are left.

        Raises
        ------
        InputError
            When the act is a note, was replaced by later work, or undo does not reach back that far.
        ProjectError
            When the project is read-only or the disk is full; the steps done so far hold.
        """
        project, record = self._review.project, act.record
        if project is None or record is None:
            raise InputError("This line changed no image by itself; choose one that did.")
        done, undone = project.stacks(record.image_id)
        if record.seq in done:
            ways, step = done[done.index(record.seq) + 1 :], self._review.undo
        elif record.seq in undone:
            ways, step = undone[undone.index(record.seq) :], self._review.redo
        else:
            raise InputError("This act was taken back and other work followed, so it cannot be done again.")
        if any(project.is_compacted(seq) for seq in ways):
            raise InputError(
                "Undo does not reach back that far: older edits lost their pixels to keep the folder small."
            )
        for left in range(len(ways) - 1, -1, -1):
            if step(record.image_id) is None:
                return
            yield left

    def _restack(self, image_id: str) -> None:
        project = self._review.project
        if project is not None:
            done, undone = project.stacks(image_id)
            self._stacks[image_id] = frozenset(done), frozenset(undone)


def _act(record: Record) -> Act:
    return Act(record.at, record.author, record.image_id, record)


def _notes(project: Project, records: list[Record]) -> list[Act]:
    """Runs of models, which change only what nobody has vouched for, and changes of the list of classes.

    A run that brought cells has a row of its own among the records.
    """
    brought = [record for record in records if record.kind == "run"]
    runs = [
        Act(run.started_at, "" if run.model == "import" else _title(run.model), run.image_id, note=_said(run))
        for run in project.runs()
        if not any(_is_of(record, run) for record in brought)
    ]
    changes = [Act(note.at, note.author, None, note=note.told) for note in project.schema_notes]
    return sorted((*runs, *changes), key=lambda act: act.at)


def _said(run: Run) -> str:
    if run.model == "import":
        return "Masks brought in as a proposal"
    return f"Run of {_title(run.model)}" + ("" if run.state == "done" else f", {run.state}")


def _is_of(record: Record, run: Run) -> bool:
    """Whether the cells of a record came from a run: there is one run of an image at a time."""
    ended_at = float("inf") if run.ended_at is None else run.ended_at
    return record.image_id == run.image_id and run.started_at <= record.at <= ended_at


def _title(model_id: str) -> str:
    """What a person calls a model; its id when it is not installed any more."""
    titles = {model.spec.id: model.spec.title for model in list_models()}
    return titles.get(model_id, model_id)
