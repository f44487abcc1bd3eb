"""What a run will cost, found out in the background when it is not known yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_histoseg.jobs.lane import Priority

if TYPE_CHECKING:
    from napari_histoseg.core.image import ImageRef
    from napari_histoseg.inference.estimate import Estimate
    from napari_histoseg.inference.predict import Predictors
    from napari_histoseg.jobs.lane import Lane, Ticket
    from napari_histoseg.session.status import ActiveModel


class Estimator:
    """Answers at once when it can, else measures one model at a time and tells when it knows more."""

    def __init__(
        self,
        lane: Lane,
        predictors: Predictors,
        device: str,
        *,
        on_known: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._lane = lane
        self._predictors = predictors
        self._device = device
        self._on_known = on_known
        self._on_error = on_error
        self._measuring: Ticket | None = None

    def of(self, model: ActiveModel, image: ImageRef) -> Estimate | None:
        """The cost of a run over an image; None while it has to be measured, which starts now."""
        from napari_histoseg.inference.estimate import estimate

        found = estimate(model.spec, model.weights, image, self._device)
        if found is None:
            self._measure(model)
        return found

    def _measure(self, model: ActiveModel) -> None:
        from napari_histoseg.inference.estimate import measure

        if self._measuring is not None and not self._measuring.is_finished:
            return
        self._measuring = self._lane.submit(
            partial(measure, model.weights, self._device, self._predictors),
            priority=Priority.USER,
            on_done=lambda _cost: self._on_known(),
            on_error=self._on_error,
        )
