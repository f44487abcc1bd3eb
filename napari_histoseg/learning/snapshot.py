"""What a retrain learns from: copies of everything that people vouched for at the moment the button was pressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import LabelClass

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class HeldOutBox:
    """A rectangle of an image whose corrections judge and never teach, in this round and later ones."""

    content_id: str
    box: Box

    def to_json(self) -> dict[str, Any]:
        box = self.box
        return {"content_id": self.content_id, "box": [box.y0, box.x0, box.y1, box.x1]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeldOutBox:
        try:
            y0, x0, y1, x1 = (int(edge) for edge in data["box"])
            return cls(str(data["content_id"]), Box(y0, x0, y1, x1))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"A held-out region needs content_id and box [y0, x0, y1, x1]; {dict(data)!r} lacks them."
            ) from None


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One image with pixels that somebody vouched for.

    Parameters
    ----------
    image : ImageRef
        With a known µm per pixel.
    labels : ndarray of uint8, shape (H, W)
        Class ids of the review; counted only where ``state`` is not 0.
    state : ndarray of uint8, shape (H, W)
        0 unreviewed, 1 edited, 2 verified.
    learned : ndarray of bool, shape (H, W), optional
        Pixels that an earlier round has learned already: they are replayed. None where nothing has been.

    Raises
    ------
    InputError
        When the arrays do not have the image's shape or its µm per pixel is unknown.
    """

    image: ImageRef
    labels: NDArray[np.uint8]
    state: NDArray[np.uint8]
    learned: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "state", "learned"):
            array = getattr(self, name)
            if array is not None and array.shape != self.image.shape:
                raise InputError(
                    f"The {name} of '{self.image.name}' are {array.shape}, the image is {self.image.shape} px; "
                    "give arrays of the image's size."
                )
        if self.image.mpp is None:
            raise InputError(f"The µm per pixel of '{self.image.name}' is not known; say it once before retraining.")


@dataclass(frozen=True, eq=False)
class EditSnapshot:
    """Everything one retrain may look at.

    Parameters
    ----------
    images : tuple of TrainingImage
        Images with edits or verified pixels.
    classes : tuple of LabelClass
        The review's classes; they are matched with the model's by name.
    others : tuple of ImageRef
        The project's images that nobody has corrected: only the parent's answer is kept on them.
    reference : tuple of TrainingImage
        Image and label pairs from a folder the person named; they judge and never teach.
    held_out : tuple of HeldOutBox
        What earlier rounds held out.
    """

    images: tuple[TrainingImage, ...]
    classes: tuple[LabelClass, ...]
    others: tuple[ImageRef, ...] = ()
    reference: tuple[TrainingImage, ...] = ()
    held_out: tuple[HeldOutBox, ...] = ()
