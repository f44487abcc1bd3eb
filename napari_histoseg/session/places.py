"""Where projects lie that nobody gave a place, and which were open lately."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.errors import ProjectError
from napari_histoseg.core.project import SUFFIX

RECENT = 10
"""Projects that are remembered."""
_IMAGES = 1000


def data_folder() -> Path:
    """The folder of this program's data of this user; it need not exist yet."""
    return platformdirs.user_data_path("napari-histoseg", appauthor=False)


def projects_folder() -> Path:
    """Where projects go that nobody gave a place, made when it is missing.

    Raises
    ------
    ProjectError
        When it cannot be made.
    """
    folder = data_folder() / "projects"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"The folder for your projects, '{folder}', cannot be made ({error.strerror}); create a project elsewhere."
        ) from error
    return folder


def new_project_path(folder: Path) -> Path:
    """A free name for a project in a folder, by date and time."""
    stem = time.strftime("%Y-%m-%d %H.%M.%S")
    names = (f"{stem}{'' if k == 1 else f' ({k})'}{SUFFIX}" for k in range(1, 10_000))
    return next(path for name in names if not (path := folder / name).exists())


def recent_projects() -> tuple[Path, ...]:
    """Projects that were open lately and still exist, the latest first."""
    paths = (Path(path) for path in _read().get("projects", []))
    return tuple(path for path in paths if path.is_dir())


def remember_project(path: Path) -> None:
    """Put a project first among the recent ones."""
    memory = _read()
    others = [p for p in memory.get("projects", []) if p != str(path)]
    _write({**memory, "projects": [str(path), *others][:RECENT]})


def project_of_image(content_id: str) -> Path | None:
    """The project made automatically for an image when it was opened before, if it still exists."""
    path = _read().get("images", {}).get(content_id)
    return Path(path) if path is not None and Path(path).is_dir() else None


def remember_image(content_id: str, path: Path) -> None:
    """Note which automatic project an image is in."""
    memory = _read()
    images = {k: v for k, v in memory.get("images", {}).items() if k != content_id}
    images = dict(list(images.items())[1 - _IMAGES :])
    _write({**memory, "images": {**images, content_id: str(path)}})


def _read() -> dict[str, Any]:
    """What is remembered; nothing when the file is missing or damaged, since it is only a convenience."""
    try:
        memory = json.loads((data_folder() / "recent.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    kinds = (("projects", list), ("images", dict))
    if not isinstance(memory, dict):
        return {}
    return {key: memory[key] for key, kind in kinds if isinstance(memory.get(key), kind)}


def _write(memory: dict[str, Any]) -> None:
    folder = data_folder()
    with suppress(OSError):  # a full disk or a read-only home must not keep a project from opening
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "recent.json", memory)
