"""What the images of the open project show apart from points, found once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError

if TYPE_CHECKING:
    from napari_histoseg.core.image import ImageRef
    from napari_histoseg.inference.ground import Ground
    from napari_histoseg.jobs.job import Job
    from napari_histoseg.session.review import Review

_THRESHOLD = "points.threshold"
_MOST_IMAGES = 2


class Grounds:
    """The `Ground` of each image, with a threshold that the project remembers, so that cells grow alike tomorrow.

    Only the images looked at last are held in memory, some hundred megabytes each at most.

    Parameters
    ----------
    review : Review
        Has the open project.
    """

    def __init__(self, review: Review) -> None:
        self._review = review
        self._known: dict[str, Ground] = {}

    def of(self, image_id: str) -> Ground:
        """The ground of an image; takes a while when nobody has looked at its stain before.

        Raises
        ------
        InputError
            While the µm per pixel of the image is unknown.
        ProjectError
            When the image cannot be read any more.
        """
        from napari_histoseg.jobs.job import run_job

        ground = self.known(image_id)
        return self.keep(image_id, run_job(self.finding(image_id)())) if ground is None else ground

    def known(self, image_id: str) -> Ground | None:
        """The ground of an image, if its threshold is known; errors as in `of`."""
        from napari_histoseg.inference.ground import Ground

        mpp = self.mpp(image_id)
        ground = self._known.get(image_id)
        if ground is not None and ground.mpp == mpp:
            return self._keep(image_id, ground)
        remembered = self._review.get_setting(f"{_THRESHOLD}.{image_id}")
        if remembered is None or remembered[0] != mpp:
            return None
        image = self._review.image_ref(image_id)
        return self._keep(image_id, Ground(_reader(image), image.shape, mpp, float(remembered[1])))

    def finding(self, image_id: str) -> Callable[[], Job[Ground]]:
        """Makes the job that finds the ground of an image; pass its result to `keep`. Errors as in `of`."""
        return partial(_find, self._review.image_ref(image_id), self.mpp(image_id))

    def keep(self, image_id: str, ground: Ground) -> Ground:
        """Remember what was found, in the project too."""
        key, value = f"{_THRESHOLD}.{image_id}", [ground.mpp, ground.threshold]
        if self._review.get_setting(key) != value:
            self._review.set_setting(key, value)
        return self._keep(image_id, ground)

    def _keep(self, image_id: str, ground: Ground) -> Ground:
        self._known.pop(image_id, None)
        self._known[image_id] = ground
        for oldest in list(self._known)[:-_MOST_IMAGES]:
            del self._known[oldest]
        return ground

    def clear(self) -> None:
        """Forget everything that only memory holds."""
        self._known.clear()

    def mpp(self, image_id: str) -> float:
        """µm per pixel of an image; ``InputError`` while nobody has said it."""
        entry = self._review.need_project().image(image_id)
        if entry.mpp is None:
            raise InputError(f"The µm per pixel of '{entry.name}' is not known; set it first, then place points.")
        return entry.mpp


def _find(image: ImageRef, mpp: float) -> Job[Ground]:
    from napari_histoseg.inference.ground import Ground, find_threshold

    read = _reader(image)
    threshold = yield from find_threshold(read, image.shape, mpp)
    return Ground(read, image.shape, mpp, threshold)


def _reader(image: ImageRef) -> Callable[[Box], NDArray[np.uint8]]:
    return partial(image.read, 0)
