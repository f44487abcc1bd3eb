"""Images with the outlines of truth and prediction, side by side, of the images that went worst and best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import get_schema
from training.material import classes_of, cut_up
from training.plan import Plan, TestSet
from training.plots import draw_sheet
from training.prepared import Sample, load
from training.results import Result, prediction_path

SHOWN = 3
_MOST_PX = 640


def draw_worst_and_best(result: Result, plan: Plan, test: TestSet, data: Path, path: Path) -> None:
    """A sheet of the images of a result that went worst and best: image, truth, prediction.

    Parameters
    ----------
    result : Result
        With the folder of its predictions.
    plan : Plan
    test : TestSet
    data : Path
        Folder of prepared sets.
    path : Path
        PNG file to write.
    """
    metric = ranking_metric(result)
    values = result.values(metric)
    known = [int(i) for i in np.argsort(values) if np.isfinite(values[i])]
    chosen = dict.fromkeys([*known[:SHOWN], *known[-SHOWN:][::-1]])
    keys = [str(facts["key"]) for facts in result.facts]
    samples = _samples({keys[i] for i in chosen}, test, plan, data)
    panels = []
    for i in chosen:
        sample = samples[keys[i]]
        panels.append((f"{keys[i]}: {metric} {values[i]:.3f}", _pictures(sample, result, plan, test)))
    draw_sheet(panels, ("image", "truth", "prediction"), path, title=f"{result.name}: worst, then best by {metric}")


def ranking_metric(result: Result) -> str:
    """The number that says how well an image went: AJI, or the Dice of the last class that most images have."""
    if "aji" in result.metrics and len(result.classes) == 2:
        return "aji"
    dice = [f"dice {name}" for name in result.classes if name != "background"]
    counts = [int(np.isfinite(result.values(metric)).sum()) for metric in dice]
    return max(zip(counts, range(len(dice)), dice, strict=True))[2]


def _samples(keys: set[str], test: TestSet, plan: Plan, data: Path) -> dict[str, Sample]:
    prepared = load(data, test.data)
    prepared = prepared if test.split == "all" else prepared.where(split=test.split)
    return {s.facts["key"]: s for s in cut_up(iter(prepared), test, plan.max_ignore) if s.facts["key"] in keys}


def _pictures(sample: Sample, result: Result, plan: Plan, test: TestSet) -> list[NDArray[np.uint8]]:
    image = np.array(sample.image)
    if result.folder is None or not (path := prediction_path(result.folder, str(sample.facts["key"]))).is_file():
        found = np.zeros(image.shape[:2], np.int64)
    else:
        found = np.asarray(Image.open(path)).astype(np.int64)
    if plan.target == "nuclei":
        true = np.zeros_like(found) if sample.instances is None else np.asarray(sample.instances, np.int64)
        kinds, classes = (np.sign(true), np.sign(found)), classes_of(plan)
    else:
        classes = get_schema(test.schema_id or plan.schema_id).classes
        table = np.full(256, IGNORE, np.int64)
        table[[c.id for c in classes]] = np.arange(len(classes))
        true = np.full_like(found, IGNORE) if sample.labels is None else table[sample.labels]
        kinds = (true, found)
    colors = np.array([c.rgb for c in classes], np.uint8)
    every = np.s_[:: -(-max(image.shape[:2]) // _MOST_PX), :: -(-max(image.shape[:2]) // _MOST_PX)]
    drawn = [overlay(image[every], k[every], o[every], colors) for k, o in zip(kinds, (true, found), strict=True)]
    return [image[every], *drawn]


def overlay(
    image: NDArray[np.uint8], classes: NDArray[np.integer], objects: NDArray[np.integer], colors: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """An image (H, W, 3) tinted by class, except the first, with dark lines between different objects.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    classes : ndarray of integers, shape (H, W)
        Class indices; ``IGNORE`` is drawn grey.
    objects : ndarray of integers, shape (H, W)
        What lines are drawn between.
    colors : ndarray of uint8, shape (C, 3)
    """
    from scipy import ndimage

    index = classes.astype(np.int64)
    tinted = image.astype(np.float32)
    known = index != IGNORE
    is_drawn = known & (index > 0)
    tinted[is_drawn] = 0.6 * tinted[is_drawn] + 0.4 * colors[index[is_drawn]]
    tinted[~known] = 0.5 * tinted[~known] + 0.5 * 128
    values = objects.astype(np.int64)
    edge = ndimage.maximum_filter(values, 3) != ndimage.minimum_filter(values, 3)
    tinted[edge] *= 0.35
    return tinted.clip(0, 255).astype(np.uint8)
