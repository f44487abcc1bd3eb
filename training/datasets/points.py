"""Labels for sets that mark nuclei by points only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference.points import PointRules, Points, Unlabelled, cells_from_points

_UNKNOWN_KIND = 254


def label_points(
    image: NDArray[np.uint8], points: NDArray[np.float32], mpp: float, *, unlabelled: Unlabelled
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class map and instance map (H, W) that a watershed grows from the points.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    points : ndarray of float32, shape (P, 3)
        y, x and class id; nuclei of class 255 become instances whose pixels have no class.
    mpp : float
        µm per pixel.
    unlabelled : {"background", "ignore"}
        What dark pixels without a point are: ``"background"`` where every nucleus has a point.
    """
    kinds = points[:, 2].astype(np.uint8)
    kinds[kinds == IGNORE] = _UNKNOWN_KIND
    marked = Points.of(points[:, 0].astype(np.float64), points[:, 1].astype(np.float64), kinds)
    cells = cells_from_points(image, marked, mpp, rules=PointRules(unlabelled=unlabelled))
    labels = np.where(cells.labels == _UNKNOWN_KIND, np.uint8(IGNORE), cells.labels)
    return labels, cells.instances
