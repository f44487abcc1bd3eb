"""Small crops on which parent and candidate are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_histoseg.core.box import Box
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.learning.fields import Field
from napari_histoseg.learning.gate import Score, ScoreKind
from napari_histoseg.learning.guard import GuardTile
from napari_histoseg.learning.holdout import Region
from napari_histoseg.learning.metrics import Matrix, dice, overall_accuracy
from napari_histoseg.models.intake import Intake
from napari_histoseg.models.predictor import IMAGENET_MEAN, IMAGENET_SD
from napari_histoseg.models.spec import Normalisation

_CONTEXT_PX = 64
_MAX_PROBES = 96
_RARE = 0.02


@dataclass(frozen=True, eq=False)
class Probe:
    """A crop whose labelled pixels are scored.

    Parameters
    ----------
    kind : str
        The score it belongs to.
    pixels : ndarray of uint8, shape (h, w, 3)
    labels : ndarray of uint8, shape (h, w)
        Output channel, ``IGNORE`` where the pixel does not count.
    """

    kind: ScoreKind
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def correction_probes(
    fields: Sequence[Field], regions: Sequence[Region], held_out: Sequence[NDArray[np.bool_]], seed: int
) -> list[Probe]:
    """Held-out corrections and held-out verified pixels; without held-out corrections, those that were learned from."""
    probes: list[Probe] = []
    kinds: tuple[tuple[ScoreKind, bool, bool], ...] = (
        ("corrections", True, True),
        ("verified", False, True),
        ("seen corrections", True, False),
    )
    for kind, is_edit, is_held in kinds:
        if kind == "seen corrections" and any(p.kind == "corrections" for p in probes):
            continue
        found = []
        for region in regions:
            field, held = fields[region.field], held_out[region.field]
            trust = field.edited > field.verified if is_edit else field.verified >= np.maximum(field.edited, 1e-6)
            probe = _probe(region, field, trust & (held if is_held else ~held), kind)
            if probe is not None:
                found.append(probe)
        probes += sampled(found, seed)
    return probes


def folder_probes(fields: Sequence[Field], regions: Sequence[Region], seed: int) -> list[Probe]:
    """Every labelled pixel of reference images."""
    found = [_probe(r, fields[r.field], np.ones(fields[r.field].box.shape, bool), "folder") for r in regions]
    return sampled([probe for probe in found if probe is not None], seed)


def agreement_probes(guards: Sequence[GuardTile]) -> list[Probe]:
    """The parent's own answer where nobody has corrected it."""
    return [
        Probe("agreement", g.pixels, np.where(g.weight > 0, g.soft.argmax(axis=0), IGNORE).astype(np.uint8))
        for g in guards
        if g.kind != "restained"
    ]


def sampled(probes: list[Probe], seed: int) -> list[Probe]:
    """All probes, or a seeded choice of them when there are very many."""
    if len(probes) <= _MAX_PROBES:
        return probes
    chosen = np.random.default_rng(seed).choice(len(probes), _MAX_PROBES, replace=False)
    return [probes[k] for k in sorted(chosen)]


def _probe(region: Region, field: Field, counts: NDArray[np.bool_], kind: ScoreKind) -> Probe | None:
    inner = region.box.relative_to(field.box)
    crop = inner.pad(_CONTEXT_PX).clip(field.box.shape)
    labels = np.full(crop.shape, IGNORE, np.uint8)
    place = inner.relative_to(crop).slices
    labels[place] = np.where(counts, field.labels, np.uint8(IGNORE))[inner.slices]
    if (labels == IGNORE).all():
        return None
    return Probe(kind, field.pixels[crop.slices], labels)


def normalised(image: Tensor, normalisation: Normalisation) -> Tensor:
    """Images (N, 3, H, W) in 0..1 as a network with that normalisation wants them."""
    if normalisation == "unit":
        return image
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_SD))
    return (image - mean) / std


@torch.inference_mode()
def probabilities(
    model: nn.Module, pixels: NDArray[np.uint8], *, intake: Intake, normalisation: Normalisation
) -> NDArray[np.float32]:
    """Class probabilities of one crop.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    pixels : ndarray of uint8, shape (h, w, 3)
    intake : Intake
        Sides are mirrored up to what it takes and cut again; a crop larger than a network's only size is cut up.

    Returns
    -------
    ndarray of float32, shape (C, h, w)
    """
    shape = pixels.shape[:2]
    if intake.input_px is not None and max(shape) > intake.input_px:
        boxes = list(Box.of_shape(shape).tiles(intake.input_px))
        parts = [probabilities(model, pixels[b.slices], intake=intake, normalisation=normalisation) for b in boxes]
        whole = np.empty((len(parts[0]), *shape), np.float32)
        for box, part in zip(boxes, parts, strict=True):
            whole[:, *box.slices] = part
        return whole
    device = next(model.parameters()).device
    filled = intake.filled(intake.surrounded(pixels))
    image = torch.from_numpy(np.require(filled, requirements=["C", "W"])).to(device).movedim(-1, 0)[None].float() / 255
    soft: Tensor = model(normalised(image, normalisation)).float().softmax(dim=1)
    result: NDArray[np.float32] = soft[0, :, : shape[0], : shape[1]].cpu().numpy()
    return result


def score(
    probes: Sequence[Probe], before: Sequence[NDArray[np.int64]], after: Sequence[NDArray[np.int64]]
) -> list[Score]:
    """One score per kind of probe.

    Parameters
    ----------
    probes : sequence of Probe
    before, after : sequence of ndarray, shape (C, C)
        Per probe, the confusion matrix (rows truth, columns answer) of parent and candidate.
    """
    scores = []
    for kind in dict.fromkeys(probe.kind for probe in probes):
        own = [k for k, probe in enumerate(probes) if probe.kind == kind]
        old, new = (np.sum([confusions[k] for k in own], axis=0) for confusions in (before, after))
        measure = overall_accuracy if kind == "agreement" else _mean_dice
        scores.append(Score(kind, measure(old), measure(new), len(own), int(new.sum())))
    return scores


def _mean_dice(matrix: Matrix) -> float:
    """Mean Dice over the classes that occur in the truth, but for rare ones, whose number is left to chance."""
    truth = matrix.sum(axis=1)
    return float(dice(matrix)[truth >= max(1, _RARE * truth.sum())].mean())
