"""Images as a project remembers them, and copies of those that have no file of their own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.atomic import TEMPORARY_MARK, publish_folder
from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ArraySource, ImageRef

T = TypeVar("T", bound=np.generic)

_CHUNK_PX = 1024


@dataclass(frozen=True)
class ImageEntry:
    """One image of a project.

    Parameters
    ----------
    id : str
        Stable name inside the project.
    content_id : str
        Digest of the pixels; see `ImageRef`.
    name : str
        Shown to the person.
    path : str or None
        The file the pixels come from.
    shape : (int, int)
        (height, width) in pixels.
    mpp : float or None
        µm per pixel; None when nobody has said it yet.
    is_stored : bool
        Whether the project holds a copy of the pixels.
    """

    id: str
    content_id: str
    name: str
    path: str | None
    shape: tuple[int, int]
    mpp: float | None
    is_stored: bool

    def fitted(self, box: Box, values: NDArray[Any], dtype: type[T], where: str, wrong: str) -> NDArray[T]:
        """Values for the pixels of a box of this image, as ``dtype``.

        Parameters
        ----------
        box : Box
            In pixels of the image.
        values : ndarray, shape (h, w)
        dtype : type
            Of numpy; whole numbers.
        where : str
            What the values are, for the person.
        wrong : str
            What values are that ``dtype`` cannot hold, and what to do.

        Raises
        ------
        InputError
            When the box leaves the image, or the values do not fit the box or ``dtype``.
        """
        if box.is_empty or not Box.of_shape(self.shape).contains(box):
            raise InputError(f"{where} ({box}) does not lie inside '{self.name}', which is {self.shape} px.")
        if values.shape != box.shape:
            raise InputError(
                f"{where} has {values.shape} px but {box.shape} are needed; it must fit '{self.name}' pixel by pixel."
            )
        whole = values.astype(dtype, copy=False)
        if whole.dtype != values.dtype and (whole != values).any():
            raise InputError(f"{where} holds {wrong}.")
        return whole

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON."""
        return {**self.__dict__, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageEntry:
        """The entry that `to_json` wrote; ``ProjectError`` when it is damaged."""
        try:
            height, width = data["shape"]
            return cls(
                str(data["id"]),
                str(data["content_id"]),
                str(data["name"]),
                data["path"],
                (int(height), int(width)),
                None if data["mpp"] is None else float(data["mpp"]),
                bool(data["is_stored"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectError(
                f"The project's note about an image is damaged ({error}); add the image again."
            ) from None


def store_copy(ref: ImageRef, target: Path) -> None:
    """Copy the pixels of all levels into the zarr group ``target``, which appears only when it is whole.

    Raises
    ------
    OSError
        When the disk is full or cannot be written; nothing remains.
    """
    import zarr

    target.parent.mkdir(exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY_MARK}{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        zarr.open_group(store=str(temporary), mode="w", zarr_format=3)
        for level, shape in enumerate(ref.levels):
            array = zarr.create_array(
                store=str(temporary / str(level)),
                shape=(*shape, 3),
                chunks=(min(_CHUNK_PX, shape[0]), min(_CHUNK_PX, shape[1]), 3),
                dtype="uint8",
            )
            for box in Box.of_shape(shape).tiles(_CHUNK_PX):
                array[box.slices] = ref.read(level, box)
        shutil.rmtree(target, ignore_errors=True)
        publish_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_copy(entry: ImageEntry, folder: Path) -> ImageRef:
    """Reference to the copy that `store_copy` made.

    Raises
    ------
    ProjectError
        When the copy is missing or damaged.
    """
    import zarr

    try:
        count = sum(1 for path in folder.iterdir() if path.is_dir())
        levels = tuple(zarr.open_array(store=str(folder / str(level)), mode="r") for level in range(count))
        shapes = tuple((int(level.shape[0]), int(level.shape[1])) for level in levels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(
            f"The project's copy of '{entry.name}' is missing or damaged ({error}); open the image again to replace it."
        ) from error
    if not shapes or shapes[0] != entry.shape:
        raise ProjectError(f"The project's copy of '{entry.name}' is damaged; open the image again to replace it.")
    return ImageRef(entry.content_id, entry.name, shapes, entry.mpp, ArraySource(levels, 1.0, 3), None)
