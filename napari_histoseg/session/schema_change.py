"""Changing the classes of the open project while everybody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema_steps import RemoveClass

if TYPE_CHECKING:
    from napari_histoseg.core.edit import Edit
    from napari_histoseg.core.schema import LabelSchema
    from napari_histoseg.core.schema_change import Carried
    from napari_histoseg.core.schema_steps import SchemaStep
    from napari_histoseg.session.review import Review


class ClassWork:
    """Changes the list of classes of the open project.

    Parameters
    ----------
    review : Review
    is_busy : callable
        Whether a job runs that gives out classes.
    """

    changed = Signal()
    """The list of classes is another one: names, colours, keys, or the classes themselves."""

    def __init__(self, review: Review, is_busy: Callable[[], bool]) -> None:
        self._review = review
        self._is_busy = is_busy
        self._known: LabelSchema | None = None
        review.project_changed.connect(self._remember)
        review.edited.connect(self._on_edited)

    def carried(self, class_id: int) -> Carried:
        """How many pixels and cells of all images have a class; every image is looked at."""
        return self._review.need_project().carried(class_id)

    def change(self, steps: Sequence[SchemaStep]) -> tuple[str, ...]:
        """Change the classes, and with them everything that carries a class which leaves the list.

        Parameters
        ----------
        steps : sequence of AddClass, AlterClass or RemoveClass

        Returns
        -------
        tuple of str
            What was done, for the person.

        Raises
        ------
        InputError
            When a class does not exist, a name or key would occur twice, no class would be left, or a class is to go
            while a model runs.
        ProjectError
            When no project is open, the disk is full or the project is read-only; nothing has changed then.
        """
        project = self._review.need_project()
        if self._is_busy() and any(isinstance(step, RemoveClass) for step in steps):
            raise InputError("A model is at work and gives out classes; wait for it or cancel it, then take them out.")
        outcome = project.change_schema(steps)
        self._remember()
        self.changed.emit()
        for edit in outcome.edits:
            self._review.tell(edit)
        for image_id in outcome.proposed:
            self._review.labels_changed.emit(image_id, Box.of_shape(project.image(image_id).shape))
        return outcome.told

    def _remember(self) -> None:
        self._known = None if self._review.project is None else self._review.project.schema

    def _on_edited(self, _edit: Edit) -> None:
        """Undo may bring a class back."""
        project = self._review.project
        if project is not None and project.schema is not self._known:
            self._remember()
            self.changed.emit()
            self._review.message.emit("info", f"{project.schema_notes[-1].told}.")
