"""Writing a prepared set image by image, so that it appears whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from napari_histoseg.core.atomic import TEMPORARY_MARK, publish_folder, write_json
from napari_histoseg.core.errors import InputError, ResourceError
from training.prepared import KINDS

_HEADER_BYTES = 128


@contextmanager
def write_set(dst: Path, count: Callable[[int], None] | None = None) -> Iterator[SetWriter]:
    """A writer for the set in the folder ``dst``, which is created, or replaced, when the block ends without an error.

    ``count`` receives the number of images so far, after each.

    Raises
    ------
    InputError
        When ``dst`` holds something else than a prepared set, or no image was added.
    ResourceError
        When the disk is full or cannot be written.
    """
    if dst.exists() and (not dst.is_dir() or (any(dst.iterdir()) and not (dst / "index.json").is_file())):
        raise InputError(f"{dst} holds other files; name an empty or new folder for prepared data.")
    temporary = dst.with_name(f"{TEMPORARY_MARK}{dst.name}-{uuid.uuid4().hex[:8]}")
    with _disk(dst):
        dst.parent.mkdir(parents=True, exist_ok=True)
        for leftover in dst.parent.glob(f"{TEMPORARY_MARK}{dst.name}-*"):
            shutil.rmtree(leftover)
        temporary.mkdir()
    try:
        with ExitStack() as files:
            writer = SetWriter(temporary, files, count)
            yield writer
            with _disk(dst):
                writer.finish()
        with _disk(dst):
            _replace(dst, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _disk(dst: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(f"{dst} could not be written ({error}); free some space or name another folder.") from error


def _replace(dst: Path, temporary: Path) -> None:
    old = dst.with_name(f"{TEMPORARY_MARK}{dst.name}-old")
    if dst.is_dir():
        dst.rename(old)
    publish_folder(temporary, dst)
    shutil.rmtree(old, ignore_errors=True)


@dataclass
class SetWriter:
    """Adds images to a set; made by `write_set`."""

    folder: Path
    files: ExitStack
    count: Callable[[int], None] | None = None
    items: list[dict[str, Any]] = field(default_factory=list)
    _open: dict[str, IO[bytes]] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        facts: dict[str, Any],
        *,
        image: NDArray[np.uint8],
        labels: ArrayLike | None = None,
        instances: ArrayLike | None = None,
        points: ArrayLike | None = None,
    ) -> None:
        """Append one image; every image of a set comes with the same kinds of arrays.

        Parameters
        ----------
        facts : dict
            ``key``, ``group`` and ``split`` at least; the size is added.
        image, labels, instances, points
            As in `training.prepared.Sample`.

        Raises
        ------
        InputError
            When labels or instances differ in size from the image, or points lie outside of it.
        """
        height, width = image.shape[:2]
        given = {"images": image, "labels": labels, "instances": instances, "points": points}
        arrays = {kind: np.asarray(a, KINDS[kind]) for kind, a in given.items() if a is not None}
        facts = facts | {"height": height, "width": width}
        for kind in arrays.keys() & {"labels", "instances"}:
            check_size(arrays[kind], (height, width), f"The {kind} of '{facts['key']}'")
        if "points" in arrays:
            arrays["points"] = np.array(arrays["points"]).reshape(-1, 3)
            check_points(arrays["points"], (height, width), f"'{facts['key']}'")
            arrays["points"][:, :2] = arrays["points"][:, :2].clip(0, (height - 1, width - 1))
            facts["points"] = len(arrays["points"])
        if self.items and arrays.keys() != self._open.keys():
            raise InputError(f"'{facts['key']}' has {', '.join(arrays)}, but images before it {', '.join(self._open)}.")
        with _disk(self.folder):
            for kind, array in arrays.items():
                self._append(kind, array)
        self.items.append(facts)
        if self.count is not None:
            self.count(len(self.items))

    def _append(self, kind: str, array: NDArray[Any]) -> None:
        if kind not in self._open:
            file = self.files.enter_context((self.folder / f"{kind}.npy").open("wb"))
            file.write(b"\0" * _HEADER_BYTES)
            self._open[kind] = file
        self._open[kind].write(np.ascontiguousarray(array).data)
        self._sizes[kind] = self._sizes.get(kind, 0) + array.size

    def finish(self) -> None:
        """Write the headers that now are known, and the index."""
        if not self.items:
            raise InputError(f"No image was found for {self.folder.name}; check the folder that was given.")
        sizes = {(item["height"], item["width"]) for item in self.items}
        for kind, file in self._open.items():
            shape: tuple[int, ...] = (self._sizes[kind],)
            if kind != "points" and len(sizes) == 1:
                shape = (len(self.items), *next(iter(sizes)), *((3,) if kind == "images" else ()))
            file.seek(0)
            descr = npy.dtype_to_descr(np.dtype(KINDS[kind]))
            npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
            file.close()
        write_json(self.folder / "index.json", self.items)


def check_size(labels: NDArray[Any], size: tuple[int, int], what: str) -> None:
    """Raise ``InputError`` when labels (H, W) are not of the size (height, width) of their image."""
    if labels.shape != size:
        raise InputError(
            f"{what} are {' x '.join(map(str, labels.shape))} pixels, but the image is {size[0]} x {size[1]} "
            "(height x width); get both at the same magnification."
        )


def check_points(points: NDArray[np.float32], size: tuple[int, int], what: str) -> None:
    """Raise ``InputError`` when a point (y, x, class) lies more than a pixel outside an image of that size."""
    inside = ((points[:, :2] >= -1) & (points[:, :2] <= np.array(size))).all(axis=1)
    if not inside.all():
        y, x, _ = points[~inside][0]
        raise InputError(
            f"{int((~inside).sum())} of {len(points)} points lie outside the image {what} of {size[0]} x {size[1]} "
            f"pixels, the first at x {x:g}, y {y:g}; check that points and image belong together."
        )
