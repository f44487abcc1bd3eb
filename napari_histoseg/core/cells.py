"""What is known about each cell of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class CellTable:
    """One row for each cell; every column has shape (n,).

    Parameters
    ----------
    ids : ndarray of int64
        Values in the instance map, ascending.
    class_ids : ndarray of uint8
        Ids of a label schema.
    x, y : ndarray of float64
        Centroid in pixels of the image, the middle of the first pixel being 0.
    area_um2 : ndarray of float64
        Area in µm².
    score : ndarray of float64
        0..1; mean probability of the cell's class over its pixels, 1 where a person placed the cell.
    haematoxylin : ndarray of float64
        Mean amount of haematoxylin in optical density; NaN where no image was given.
    """

    ids: NDArray[np.int64]
    class_ids: NDArray[np.uint8]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area_um2: NDArray[np.float64]
    score: NDArray[np.float64]
    haematoxylin: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class CellPoints:
    """Points that a person placed, one in each of some cells; every column has shape (n,).

    Parameters
    ----------
    ids : ndarray of int64
        Numbers of the cells, ascending.
    y, x : ndarray of float64
        In pixels of the image, the middle of the first pixel being 0; with the precision of float32.
    class_ids : ndarray of uint8
        Of the cells, which are those of the points.
    """

    ids: NDArray[np.int64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    class_ids: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)
