"""The generated phantom as a sample, and as files: ``python -m napari_histoseg.samples.phantom_sample FOLDER``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.samples.phantom import Phantom, make_phantom

SEED = 7


def open_sample() -> ImageRef:
    """Image of 768 x 768 px at 0.5 µm per pixel; its truth is ``make_phantom(SEED)``."""
    phantom = make_phantom(SEED)
    return image_from_array(phantom.image, name="phantom (generated)", mpp=phantom.mpp)


def write_files(folder: Path, phantom: Phantom) -> None:
    """Write image and truth: ``phantom.tif``, ``phantom_regions.png``, ``phantom_instances.tif`` and two tables."""
    from napari_histoseg.core.schemas import EPITHELIUM
    from napari_histoseg.io.labels import write_labels

    folder.mkdir(parents=True, exist_ok=True)
    _write_tiff(folder / "phantom.tif", phantom.image, phantom.mpp)
    _write_tiff(folder / "phantom_instances.tif", phantom.instances, phantom.mpp)
    write_labels(folder / "phantom_regions.png", phantom.regions, file_format="png", schema=EPITHELIUM, mpp=phantom.mpp)
    cells = [(c.id, c.cell_class, c.x, c.y, round(c.area_px * phantom.mpp**2, 3)) for c in phantom.cells]
    _write_table(folder / "phantom_cells.csv", ("id", "class", "x", "y", "area_um2"), cells)
    _write_table(folder / "phantom_points.csv", ("x", "y", "class"), [(c.x, c.y, c.cell_class) for c in phantom.cells])


def _write_tiff(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16], mpp: float) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        compression="zlib",
        predictor=True,
        resolution=(10_000 / mpp, 10_000 / mpp),
        resolutionunit="CENTIMETER",
        metadata=None,
        software=False,
    )


def _write_table(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    write_files(Path(sys.argv[1]), make_phantom(SEED))
