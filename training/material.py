"""What an experiment learns from: the images of a prepared set, made ready and cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.core.schemas import get_schema
from napari_histoseg.inference.stain import estimate_stains, normalise
from napari_histoseg.learning.cell_targets import nucleus_target
from napari_histoseg.models.registry import get_model
from napari_histoseg.models.spec import Normalisation
from training.datasets.splits import split_groups
from training.plan import NUCLEUS_CLASSES, Plan, TestSet
from training.prepared import Prepared, Sample, load

NUCLEUS_COLOURS = ("#999999", "#0072B2", "#D55E00")
SCORE_CLASS = LabelClass(0, "score", "#0072B2")

_STAIN_PX = 1 << 20
_SAME_SCALE = 0.02


@dataclass(frozen=True, eq=False)
class Picture:
    """One image as the network should see it.

    Parameters
    ----------
    key, group : str
    image : ndarray of uint8, shape (H, W, 3)
    truth : ndarray of uint8, shape (H, W)
        Index of the right output channel, ``IGNORE`` where unknown; all ``IGNORE`` for a score.
    score : float
        What a regression should say of the image; NaN where the set has none.
    """

    key: str
    group: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    score: float


def classes_of(plan: Plan) -> tuple[LabelClass, ...]:
    """The classes that the network's channels stand for."""
    if plan.target == "nuclei":
        named = zip(NUCLEUS_CLASSES, NUCLEUS_COLOURS, strict=True)
        return tuple(LabelClass(k, name, colour) for k, (name, colour) in enumerate(named))
    if plan.target == "score":
        return (SCORE_CLASS,)
    return get_schema(plan.schema_id).classes


def normalisation_of(plan: Plan) -> Normalisation:
    """How images are normalised for the plan's network."""
    return plan.normalisation or get_model(plan.model).spec.normalisation


def training_and_validation(plan: Plan, data: Path) -> tuple[list[Picture], list[Picture]]:
    """The pictures that teach and those that steer.

    Raises
    ------
    InputError
        When the set is not prepared, or has no images of the plan's training split.
    """
    prepared = load(data, plan.data)
    train = prepared.where(split=plan.train_split)
    if not len(train):
        raise InputError(f"Set '{plan.data}' has no images of the split '{plan.train_split}'.")
    validation = prepared.where(split=plan.validation_split) if plan.validation_split else train.take([])
    if not len(validation):
        train, validation = _held_out(train, plan.validation_share)
    return list(pictures(train, plan)), list(pictures(validation, plan))


def pictures(prepared: Prepared, plan: Plan) -> Iterator[Picture]:
    """The images of a prepared set, ready for the network."""
    table = np.full(256, IGNORE, np.uint8)
    table[[c.id for c in classes_of(plan)]] = np.arange(len(classes_of(plan)))
    for sample in normalised(prepared, plan):
        image, truth = sample.image, _truth(sample, plan, table)
        scale = (sample.facts.get("mpp") or plan.mpp) / plan.mpp if plan.mpp else 1.0
        image, truth = rescaled(image, scale), rescaled(truth, scale, is_labels=True)
        score = true_score(sample) if plan.target == "score" else float("nan")
        yield Picture(sample.facts["key"], sample.facts["group"], image, truth, score)


def true_score(sample: Sample) -> float:
    """The number of an image that a regression should give."""
    return float(sample.facts.get("score", "nan"))


def normalised(prepared: Prepared, plan: Plan) -> Iterator[Sample]:
    """The samples of a set, with the stains of each group (slide, case) made alike where the plan asks for it."""
    if not plan.macenko:
        yield from prepared
        return
    groups: dict[str, list[int]] = {}
    for i, item in enumerate(prepared.items):
        groups.setdefault(item["group"], []).append(i)
    for indices in groups.values():
        samples = [prepared[i] for i in indices]
        every = -(-sum(s.image.size // 3 for s in samples) // _STAIN_PX)
        stains = estimate_stains(np.concatenate([s.image.reshape(-1, 3)[::every] for s in samples]))
        for sample in samples:
            yield replace(sample, image=normalise(sample.image, stains))


def cut_up(samples: Iterator[Sample], test: TestSet, max_ignore: float) -> Iterator[Sample]:
    """Samples as they are, or the tiles of a test, of which those with too many unknown pixels are left out."""
    for sample in samples:
        if not test.tile_px:
            yield sample
            continue
        for y in _starts(sample.image.shape[0], test.tile_px, test.stride_px or test.tile_px):
            for x in _starts(sample.image.shape[1], test.tile_px, test.stride_px or test.tile_px):
                part = _window(sample, (slice(y, y + test.tile_px), slice(x, x + test.tile_px)))
                if part.labels is None or float((part.labels == IGNORE).mean()) <= max_ignore:
                    yield part


def _window(sample: Sample, window: tuple[slice, slice]) -> Sample:
    """Part of a sample; points are left out."""
    key = f"{sample.facts['key']}_{window[0].start}_{window[1].start}"
    labels = None if sample.labels is None else sample.labels[window]
    instances = None if sample.instances is None else sample.instances[window]
    return Sample(sample.facts | {"key": key}, sample.image[window], labels, instances, None)


def _held_out(train: Prepared, share: float) -> tuple[Prepared, Prepared]:
    """A share of the groups, at least one, for validation; all of them twice where there is one group only."""
    groups = [item["group"] for item in train.items]
    if len(set(groups)) == 1:
        return train, train
    splits = split_groups(groups, test=0, validation=max(share, 1 / len(set(groups))))
    chosen = [splits[group] == "validation" for group in groups]
    return train.take([i for i, c in enumerate(chosen) if not c]), train.take([i for i, c in enumerate(chosen) if c])


def _truth(sample: Sample, plan: Plan, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if plan.target == "score":
        return np.full(sample.image.shape[:2], IGNORE, np.uint8)
    if plan.target == "nuclei":
        if sample.instances is None:
            raise InputError(f"Set '{plan.data}' has no nuclei outlined one by one; choose another set.")
        return nucleus_target(sample.instances, plan.boundary_px)
    if sample.labels is None:
        raise InputError(f"Set '{plan.data}' has no class for each pixel; choose another set.")
    return table[sample.labels]


def rescaled(values: NDArray[np.uint8], scale: float, *, is_labels: bool = False) -> NDArray[np.uint8]:
    """An image (H, W, 3) or labels (H, W) at another magnification; labels take the nearest pixel."""
    from PIL import Image

    if abs(scale - 1) <= _SAME_SCALE:
        return values
    size = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
    smooth = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST if is_labels else smooth))


@dataclass(frozen=True, eq=False)
class Tile:
    """Pixels (H, W, 3), truth (H, W) and score of a part of a picture."""

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    score: float


class Tiles:
    """Parts of pictures: squares, of which the last of a row or column is shifted back to end at the border, or wholes.

    Parameters
    ----------
    source : list of Picture
    side_px : int
        0 takes pictures whole.
    stride_px : int
        0 is ``side_px``.
    max_ignore : float
        Tiles with a larger share of unknown pixels are left out.
    least_px : int
        Smaller pictures are continued by mirrors to this side, without truth.

    Raises
    ------
    InputError
        When no tile is left.
    """

    def __init__(
        self,
        source: list[Picture],
        side_px: int,
        stride_px: int = 0,
        max_ignore: float = 1.0,
        *,
        least_px: int = 0,
    ) -> None:
        self._source = source
        self._least_px = max(side_px, least_px)
        self._side_px = side_px
        self._places = [
            (k, y, x)
            for k, p in enumerate(source)
            for y in _starts(p.image.shape[0], side_px, stride_px or side_px)
            for x in _starts(p.image.shape[1], side_px, stride_px or side_px)
        ]
        if max_ignore < 1:
            self._places = [place for place in self._places if self._ignored(place) <= max_ignore]
        if not self._places:
            raise InputError(f"No tile has more than {1 - max_ignore:.0%} known pixels; raise max_ignore.")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Tile:
        """A tile; mirrored beyond a picture that is too small."""
        k, y, x = self._places[index]
        picture, side = self._source[k], self._side_px or None
        image, truth = picture.image[y:, x:][:side, :side], picture.truth[y:, x:][:side, :side]
        missing = [max(0, self._least_px - n) for n in truth.shape]
        margin = [(n // 2, n - n // 2) for n in missing]
        if max(map(max, margin)):
            can_mirror = min(truth.shape) > max(map(max, margin))
            image = np.pad(image, [*margin, (0, 0)], mode="reflect" if can_mirror else "edge")
            truth = np.pad(truth, margin, constant_values=IGNORE)
        return Tile(image, truth, picture.score)

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """The sizes (height, width) that occur."""
        if self._side_px:
            return {(self._side_px, self._side_px)}
        return {(p.truth.shape[0], p.truth.shape[1]) for p in self._source}

    def _ignored(self, place: tuple[int, int, int]) -> float:
        k, y, x = place
        side = self._side_px or None
        part = self._source[k].truth[y:, x:][:side, :side]
        return float((part == IGNORE).mean())


def _starts(size_px: int, side_px: int, stride_px: int) -> list[int]:
    if not side_px:
        return [0]
    last = max(0, size_px - side_px)
    return [*range(0, last, stride_px), last]
