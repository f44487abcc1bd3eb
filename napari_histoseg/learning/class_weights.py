"""Weights of classes from how often they occur, and weights of pixels from how close borders are."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE

Scheme = Literal["none", "one_minus_freq", "log_freq", "inverse", "median_freq"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

_LOG_SHIFT = 1.10


def class_weights(counts: NDArray[np.integer], scheme: Scheme) -> NDArray[np.float64]:
    """Weight of each class from its number of pixels.

    Parameters
    ----------
    counts : ndarray of integers, shape (C,)
    scheme : str
        With the share ``f`` of a class among all labelled pixels: ``none`` 1; ``one_minus_freq`` ``1 - f``;
        ``log_freq`` ``1 / ln(1.10 + f)`` (the form of ENet, Paszke et al. 2016, with the constant of the
        cellularity paper);
        ``inverse`` ``1 / f``, scaled to a mean of 1 over the classes that occur; ``median_freq`` the median share of
        those classes over ``f`` (Eigen & Fergus 2015). The last two are 0 for a class that does not occur.

    Returns
    -------
    ndarray of float64, shape (C,)

    Raises
    ------
    InputError
        When the scheme is unknown or nothing is counted.
    """
    if scheme not in SCHEMES:
        raise InputError(f"There is no class weighting '{scheme}'; choose from {', '.join(SCHEMES)} or give numbers.")
    counts = np.asarray(counts)
    if counts.sum() == 0:
        raise InputError("Class weights need labelled pixels to count; all pixels are without a label.")
    return _FORMULAS[scheme](counts / counts.sum())


def _inverse(share: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)
    scaled: NDArray[np.float64] = weights / weights[share > 0].mean()
    return scaled


def _median(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(np.median(share[share > 0]), share, out=np.zeros_like(share), where=share > 0)


_FORMULAS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "none": np.ones_like,
    "one_minus_freq": lambda share: 1 - share,
    "log_freq": lambda share: 1 / np.log(_LOG_SHIFT + share),
    "inverse": _inverse,
    "median_freq": _median,
}


def batch_class_weights(labels: Tensor, num_classes: int, scheme: Scheme) -> Tensor:
    """`class_weights` from the labels (N, H, W) of one batch, shape (C,); all 1 where nothing is known."""
    counts = torch.bincount(labels[labels != IGNORE].flatten(), minlength=num_classes).cpu().numpy()
    weights = class_weights(counts, scheme) if counts.sum() else np.ones(num_classes)
    return torch.from_numpy(weights).to(labels.device, torch.float32)


def border_weights(instances: NDArray[np.integer], *, w0: float = 10.0, sigma_px: float = 5.0) -> NDArray[np.float32]:
    """``w0 exp(-(d1 + d2)^2 / (2 sigma^2))`` on background pixels: high in the gaps between two objects.

    ``d1`` and ``d2`` are the distances to the nearest and the second nearest object (Ronneberger et al. 2015). Add it
    to 1 or to a class weight for the pixel weights of a batch.

    Parameters
    ----------
    instances : ndarray of integers, shape (H, W)
        0 is background, each other value one object.
    w0 : float
    sigma_px : float
        5 suits 0.5 µm per pixel; it goes with the resolution.

    Returns
    -------
    ndarray of float32, shape (H, W)
        0 on objects, and everywhere with fewer than two objects.
    """
    from scipy import ndimage

    reach = ceil(6 * sigma_px)  # beyond it the term is below a millionth of w0
    nearest = np.full((2, *instances.shape), np.inf)
    for label, found in enumerate(ndimage.find_objects(instances), start=1):
        if found is None:
            continue
        near = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in found)
        distance = ndimage.distance_transform_edt(instances[near] != label)
        first, second = nearest[0][near], nearest[1][near]
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    term = w0 * np.exp(-(nearest.sum(axis=0) ** 2) / (2 * sigma_px**2))
    return np.where(instances == 0, term, 0).astype(np.float32)


def batch_border_weights(labels: Tensor, *, w0: float = 10.0, sigma_px: float = 5.0) -> Tensor:
    """`border_weights` of a batch, where each connected region that is not background is one object.

    Parameters
    ----------
    labels : Tensor of int64, shape (N, H, W)
        0 is background; ``IGNORE`` belongs to no object.

    Returns
    -------
    Tensor of float32, shape (N, H, W)
    """
    from scipy import ndimage

    is_object = ((labels != 0) & (labels != IGNORE)).cpu().numpy()
    planes = [border_weights(ndimage.label(plane)[0], w0=w0, sigma_px=sigma_px) for plane in is_object]
    return torch.from_numpy(np.stack(planes)).to(labels.device)
