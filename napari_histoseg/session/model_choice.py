"""Which model of the open project is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.session import choosing
from napari_histoseg.session.catalogue import ModelInfo, class_table, has_common_class, model_infos, schema_of
from napari_histoseg.session.review import Review
from napari_histoseg.session.status import ActiveModel

if TYPE_CHECKING:
    from napari_histoseg.core.project import Project
    from napari_histoseg.core.schema import LabelSchema


class ModelChoice(Review):
    """The active model: the one that Segment runs and Retrain starts from."""

    model_changed = Signal()
    """``active`` is another model, other weights or another revision."""

    def __init__(self) -> None:
        super().__init__()
        self._active: ActiveModel | None = None

    def _before_switching(self) -> None:
        """What has to stop before another model takes over."""

    def _after_opening(self, project: Project) -> None:
        """The model the project remembers, else the one in use, else the first that fits the classes."""
        try:
            remembered = choosing.remembered_model(project)
        except HistosegError as error:
            remembered = None
            self.message.emit("warning", f"{error} Another model was chosen meanwhile.")
        current = self._active if self._active is not None and self._active.revision_id is None else None
        if remembered is None and current is not None and self._goes_with(project.schema, current):
            remembered = current
        self._active = remembered or choosing.fitting_model(project.schema)
        self.model_changed.emit()

    @staticmethod
    def _goes_with(schema: LabelSchema, model: ActiveModel) -> bool:
        return model.spec.task == "regression" or has_common_class(schema, model.weights)

    def _schema_for_new(self) -> LabelSchema:
        if self._active is None or self._goes_with(EPITHELIUM, self._active):
            return EPITHELIUM
        return schema_of(self._active.weights)

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model that can be chosen."""
        return model_infos()

    @property
    def active(self) -> ActiveModel | None:
        return self._active

    def choose_model(self, model_id: str, weights_name: str | None = None) -> ActiveModel:
        """Make a model the active one.

        Parameters
        ----------
        model_id : str
        weights_name : str, optional
            Name of shipped weights, path of a file, ``"random"``, or id of a revision; by default the revision that
            is active for this model, else the weights used last, else the first shipped ones.

        Raises
        ------
        ModelError, WeightsError
            For names that do not exist and damaged files.
        InputError
            When a model of tissue regions shares no class with a project that has edits or was not made automatically.
        """
        project = self._project
        revision_id = None
        if project is not None and weights_name in (None, *(r.id for r in project.revisions.list(model_id))):
            revision_id = weights_name or project.revisions.active(model_id)
        if project is not None and revision_id is not None:
            model = choosing.revised_model(project.revisions, revision_id)
        elif weights_name is None:
            model = choosing.base_in(project, model_id)
        else:
            schema = None if project is None else project.schema
            model = choosing.base_model(model_id, weights_name, schema=schema)
        if project is not None and self._needs_other_classes(project, model):
            self._adopt_classes(project, model)
        self._switch(model)
        return model

    def _needs_other_classes(self, project: Project, model: ActiveModel) -> bool:
        """Whether the model can do nothing with the project's classes; cells are found in any project."""
        if self._goes_with(project.schema, model):
            return False
        is_empty = not any(any(self.shares(entry.id).values()) for entry in project.images)
        return model.spec.task == "semantic" or (self._is_automatic and is_empty)

    def _adopt_classes(self, project: Project, model: ActiveModel) -> None:
        """Give an automatic project without edits the model's classes, by making it anew; else say why not."""
        if not self._is_automatic or any(record.kind != "run" for record in project.history()[0]):
            class_table(project.schema, model.weights)
        refs = [self.image_ref(entry.id) for entry in project.images]
        self._create_automatic(schema_of(model.weights))
        for ref in refs:
            self.add_image(ref)

    def _switch(self, model: ActiveModel) -> None:
        self._before_switching()
        self._active = model
        project = self._project
        if project is not None and not project.read_only:
            if project.revisions.active(model.spec.id) != model.revision_id:
                project.revisions.activate(model.spec.id, model.revision_id)
            choosing.remember(project, model)
        self.model_changed.emit()

    @property
    def draws_classes(self) -> bool:
        """Whether the active model labels pixels with classes of the open project."""
        model, project = self._active, self._project
        if model is None or project is None or model.spec.task == "regression":
            return False
        return has_common_class(project.schema, model.weights)

    def _need_active(self) -> ActiveModel:
        if self._active is None:
            raise InputError("No model is chosen; choose one first.")
        return self._active
