"""A folder of labelled images against which every retrained model is judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_histoseg.core.edit import State
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.images import IMAGE_SUFFIXES, open_image
from napari_histoseg.io.labels import read_labels

if TYPE_CHECKING:
    from napari_histoseg.learning.snapshot import TrainingImage

LABEL_MARK = "_labels"
"""``a.png`` is labelled by ``a_labels.png`` or ``a_labels.tif`` beside it."""


def reference_images(folder: Path, schema: LabelSchema, mpp: float | None = None) -> tuple[TrainingImage, ...]:
    """Images of a folder with their labels, as verified truth.

    Parameters
    ----------
    folder : Path
    schema : LabelSchema
        Of the label values; 255 does not count.
    mpp : float, optional
        µm per pixel of images that do not state it.

    Raises
    ------
    InputError
        When there is no labelled image, a label file does not fit, or an image has no known µm per pixel.
    """
    from napari_histoseg.learning.snapshot import TrainingImage

    found = []
    for path, label_file in labelled_files(folder):
        labels = read_labels(label_file)
        schema.check(labels, f"'{label_file}'")
        ref = open_image(path)
        if ref.mpp is None and mpp is not None:
            ref = ref.with_mpp(mpp)
        state = np.where(labels == IGNORE, State.UNREVIEWED, State.VERIFIED).astype(np.uint8)
        found.append(TrainingImage(ref, labels, state))
    return tuple(found)


def labelled_files(folder: Path) -> tuple[tuple[Path, Path], ...]:
    """(image, labels) of each labelled image of a folder; ``InputError`` when there is none."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        labelled = [path.with_name(f"{path.stem}{LABEL_MARK}{suffix}") for suffix in (".png", ".tif")]
        label_file = next((candidate for candidate in labelled if candidate.is_file()), None)
        if path.suffix.lower() in IMAGE_SUFFIXES and label_file is not None:
            found.append((path, label_file))
    if not found:
        raise InputError(
            f"'{folder}' holds no labelled images; beside each 'a.png' put its class numbers as 'a{LABEL_MARK}.png'."
        )
    return tuple(found)
