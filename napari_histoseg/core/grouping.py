"""Merging the classes of a published set into fewer groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schemas import BCSS22

BCSS_OUTSIDE = 0
"""Code of pixels outside the annotated region."""

BCSS_EXCLUDED = (7, 15)
"""Codes ``exclude`` and ``undetermined``."""

_BCSS_GROUPS = {1: (1, 19, 20), 2: (2,), 3: (3, 10, 11), 4: (4,), 5: (5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 21)}


def bcss_groups(*, exclude_to_ignore: bool = False) -> NDArray[np.uint8]:
    """Lookup table (256,) from the codes of BCSS masks to the classes of ``BCSS5``; see `apply_groups`.

    The groups are those of the SPADESegResNet paper: carcinoma in situ and angioinvasion are tumor, plasma cells
    and other infiltrates inflammatory, the rest others.

    Parameters
    ----------
    exclude_to_ignore : bool
        Leave out pixels that the annotators excluded or could not determine, instead of calling them others.
    """
    table = np.full(256, IGNORE, np.uint8)
    for group, codes in _BCSS_GROUPS.items():
        table[list(codes)] = group
    if exclude_to_ignore:
        table[list(BCSS_EXCLUDED)] = IGNORE
    return table


def bcss_classes() -> NDArray[np.uint8]:
    """Lookup table (256,) that keeps all published classes, ``BCSS22``, and leaves out what is outside the region."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(BCSS22.ids)] = BCSS22.ids
    return table


def apply_groups(
    codes: NDArray[Any], table: NDArray[np.uint8], where: str, *, known: LabelSchema = BCSS22
) -> NDArray[np.uint8]:
    """Labels of a mask of codes.

    Parameters
    ----------
    codes : ndarray of unsigned integers, shape (H, W)
    table : ndarray of uint8, shape (256,)
        Class for each code.
    where : str
        Name of the mask, for the message.
    known : LabelSchema
        The codes that may occur, besides 0 and 255.

    Raises
    ------
    InputError
        When the mask holds a code that the set does not define.
    """
    allowed = {BCSS_OUTSIDE, *known.ids, IGNORE}
    unknown = sorted(set(np.flatnonzero(np.bincount(codes.ravel())).tolist()) - allowed)
    if unknown:
        raise InputError(
            f"{where} holds the code {unknown[0]}, which is none of 0 to {max(known.ids)} of '{known.id}'; "
            "get the mask again, or a version with the published codes."
        )
    labels: NDArray[np.uint8] = table[codes]
    return labels
