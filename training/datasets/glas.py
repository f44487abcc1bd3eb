"""GlaS: colorectal glands seen by another scanner at another magnification; for evaluation only."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_histoseg.core.errors import InputError
from training.prepared import check_prepared, open_archive, read_member

ARCHIVE = "glas_train_subset.zip"
MPP = 0.62


@dataclass(frozen=True, eq=False)
class Field:
    """One image (H, W, 3) uint8 with its gland mask (H, W)."""

    key: str
    image: NDArray[np.uint8]
    is_gland: NDArray[np.bool_]


def prepare(src: Path, dst: Path) -> int:
    """Decode the archive into ``<key>_image.png`` and ``<key>_mask.png`` in ``dst``; returns the number of images."""
    with open_archive(src, ARCHIVE) as archive:
        keys = sorted(name[7:-4] for name in archive.namelist() if name.startswith("images/") and name[-4:] == ".jpg")
        if not keys:
            raise InputError(f"{archive.filename} holds no images/*.jpg; it is not the GlaS archive.")
        dst.mkdir(parents=True, exist_ok=True)
        for key in keys:
            image = Image.open(io.BytesIO(read_member(archive, f"images/{key}.jpg"))).convert("RGB")
            instances = np.asarray(Image.open(io.BytesIO(read_member(archive, f"instances/{key}.png"))))
            image.save(dst / f"{key}_image.png")
            Image.fromarray((instances > 0).astype(np.uint8) * 255).save(dst / f"{key}_mask.png")
    (dst / "index.json").write_text(json.dumps(keys))
    return len(keys)


def read_fields(data: Path) -> Iterator[Field]:
    """The prepared images, one at a time."""
    folder = check_prepared(data, "glas")
    for key in json.loads((folder / "index.json").read_text()):
        image = np.asarray(Image.open(folder / f"{key}_image.png").convert("RGB"))
        yield Field(key, image, np.asarray(Image.open(folder / f"{key}_mask.png")) > 0)
