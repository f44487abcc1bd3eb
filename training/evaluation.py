"""Numbers of finished weights on data they have never seen, through the same prediction a user's image gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.metrics import Matrix, confusion_matrix, dice, dice_per_image
from napari_histoseg.models.weights import Weights
from training.datasets import ebhi, glas
from training.prepared import load

Pair = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""An image (H, W, 3) and where its epithelium is (H, W)."""


def evaluate_epithelium(weights: Weights, data: Path, *, split: str = "test") -> dict[str, float]:
    """Dice of the class ``epithelium``, in each image of a split of EBHI-Seg and of GlaS.

    Parameters
    ----------
    weights : Weights
        With a class of that name.
    data : Path
        Folder with the prepared sets ``ebhi`` and ``glas``.
    split : str
        Of EBHI-Seg; GlaS is never trained on and always taken whole.

    Returns
    -------
    dict of str to float
        For both sets ``<set>_dice_mean``, ``_dice_sd`` (population) and ``_n`` over the images that hold epithelium,
        and ``<set>_dice_pooled`` over all pixels.
    """
    predictors = Predictors()
    sets = {f"ebhi_{split}": (_ebhi_pairs(data, split), ebhi.MPP), "glas": (_glas_pairs(data), glas.MPP)}
    numbers: dict[str, float] = {}
    for name, (pairs, mpp) in sets.items():
        matrices = [_confusion(image, truth, mpp, weights, predictors) for image, truth in pairs]
        spread = dice_per_image(matrices, 1)
        pooled = float(dice(np.sum(matrices, axis=0))[1])
        numbers |= {f"{name}_dice_mean": spread.mean, f"{name}_dice_sd": spread.sd, f"{name}_n": spread.n}
        numbers[f"{name}_dice_pooled"] = pooled
    return numbers


def _confusion(
    image: NDArray[np.uint8], truth: NDArray[np.bool_], mpp: float, weights: Weights, predictors: Predictors
) -> Matrix:
    reference = image_from_array(image, name="test image", mpp=mpp)
    request = PredictRequest(reference, weights.model_id, weights, device="cpu")
    labels = np.asarray(run_job(predict(request, predictors)).labels)
    epithelium = next(c.id for c in weights.classes if c.name == "epithelium")
    return confusion_matrix(truth.astype(np.uint8), (labels == epithelium).astype(np.uint8), num_classes=2)


def _ebhi_pairs(data: Path, split: str) -> Iterator[Pair]:
    items = load(data, "ebhi").where(split=split)
    for image, labels in zip(items.images, items.labels, strict=True):
        yield image, labels == ebhi.EPITHELIUM


def _glas_pairs(data: Path) -> Iterator[Pair]:
    for field in glas.read_fields(data):
        yield field.image, field.is_gland
