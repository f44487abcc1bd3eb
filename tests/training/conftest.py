"""A made-up data set in the layout of the real archives: dark discs on pink tissue."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

CASES = [f"case{k:02d}" for k in range(10)]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps this small lose more by waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image with a white left edge and one dark disc, and the mask of the disc."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    cy, cx = rng.integers(70, min(shape) - 70, 2)
    mask = (y - cy) ** 2 + (x - cx) ** 2 < rng.integers(40, 60) ** 2
    image = np.full((*shape, 3), (225, 150, 190)) + rng.normal(0, 8, (*shape, 3))
    image[mask] = (110, 50, 140)
    image[:, :12] = 250
    mask[:, :12] = False
    return image.clip(0, 255).astype(np.uint8), mask


def _encoded(array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ebhi_seg.zip`` (ten cases of one image) and ``glas_train_subset.zip`` (two images)."""
    folder = tmp_path_factory.mktemp("archives")
    with zipfile.ZipFile(folder / "ebhi_seg.zip", "w") as archive:
        rows = ["key,category,case_id,foreground_fraction"]
        for seed, case_id in enumerate(CASES):
            image, mask = picture(seed, (224, 224))
            archive.writestr(f"images/Polyp/{case_id}-1.jpg", _encoded(image, "JPEG"))
            archive.writestr(f"masks/Polyp/{case_id}-1.png", _encoded(mask.astype(np.uint8) * 255, "PNG"))
            rows.append(f"Polyp/{case_id}-1,Polyp,{case_id},{mask.mean():.4f}")
        archive.writestr("index.csv", "\n".join(rows))
    with zipfile.ZipFile(folder / "glas_train_subset.zip", "w") as archive:
        for k in range(2):
            image, mask = picture(100 + k, (300, 420))
            archive.writestr(f"images/train_{k}.jpg", _encoded(image, "JPEG"))
            archive.writestr(f"instances/train_{k}.png", _encoded(mask.astype(np.uint16), "PNG"))
    return folder
