"""A data set as it was downloaded: a folder, or the archive itself, whatever folders lie around its files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_histoseg.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Source:
    """The files of a download.

    Parameters
    ----------
    path : Path
        Folder or archive.
    help : str
        Sentence that says what should be there and where to get it.
    archive : ZipFile or None
        Open archive when ``path`` is one.
    """

    path: Path
    help: str
    archive: zipfile.ZipFile | None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Paths of all files, relative to the top, in alphabetic order; what file managers leave behind is left out."""
        if self.archive is not None:
            found = [name for name in self.archive.namelist() if not name.endswith("/")]
        else:
            found = [p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()]
        return tuple(sorted(n for n in found if not any(part.startswith((".", "__MACOSX")) for part in n.split("/"))))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    def find(self, pattern: str) -> list[str]:
        """Files whose path ends like ``pattern`` (``masks/*.png``), in alphabetic order; case does not matter."""
        return [name for name in self.names if PurePosixPath(name.lower()).match(pattern.lower())]

    def need(self, pattern: str) -> list[str]:
        """As `find`; ``InputError`` says where to get the set when there is no such file."""
        found = self.find(pattern)
        if not found:
            raise InputError(f"{self.path} holds no '{pattern}'; {self.help}")
        return found

    def need_one(self, pattern: str) -> str:
        """The first file like ``pattern``."""
        return self.need(pattern)[0]

    def partner(self, name: str, candidates: Sequence[str], what: str) -> str:
        """The first of ``candidates`` that is there; ``InputError`` says that ``name`` has no ``what`` when none is."""
        for candidate in candidates:
            if candidate in self._known:
                return candidate
        raise InputError(f"{self.path / name} has no {what} ('{candidates[0]}' is missing); {self.help}")

    def read(self, name: str) -> bytes:
        """Content of a file; ``InputError`` when it is missing or damaged."""
        try:
            return self.archive.read(name) if self.archive is not None else (self.path / name).read_bytes()
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{self.path} has no whole '{name}' ({error}); get the set again.") from None

    def read_image(self, name: str) -> NDArray[np.uint8]:
        """Pixels (H, W, 3) of an 8-bit image; grey becomes colour, transparency is dropped."""
        pixels = self._decode(name, "RGB")
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (2, 3)
            or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4))
        ):
            raise InputError(f"{self.path / name} is no 8-bit colour image; export it as one.")
        return np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., :3])

    def read_mask(self, name: str) -> NDArray[Any]:
        """Numbers (H, W) of a mask; a palette is not resolved, since its indices are the numbers."""
        values = self._decode(name, None)
        if values.ndim != 2:
            raise InputError(
                f"{self.path / name} has shape {values.shape}; a mask with one number per pixel is needed."
            )
        return values

    def _decode(self, name: str, mode: str | None) -> NDArray[Any]:
        content = io.BytesIO(self.read(name))
        try:
            if name.lower().endswith((".tif", ".tiff")):
                values: NDArray[Any] = np.squeeze(tifffile.imread(content, series=0, level=0))
                return values
            with Image.open(content) as image:
                return np.asarray(image.convert(mode) if mode and not image.mode.startswith(("I", "F")) else image)
        except (OSError, SyntaxError, ValueError, RuntimeError, LookupError) as error:
            raise InputError(f"{self.path / name} is no whole image ({error}); get the set again.") from None


@contextmanager
def open_source(src: Path, archives: Sequence[str], help_text: str) -> Iterator[Source]:
    """The download at ``src``: an archive, a folder that holds one of ``archives``, or a folder of files.

    Raises
    ------
    InputError
        When nothing is there, or the archive is not whole.
    """
    path = next((src / name for name in archives if (src / name).is_file()), src)
    if path.is_dir():
        yield Source(path, help_text, None)
        return
    if not path.is_file():
        raise InputError(f"There is no file or folder '{path}'; {help_text}")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise InputError(f"{path} is not a whole zip archive; copy or download it again.") from None
    with archive:
        yield Source(path, help_text, archive)
