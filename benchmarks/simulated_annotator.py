"""Does a retrain help on new images of the same kind without unlearning the old ones? A simulated annotator tells.

    python -m benchmarks.simulated_annotator [--seeds 0 1 2] [--data ../shared/data] [--accept] [--alone]

The starter weights predict the 30 GlaS images. In six of them, drawn by seed, strokes of a round brush are painted
where the prediction and the truth disagree, through the project's own ``record``; then the default plan retrains, and
the candidate is tested on the other 24 images and on the EBHI test cases. Prints one JSON object per seed and one with
means and standard deviations over the seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.inference.predict import Predictors, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.weights import Weights, read_weights, resolve
from napari_histoseg.session.choosing import WEIGHTS_FILE
from napari_histoseg.session.retraining import prepare, retrain_job
from napari_histoseg.session.status import ActiveModel
from training.datasets import ebhi, glas
from training.datasets.source import open_source

OTHER_TISSUE, GLAND = (EPITHELIUM.by_name(name).id for name in ("other tissue", "epithelium"))
CORRECTED_IMAGES = 6
STROKES_PER_IMAGE = 15
BRUSH_RADIUS_PX = 12
STROKE_LENGTH_PX = 60
VIEW_PX = 128
ACCEPTED_WHEN_RIGHT = 0.97
"""A person accepts a view when at least this share of it is right: outlines are never exact."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image and where its glands or epithelium are, lumen included."""

    image: ImageRef
    truth: NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--model", default="unet")
    parser.add_argument("--weights", default=None, help="name or file; by default the shipped ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--accept", action="store_true", help="the annotator also accepts views that are right")
    parser.add_argument("--alone", action="store_true", help="the project holds the six corrected images only")
    parser.add_argument("--plan", type=json.loads, default={}, help="JSON of settings that differ from the default")
    arguments = parser.parse_args()
    bench = Bench(arguments.data, resolve(arguments.model, arguments.weights), FineTunePlan(**arguments.plan))
    reports = []
    for seed in arguments.seeds:
        reports.append(bench.round(seed, accept=arguments.accept, alone=arguments.alone))
        print(json.dumps(reports[-1]), flush=True)
    print(json.dumps({"seeds": len(reports), **spread(reports)}, indent=2))


class Bench:
    """The starter's answers, computed once, and one round of correcting and retraining per seed."""

    def __init__(self, data: Path, weights: Weights, plan: FineTunePlan) -> None:
        self.weights = weights
        self.plan = plan
        self.glas = list(read_glas(data))
        self.ebhi = list(read_ebhi_test(data))
        self.glas_labels = labels_of(self.glas, weights)
        self.ebhi_before = gland_dice(self.ebhi, labels_of(self.ebhi, weights))

    def round(self, seed: int, *, accept: bool, alone: bool) -> dict[str, Any]:
        """Correct six images, retrain, and test on the other 24 and on EBHI."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.glas))
        corrected, rest = order[:CORRECTED_IMAGES].tolist(), order[CORRECTED_IMAGES:].tolist()
        test = [self.glas[k] for k in rest]
        before = gland_dice(test, [self.glas_labels[k] for k in rest])
        with (
            tempfile.TemporaryDirectory() as folder,
            Project.create(Path(folder) / "annotator.histoseg", EPITHELIUM) as project,
        ):
            strokes, painted = 0, 0
            for k in corrected if alone else order.tolist():
                entry = project.add_image(self.glas[k].image)
                propose(project, entry.id, self.glas_labels[k])
                if k in corrected:
                    strokes += correct(project, entry.id, self.glas[k].truth, rng)
                    painted += sum(project.counts(entry.id).values())
                if k in corrected and accept:
                    accept_right_views(project, entry.id, self.glas[k].truth)
            model = ActiveModel(get_model(self.weights.model_id).spec, self.weights)
            task = prepare(project, model, self.plan, device="cpu", is_beside_viewer=True)
            outcome = run_job(retrain_job(task))
            candidate = read_weights(outcome.revision.folder / WEIGHTS_FILE)
            after = gland_dice(test, labels_of(test, candidate))
            ebhi_after = gland_dice(self.ebhi, labels_of(self.ebhi, candidate))
        return {
            "seed": seed,
            "strokes": strokes,
            "corrected_px": painted,
            "verdict": outcome.revision.verdict,
            "reason": outcome.revision.reason,
            "seconds": round(outcome.result.seconds, 1),
            "steps": outcome.result.steps,
            "blend": outcome.result.blend,
            "glas_n": len(test),
            "glas_before": before.mean(),
            "glas_after": after.mean(),
            "glas_sd_before": before.std(),
            "glas_sd_after": after.std(),
            "glas_gain": (after - before).mean(),
            "glas_images_better": int((after > before).sum()),
            "ebhi_n": len(self.ebhi_before),
            "ebhi_before": self.ebhi_before.mean(),
            "ebhi_after": ebhi_after.mean(),
            "ebhi_change": (ebhi_after - self.ebhi_before).mean(),
        }


def spread(reports: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean and standard deviation over the seeds of what is measured."""
    keys = ("glas_before", "glas_after", "glas_gain", "ebhi_before", "ebhi_after", "ebhi_change", "seconds")
    return {key: [float(np.mean(v)), float(np.std(v))] for key in keys if (v := [report[key] for report in reports])}


def read_glas(data: Path) -> Iterator[Example]:
    with open_source(data, glas.DATASET.archives, glas.DATASET.layout) as source:
        for name in source.need("images/*.jpg"):
            stem, instances = Path(name).stem, name.replace("images/", "instances/").replace(".jpg", ".png")
            pixels, truth = source.read_image(name), source.read_mask(instances) > 0
            yield Example(image_from_array(pixels, name=stem, mpp=glas.MPP), truth)


def read_ebhi_test(data: Path) -> Iterator[Example]:
    with open_source(data, ebhi.DATASET.archives, ebhi.DATASET.layout) as source:
        for item in ebhi.read_index(source):
            if item.split == "test":
                pixels, labels = ebhi.read_item(source, item)
                yield Example(image_from_array(pixels, name=item.key, mpp=ebhi.MPP), labels == ebhi.EPITHELIUM)


def labels_of(examples: Sequence[Example], weights: Weights) -> list[NDArray[np.uint8]]:
    """Class ids (H, W) as the window and the commands predict them."""
    predictors = Predictors()
    requests = (PredictRequest(example.image, weights.model_id, weights, device="cpu") for example in examples)
    return [np.asarray(run_job(predict(request, predictors)).labels) for request in requests]


def gland_dice(examples: Sequence[Example], labels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Dice of the epithelium in each image whose truth holds some."""
    found = []
    for example, predicted in zip(examples, labels, strict=True):
        if example.truth.any():
            gland = predicted == GLAND
            found.append(2 * (gland & example.truth).sum() / (gland.sum() + example.truth.sum()))
    return np.asarray(found)


def propose(project: Project, image_id: str, labels: NDArray[np.uint8]) -> None:
    whole = Box.of_shape(labels.shape)
    run_id = project.begin_run(image_id, model="unet", revision=None, box=whole)
    project.propose(image_id, whole, labels, run_id=run_id)
    project.end_run(run_id, "done")


def correct(project: Project, image_id: str, truth: NDArray[np.bool_], rng: np.random.Generator) -> int:
    """Paint strokes over mistakes, each recorded as the window would; returns how many."""
    room = {side: ndimage.distance_transform_edt(np.pad(truth == side, 1))[1:-1, 1:-1] for side in (True, False)}
    brush = np.hypot(*np.ogrid[-BRUSH_RADIUS_PX : BRUSH_RADIUS_PX + 1, -BRUSH_RADIUS_PX : BRUSH_RADIUS_PX + 1])
    count = 0
    for _ in range(STROKES_PER_IMAGE):
        mistakes = (project.planes(image_id).displayed() == GLAND) != truth
        path = stroke_path(mistakes, truth, room, rng)
        if not path:
            break
        touched = np.zeros(truth.shape, bool)
        touched[tuple(np.transpose(path))] = True
        touched = ndimage.binary_dilation(touched, brush <= BRUSH_RADIUS_PX)
        box = Box.of_mask(touched)
        after = project.planes(image_id).displayed(box)
        is_gland = bool(truth[path[0]])
        after[touched[box.slices] & ((after == GLAND) != is_gland)] = GLAND if is_gland else OTHER_TISSUE
        count += project.record(image_id, tool="paint", box=box, after=after) is not None
    return count


def stroke_path(
    mistakes: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    room: dict[bool, NDArray[np.float64]],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Where the brush's centre goes: from deep inside a mistake, large ones first, along it, inside its true class."""
    parts, count = ndimage.label(mistakes)
    depth = ndimage.distance_transform_edt(np.pad(mistakes, 1))[1:-1, 1:-1]
    if count == 0 or depth.max() < 4:
        return []
    sizes = np.bincount(parts.ravel())[1:].astype(float)
    chosen = 1 + int(rng.choice(count, p=sizes / sizes.sum()))
    start = np.where(parts == chosen, depth + rng.random(depth.shape), 0).argmax()
    y, x = (int(v) for v in np.unravel_index(start, depth.shape))
    inside = room[bool(truth[y, x])]
    path, angle, step = [(y, x)], rng.uniform(0, 2 * np.pi), 4
    for _ in range(STROKE_LENGTH_PX // step):
        turns = angle + rng.normal(0, 0.5, 6)
        ends = [(round(path[-1][0] + step * np.sin(a)), round(path[-1][1] + step * np.cos(a))) for a in turns]
        ways = [
            (5.0 * mistakes[end] + 0.05 * inside[end], a, end)
            for a, end in zip(turns, ends, strict=True)
            if 0 <= end[0] < truth.shape[0] and 0 <= end[1] < truth.shape[1] and inside[end] >= 0.7 * BRUSH_RADIUS_PX
        ]
        if not ways:
            break
        _, angle, end = max(ways)
        path.append(end)
    return path


def accept_right_views(project: Project, image_id: str, truth: NDArray[np.bool_]) -> None:
    """Accept every square view that is right but for the exact outline."""
    for view in Box.of_shape(truth.shape).tiles(VIEW_PX):
        shown = project.planes(image_id).displayed(view) == GLAND
        if (shown == truth[view.slices]).mean() >= ACCEPTED_WHEN_RIGHT:
            project.accept(image_id, view)


if __name__ == "__main__":
    main()
