"""Numbers of finished weights on data they have never seen, through the same prediction a user's image gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.metrics import Matrix, confusion_matrix, dice, dice_per_image
from napari_histoseg.models.weights import Weights
from training.datasets import ebhi, glas
from training.material import normalised
from training.plan import Plan, TestSet
from training.prepared import load
from training.results import Result, set_name, write_prediction, write_result
from training.testing import Tester

Pair = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""An image (H, W, 3) and where its epithelium is (H, W)."""


def evaluate_plan(
    plan: Plan, weights: Weights, data: Path, *, split: str, out: Path | None, device: str = "auto"
) -> dict[str, Any]:
    """Numbers of finished weights on the plan's test sets, or on another split of the set it learned from.

    Parameters
    ----------
    plan : Plan
    weights : Weights
    data : Path
        Folder of prepared data sets.
    split : str
        ``"test"`` takes the test sets of the plan.
    out : Path, optional
        Folder that receives, for each set, the numbers of each image and what was predicted.
    device : str

    Returns
    -------
    dict
        ``<set>_<number>``.
    """
    tests = plan.tests if split == "test" else (TestSet(data=plan.data, split=split),)
    numbers: dict[str, Any] = {}
    for test in tests:
        result = evaluate_set(plan, test, weights, data, out=out, device=device)
        numbers |= {f"{result.name}_{name}": value for name, value in result.numbers().items()}
        numbers |= {f"{result.name}_by_{fact}": result.by(fact) for fact in result.groupings()}
    return numbers


def evaluate_set(
    plan: Plan, test: TestSet, weights: Weights, data: Path, *, out: Path | None, device: str = "auto"
) -> Result:
    """Test finished weights on one set; arguments as for `evaluate_plan`."""
    samples = load(data, test.data)
    samples = samples if test.split == "all" else samples.where(split=test.split)
    if not len(samples):
        raise InputError(f"Set '{test.data}' has no images of the split '{test.split}'.")
    tester = Tester(plan, test, weights, device=device)
    folder = None if out is None else out / set_name(test.data, test.split)
    facts, rows, total = [], [], None
    for sample in normalised(samples, plan):
        measured = tester(sample)
        facts.append(sample.facts)
        rows.append(measured.row)
        if measured.matrix is not None:
            total = measured.matrix if total is None else total + measured.matrix
        if folder is not None and measured.found is not None:
            write_prediction(folder, str(sample.facts["key"]), measured.found)
    result = Result(test.data, test.split, tester.classes, tuple(facts), tuple(rows), total, folder)
    if folder is not None:
        write_result(result, folder)
    return result


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
