"""From class probabilities to single cells: touching ones are parted, each gets a number, a class and a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.jobs.job import Job, Progress, run_job

BACKGROUND = 0
"""Channel of the background; the other channels are classes of cells, and perhaps the border between them."""

BOUNDARY = "boundary"
"""Name of the class that is no cell but the border between cells that touch."""

_TILE_PX = 1024
_MARGIN_UM = 40.0


@dataclass(frozen=True)
class InstanceRules:
    """How a mask is cut into cells.

    Parameters
    ----------
    min_area_um2 : float
        Smaller pieces are no cells.
    max_hole_um2 : float
        Smaller holes belong to the cell around them.
    opening_um : float
        Radius of the disk that wipes out bridges and specks.
    spacing_um : float
        Least distance of the middles of two cells that touch.
    smooth_um : float
        Standard deviation of the Gaussian over the distance to the background, which keeps rough outlines from
        splitting a cell.
    """

    min_area_um2: float = 12.0
    max_hole_um2: float = 40.0
    opening_um: float = 0.5
    spacing_um: float = 1.5
    smooth_um: float = 0.6


def boundary_channel(classes: Sequence[LabelClass]) -> int | None:
    """Channel of the class named "boundary", if there is one."""
    return next((k for k, c in enumerate(classes) if c.name == BOUNDARY), None)


def part_cells(
    probabilities: NDArray[np.float32],
    mpp: float,
    *,
    boundary: int | None = None,
    rules: InstanceRules | None = None,
) -> Job[NDArray[np.int32]]:
    """The cells of a probability map, as a job that steps from tile to tile.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (C, H, W)
        Channel 0 is background.
    mpp : float
        µm per pixel.
    boundary : int, optional
        Channel of the border between cells that touch. With it the connected insides are the cells and grow over
        their borders; without it they are parted by a watershed on the distance to the background.
    rules : InstanceRules, optional

    Returns
    -------
    ndarray of int32, shape (H, W)
        0 is background, cells are numbered from 1 without gaps.
    """
    rules = rules or InstanceRules()
    shape = probabilities.shape[1:]
    instances = np.zeros(shape, np.int32)
    last = 0
    tiles = list(Box.of_shape(shape).tiles(_TILE_PX))
    for done, core in enumerate(tiles):
        yield Progress(done, len(tiles), "Parting cells.")
        window = core.pad(round(_MARGIN_UM / mpp)).clip(shape)
        best = probabilities[:, *window.slices].argmax(axis=0)
        inside = None if boundary is None else (best != BACKGROUND) & (best != boundary)
        cells = split(best != BACKGROUND, mpp, inside=inside, rules=rules)
        owned = _centred_in(cells, core.relative_to(window))
        new, target = owned[cells], instances[window.slices]
        is_free = (new > 0) & (target == 0)
        target[is_free] = new[is_free] + last
        last += int(owned.max(initial=0))
    is_there = np.bincount(instances.ravel(), minlength=1) > 0
    is_there[0] = False
    return np.asarray(np.where(is_there, np.cumsum(is_there), 0).astype(np.int32)[instances])


def instances_from_probabilities(
    probabilities: NDArray[np.float32],
    mpp: float,
    *,
    boundary: int | None = None,
    rules: InstanceRules | None = None,
) -> NDArray[np.int32]:
    """The result of `part_cells`, at once."""
    return run_job(part_cells(probabilities, mpp, boundary=boundary, rules=rules))


def split(
    foreground: NDArray[np.bool_],
    mpp: float,
    *,
    inside: NDArray[np.bool_] | None = None,
    rules: InstanceRules,
) -> NDArray[np.int32]:
    """Cells (H, W) of a mask (H, W), parted as `part_cells` says; 0 is background."""
    from scipy import ndimage
    from skimage.morphology import disk
    from skimage.segmentation import watershed

    mask = ndimage.binary_opening(foreground, disk(max(1, round(rules.opening_um / mpp))))
    mask = ~without_small(~mask, rules.max_hole_um2 / mpp**2)
    mask = without_small(mask, rules.min_area_um2 / mpp**2)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), rules.smooth_um / mpp)
    markers = _peaks(distance, mask, mpp, rules) if inside is None else _insides(inside, mask)
    cells = watershed(-distance, markers, mask=mask)
    sizes = np.bincount(cells.ravel())
    sizes[0] = 0
    keep = sizes >= rules.min_area_um2 / mpp**2
    return np.asarray(np.where(keep, np.arange(len(sizes)), 0)[cells], np.int32)


def without_small(mask: NDArray[np.bool_], least_px: float) -> NDArray[np.bool_]:
    """The mask without those of its regions, connected by their sides, that have fewer pixels."""
    from scipy import ndimage

    regions, _ = ndimage.label(mask)
    is_kept = np.bincount(regions.ravel()) >= least_px
    is_kept[0] = False
    return np.asarray(is_kept[regions], bool)


def classes_of(
    instances: NDArray[np.int32], probabilities: NDArray[np.float32], *, boundary: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Channel of each cell, by the largest mean probability over its pixels, and that probability.

    Parameters
    ----------
    instances : ndarray of int32, shape (H, W)
        Numbered 1 to n.
    probabilities : ndarray of float32, shape (C, H, W)
    boundary : int, optional
        Channel that is no class; its probability counts for every one.

    Returns
    -------
    channels, scores : ndarray, shape (n,)
    """
    kinds = [k for k in range(len(probabilities)) if k not in (BACKGROUND, boundary)]
    means = np.stack([_means(instances, probabilities[k]) for k in kinds])
    border = 0.0 if boundary is None else _means(instances, probabilities[boundary])
    return np.array(kinds)[means.argmax(axis=0)], means.max(axis=0) + border


def cell_table(
    instances: NDArray[np.int32],
    mpp: float,
    *,
    class_ids: NDArray[np.uint8],
    score: NDArray[np.float64] | None = None,
    haematoxylin: NDArray[np.float32] | None = None,
) -> CellTable:
    """One row for each cell of an instance map.

    Parameters
    ----------
    instances : ndarray of int32, shape (H, W)
        Numbered 1 to n; numbers without a pixel get no row.
    mpp : float
        µm per pixel.
    class_ids : ndarray of uint8, shape (n,)
    score : ndarray of float64, shape (n,), optional
        1 where absent.
    haematoxylin : ndarray of float32, shape (H, W), optional
        As `stain.haematoxylin` gives it.
    """
    count = len(class_ids)
    pixels = np.flatnonzero(instances)
    which = instances.ravel()[pixels]
    area = np.bincount(which, minlength=count + 1)[1:]
    there = np.flatnonzero(area)
    y, x = np.divmod(pixels, instances.shape[1])

    def mean(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(which, values, minlength=count + 1)[1:][there] / area[there], np.float64)

    return CellTable(
        ids=there.astype(np.int64) + 1,
        class_ids=class_ids[there],
        x=mean(x),
        y=mean(y),
        area_um2=area[there].astype(np.float64) * mpp**2,
        score=np.ones(len(there)) if score is None else score[there],
        haematoxylin=np.full(len(there), np.nan) if haematoxylin is None else mean(haematoxylin.ravel()[pixels]),
    )


def _peaks(
    distance: NDArray[np.float64], mask: NDArray[np.bool_], mpp: float, rules: InstanceRules
) -> NDArray[np.int32]:
    """Numbered middles of cells: maxima of the distance to the background, apart from each other."""
    from scipy import ndimage
    from skimage.feature import peak_local_max

    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    places = peak_local_max(
        distance, min_distance=max(1, round(rules.spacing_um / mpp)), labels=regions, exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(places.T)] = np.arange(1, len(places) + 1)
    return markers


def _insides(inside: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Numbered connected insides; a region without any is one cell."""
    from scipy import ndimage

    markers, count = ndimage.label(inside & mask)
    regions, region_count = ndimage.label(mask, structure=np.ones((3, 3)))
    is_marked = np.zeros(region_count + 1, bool)
    is_marked[np.unique(regions[markers > 0])] = True
    unmarked = (regions > 0) & ~is_marked[regions]
    return np.asarray(np.where(unmarked, count + regions, markers), np.int32)


def _centred_in(cells: NDArray[np.int32], core: Box) -> NDArray[np.int32]:
    """New number of each cell, from 1; 0 for those whose middle lies outside ``core``."""
    which = cells.ravel()
    area = np.maximum(np.bincount(which), 1)
    y = np.bincount(which, np.repeat(np.arange(cells.shape[0]), cells.shape[1])) / area
    x = np.bincount(which, np.tile(np.arange(cells.shape[1]), cells.shape[0])) / area
    is_inside = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
    is_inside[0] = False
    return np.asarray(np.where(is_inside, np.cumsum(is_inside), 0), np.int32)


def _means(instances: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    area = np.bincount(instances.ravel())
    return np.asarray(np.bincount(instances.ravel(), values.ravel())[1:] / np.maximum(area[1:], 1), np.float64)
