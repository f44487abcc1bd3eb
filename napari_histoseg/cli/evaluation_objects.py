"""Numbered objects against true ones: nuclei and glands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.cli.evaluation_files import Pair, beside, label_pairs
from napari_histoseg.cli.evaluation_report import Evaluated, Table
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import LabelSchema

if TYPE_CHECKING:
    from napari_histoseg.learning.metrics_instance import PanopticQuality

_FOREGROUND = ("nucleus", "nuclei", "gland", "epithelium")

_NUCLEI_NOTES = (
    "Numbers are means over images; n says over how many. dice is that of all objects together against background.",
    "aji is the aggregated Jaccard index; pq = dq * sq with objects matched at IoU above 0.5. Images whose truth holds "
    "no object are left out of aji, dq, sq and pq, but objects predicted there count in pq_pooled, which sums over "
    "images.",
    "Per class, pq is the mean over the n images whose truth holds the class, from the objects of that class alone; "
    "mpq is the mean over images of the mean over classes.",
)
_GLAND_NOTES = (
    "Numbers are means over images; sd is the population's.",
    "f1 is that of the pixels; object_f1 counts a segmented object as right when it covers more than half of the true "
    "object that it overlaps most.",
    "object_dice and object_hausdorff (px) pair each object with the one it overlaps most, are weighted by area and "
    "averaged over both directions.",
    "Truth and prediction both empty: F1 and Dice 1, distance 0; one empty: F1 and Dice 0, distance the diagonal of "
    "the image.",
)


def evaluate_nuclei(pred: Path, truth: Path, schema: LabelSchema | None) -> Evaluated:
    """AJI and panoptic quality; errors as for `label_pairs` and `read_instances`."""
    from napari_histoseg.io.charts import box_chart
    from napari_histoseg.learning.metrics import spread
    from napari_histoseg.learning.metrics_gland import pixel_f1
    from napari_histoseg.learning.metrics_instance import PanopticQuality, aji, panoptic_quality

    pairs = label_pairs(pred, truth, of_objects=True)
    has_classes = all(beside(p, "_cells.csv").is_file() for pair in pairs for p in (pair.pred, pair.truth))
    rows: dict[str, dict[str, Any]] = {}
    pooled = PanopticQuality(0, 0, 0, 0.0)
    of_classes: list[dict[str, PanopticQuality]] = []
    for pair in pairs:
        predicted, true = _maps(pair, schema)
        quality = panoptic_quality(true, predicted)
        pooled += quality
        rows[pair.name] = {"dice": pixel_f1(true > 0, predicted > 0), "aji": aji(true, predicted)}
        rows[pair.name] |= {"dq": quality.dq, "sq": quality.sq, "pq": quality.pq}
        rows[pair.name] |= {"tp": quality.tp, "fp": quality.fp, "fn": quality.fn}
        if has_classes:
            of_classes.append(_by_class(pair, true, predicted))
            rows[pair.name]["mpq"] = spread(q.pq for q in of_classes[-1].values()).mean
    metrics = ("dice", "aji", "dq", "sq", "pq", *(("mpq",) if has_classes else ()))
    overall = _means(rows.values(), metrics)
    overall |= {"dice_mean": overall.pop("dice"), "pq_pooled": pooled.pq, "dq_pooled": pooled.dq}
    overall |= {"tp": pooled.tp, "fp": pooled.fp, "fn": pooled.fn}
    chart = box_chart({m: [row[m] for row in rows.values()] for m in metrics}, title="Nuclei per image")
    return Evaluated(
        "instance",
        Table.of("image", rows),
        _per_class(of_classes),
        overall,
        _NUCLEI_NOTES,
        charts={"nuclei": chart},
    )


def evaluate_glands(pred: Path, truth: Path, schema: LabelSchema | None) -> Evaluated:
    """The metrics of the GlaS challenge; errors as for `label_pairs` and `read_instances`."""
    from napari_histoseg.io.charts import box_chart
    from napari_histoseg.learning.metrics_gland import object_dice, object_f1, object_hausdorff, pixel_f1

    rows: dict[str, dict[str, Any]] = {}
    for pair in label_pairs(pred, truth, of_objects=True):
        predicted, true = _maps(pair, schema)
        rows[pair.name] = {
            "f1": pixel_f1(true > 0, predicted > 0),
            "object_f1": object_f1(true, predicted),
            "object_dice": object_dice(true, predicted),
            "object_hausdorff": object_hausdorff(true, predicted),
        }
    shares = ("f1", "object_f1", "object_dice")
    charts = {
        "glands": box_chart({m: [row[m] for row in rows.values()] for m in shares}, title="Glands per image"),
        "hausdorff": box_chart(
            {"object_hausdorff": [row["object_hausdorff"] for row in rows.values()]},
            title="Object Hausdorff distance per image (px)",
            high=None,
        ),
    }
    overall = _means(rows.values(), (*shares, "object_hausdorff"))
    return Evaluated("gland", Table.of("image", rows), {}, overall, _GLAND_NOTES, charts=charts)


def _maps(pair: Pair, schema: LabelSchema | None) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Numbered objects of prediction and truth, of the same size."""
    predicted, true = (_objects(path, schema) for path in (pair.pred, pair.truth))
    if predicted.shape != true.shape:
        raise InputError(
            f"'{pair.name}': the prediction has {predicted.shape} px, the truth {true.shape}; compare equal sizes."
        )
    return predicted, true


def _objects(path: Path, schema: LabelSchema | None) -> NDArray[np.integer]:
    """Numbers as they stand, or with a schema the connected parts of its foreground class with their holes filled.

    Files named ``*_instances`` hold numbers in any case.
    """
    from napari_histoseg.io.maps import read_instances

    if schema is None or path.stem.endswith("_instances"):
        return read_instances(path)

    from scipy import ndimage

    from napari_histoseg.io.labels import read_labels

    wanted = next((c.id for c in schema.classes if c.name in _FOREGROUND), None)
    if wanted is None:
        raise InputError(f"Schema '{schema.id}' has no class {', '.join(_FOREGROUND)}; give maps of numbered objects.")
    labels = read_labels(path, schema)
    schema.check(labels, f"'{path.name}'")
    numbers, _ = ndimage.label(ndimage.binary_fill_holes(labels == wanted))
    return np.asarray(numbers)


def _by_class(pair: Pair, true: NDArray[np.integer], predicted: NDArray[np.integer]) -> dict[str, PanopticQuality]:
    from napari_histoseg.io.maps import read_cell_classes
    from napari_histoseg.learning.metrics_instance import panoptic_quality_per_class

    own, theirs = (read_cell_classes(beside(path, "_cells.csv")) for path in (pair.truth, pair.pred))
    names = sorted(set(own.values()) | set(theirs.values()))
    numbers = {name: k for k, name in enumerate(names)}
    qualities = panoptic_quality_per_class(
        true,
        predicted,
        truth_classes={i: numbers[name] for i, name in own.items()},
        prediction_classes={i: numbers[name] for i, name in theirs.items()},
        classes=range(len(names)),
    )
    return dict(zip(names, qualities, strict=True))


def _per_class(images: Sequence[Mapping[str, PanopticQuality]]) -> dict[str, dict[str, Any]]:
    from napari_histoseg.learning.metrics import spread

    names = sorted({name for image in images for name in image})
    table = {}
    for name in names:
        found = [image[name] for image in images if name in image]
        pq = spread(quality.pq for quality in found)
        counts = {key: sum(getattr(quality, key) for quality in found) for key in ("tp", "fp", "fn")}
        of_n = {key: spread(getattr(quality, key) for quality in found).mean for key in ("dq", "sq")}
        table[name] = {"pq": pq.mean, "pq_sd": pq.sd, **of_n, "n": pq.n, **counts}
    return table


def _means(rows: Iterable[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Any]:
    from napari_histoseg.learning.metrics import spread

    rows = list(rows)
    overall: dict[str, Any] = {}
    for metric in metrics:
        found = spread(row[metric] for row in rows)
        overall |= {metric: found.mean, f"{metric}_sd": found.sd, f"{metric}_n": found.n}
    return overall
