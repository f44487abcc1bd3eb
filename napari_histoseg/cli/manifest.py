"""``run.json``: what a run read, with what, and what came out, so that it can be repeated."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_histoseg.core.errors import InputError

RUN_FILE = "run.json"
FORMAT = 1

_PACKAGES = ("napari-histoseg", "torch", "numpy", "pillow", "tifffile")


@dataclass(frozen=True)
class RunSettings:
    """Everything besides images and weights that a prediction depends on."""

    device: str = "auto"
    tile_px: int | None = None
    overlap: float | None = None
    tta: bool = False
    roi: tuple[int, int, int, int] | None = None
    formats: tuple[str, ...] = ("tif",)
    probabilities: bool = False
    crf: bool = False
    macenko: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunSettings:
        roi = data["roi"]
        return cls(**{**data, "roi": None if roi is None else tuple(roi), "formats": tuple(data["formats"])})


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read."""

    model: str
    weights: dict[str, Any]
    settings: RunSettings
    inputs: list[dict[str, Any]]
    versions: dict[str, str]
    threads: int


def versions() -> dict[str, str]:
    """Versions of everything that can change a result."""
    found = {"python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in _PACKAGES}


def read_manifest(path: Path) -> Manifest:
    """The run in a file; ``InputError`` when it is none or comes from a newer version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] > FORMAT:
            raise InputError(f"'{path}' was written by a newer version; update napari-histoseg to repeat it.")
        return Manifest(
            model=data["model"],
            weights=data["weights"],
            settings=RunSettings.from_json(data["settings"]),
            inputs=data["inputs"],
            versions=data["versions"],
            threads=int(data["threads"]),
        )
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); give the {RUN_FILE} of a run.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path}' is no manifest of a run ({error}); give the {RUN_FILE} that predict wrote."
        ) from error
