"""The smart brush: a sloppy stroke snaps to the edge that it nearly follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REACH_UM = 2.0
"""The edge is looked for so far outside the stroke."""

_DEPTH_UM = 1.5
_DEEPEST = 0.5
_SMOOTH_UM = 0.6
_USUAL_MPP = 0.25
_LEAST_RISE = 1e-3


def snapped(evidence: NDArray[np.floating], stroke: NDArray[np.bool_], mpp: float | None) -> NDArray[np.bool_]:
    """What a stroke meant: the piece around it whose edge is the strongest nearby.

    A watershed (Beucher & Meyer 1993) floods from what is surely inside, the middle of the stroke, and from what is
    surely outside, all that is farther than `REACH_UM` from it. Only edges whose dark or probable side lies inward
    hold the flood back, so that the near edge of the next nucleus does not attract the stroke.

    Parameters
    ----------
    evidence : ndarray of float, shape (h, w)
        The amount of haematoxylin, plus the probability of a cell where a model gave it; with at least `REACH_UM`
        around the stroke where the image goes on.
    stroke : ndarray of bool, shape (h, w)
    mpp : float or None
        µm per pixel; 0.25 is assumed where nobody knows.

    Returns
    -------
    ndarray of bool, shape (h, w)
        One piece without holes that meets the stroke; the stroke itself where there is no edge at all.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    if not stroke.any():
        return stroke.copy()
    mpp = mpp or _USUAL_MPP
    inside = ndimage.distance_transform_edt(np.pad(stroke, 1))[1:-1, 1:-1] * mpp
    depth = inside - ndimage.distance_transform_edt(~stroke) * mpp
    rise = _inward_rise(np.asarray(evidence, np.float32), depth, mpp)
    if rise.max() < _LEAST_RISE:
        return stroke.copy()
    is_sure = depth > min(_DEPTH_UM, _DEEPEST * float(depth.max()))
    markers = np.where(is_sure, 1, np.where(depth < -REACH_UM, 2, 0))
    return _one_piece(watershed(rise, markers) == 1, stroke)


def near(stroke: NDArray[np.bool_], mpp: float | None) -> NDArray[np.bool_]:
    """The pixels at most `REACH_UM` from a stroke (h, w), of which it may say something."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~stroke) * (mpp or _USUAL_MPP) <= REACH_UM)


def _inward_rise(amount: NDArray[np.float32], depth: NDArray[np.float64], mpp: float) -> NDArray[np.float64]:
    """How fast the evidence rises in the direction in which one gets deeper into the stroke."""
    from scipy import ndimage

    slope = [ndimage.gaussian_filter(amount, _SMOOTH_UM / mpp, order=order) for order in ((1, 0), (0, 1))]
    inward = np.gradient(ndimage.gaussian_filter(depth, _SMOOTH_UM / mpp))
    length = np.maximum(np.hypot(*inward), _LEAST_RISE * mpp)
    return np.asarray(np.maximum((slope[0] * inward[0] + slope[1] * inward[1]) / length, 0))


def _one_piece(mask: NDArray[np.bool_], stroke: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part with most of the stroke, without hairs and holes."""
    from scipy import ndimage

    parts, count = ndimage.label(ndimage.binary_opening(mask))
    shared = np.bincount(parts[stroke], minlength=count + 1)
    shared[0] = 0
    if not shared.any():
        return stroke.copy()
    return np.asarray(ndimage.binary_fill_holes(parts == shared.argmax()), bool)
