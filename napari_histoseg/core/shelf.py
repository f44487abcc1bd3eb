"""The images of a project: which they are and where their pixels lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_histoseg.core.checkpoint import note_entry
from napari_histoseg.core.entry import ImageEntry, open_copy, store_copy
from napari_histoseg.core.errors import InputError, ProjectError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.opening import CHECKPOINTS, OpenFolder

IMAGES = "images"
MAX_PIXELS = 1 << 30
"""The three planes of an image are kept in memory: three bytes per pixel."""
MAX_COPIED_PIXELS = 100_000_000
"""Larger images without a file are not copied into the project."""


class ImageShelf:
    """Entries of the images of an open project, and references to their pixels."""

    def __init__(self, folder: OpenFolder) -> None:
        self._folder = folder
        self._refs: dict[str, ImageRef] = {}

    def get(self, image_id: str) -> ImageEntry:
        """The entry of that id; ``ProjectError`` when there is none."""
        entry = self._folder.entries.get(image_id)
        if entry is None:
            raise ProjectError(f"The project '{self._folder.path.name}' has no image '{image_id}'; add it first.")
        return entry

    def add(self, ref: ImageRef) -> ImageEntry:
        """See `Project.add_image`."""
        height, width = ref.shape
        if height * width > MAX_PIXELS:
            raise InputError(
                f"'{ref.name}' is {height} x {width} px; at most {MAX_PIXELS:,} px can be labelled at once, so crop "
                "the region you need or open a lower resolution level."
            )
        image_id = ref.content_id[:16]
        known = self._folder.entries.get(image_id)
        is_stored = self._copy_of(image_id).exists()
        if ref.path is None and not is_stored and height * width <= MAX_COPIED_PIXELS:
            self._store(ref, self._copy_of(image_id))
            is_stored = True
        path = ref.path if ref.path is not None else (known.path if known else None)
        mpp = ref.mpp if ref.mpp is not None else (known.mpp if known else None)
        entry = ImageEntry(image_id, ref.content_id, ref.name, path, ref.shape, mpp, is_stored)
        if entry != known and (known is None or self._folder.lock is not None):
            self._put(entry)
        self._refs[image_id] = ref
        return self.get(image_id)

    def set_mpp(self, image_id: str, mpp: float) -> ImageEntry:
        """See `Project.set_mpp`."""
        entry = self.get(image_id)
        if not 0.01 <= mpp <= 100:
            raise InputError(f"{mpp} µm per pixel is not a microscope's resolution; give a value between 0.01 and 100.")
        changed = replace(entry, mpp=float(mpp))
        self._put(changed)
        return changed

    def ref(self, image_id: str, open_file: Callable[[str], ImageRef] | None) -> ImageRef:
        """See `Project.image_ref`."""
        entry = self.get(image_id)
        if image_id not in self._refs:
            self._refs[image_id] = self._open(entry, open_file)
        return replace(self._refs[image_id], name=entry.name, mpp=entry.mpp)

    def _open(self, entry: ImageEntry, open_file: Callable[[str], ImageRef] | None) -> ImageRef:
        copy = self._copy_of(entry.id)
        if entry.is_stored and (copy.exists() or entry.path is None):
            return open_copy(entry, copy)
        if entry.path is None or open_file is None:
            raise ProjectError(f"The pixels of '{entry.name}' are not in the project; open that image again.")
        file = Path(entry.path)
        for candidate in (file, self._folder.path.parent / file.name):
            if candidate.exists() and (ref := open_file(str(candidate))).content_id == entry.content_id:
                return ref
        what = "has changed" if file.exists() else "is no longer there"
        raise ProjectError(
            f"The file of '{entry.name}', {file}, {what}; put it back, or place it beside the project folder. "
            "Its labels are kept."
        )

    def _store(self, ref: ImageRef, copy: Path) -> None:
        if self._folder.lock is None:
            return
        try:
            store_copy(ref, copy)
        except OSError as error:
            raise ProjectError(
                f"'{ref.name}' could not be copied into '{self._folder.path}' ({error.strerror}); free some disk space."
            ) from error

    def _put(self, entry: ImageEntry) -> None:
        data = entry.to_json()
        self._folder.journal.put_image(entry.id, data)
        self._folder.entries[entry.id] = entry
        try:
            note_entry(self._folder.path / CHECKPOINTS, entry.id, entry.shape, data)
        except OSError as error:
            raise ProjectError(
                f"'{entry.name}' could not be noted in '{self._folder.path}' ({error.strerror}); free some disk space."
            ) from error

    def _copy_of(self, image_id: str) -> Path:
        return self._folder.path / IMAGES / f"{image_id}.zarr"
