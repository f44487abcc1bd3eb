"""Retrain on edits: a job that makes a candidate from the parent and the corrections, and judges it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.schema import IGNORE, LabelClass
from napari_histoseg.jobs.job import Job, Progress
from napari_histoseg.learning.adam import Adam
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.batch_norm import estimate_statistics
from napari_histoseg.learning.fields import Field, fields_of
from napari_histoseg.learning.fit import fit
from napari_histoseg.learning.freeze import train_mode, train_mode_frozen_statistics
from napari_histoseg.learning.gate import Score, Verdict, judge
from napari_histoseg.learning.guard import GuardTile, guard_tiles, pull_to_parent
from napari_histoseg.learning.holdout import Region, choose_held_out, field_regions, held_out_masks
from napari_histoseg.learning.losses import cross_entropy, distillation
from napari_histoseg.learning.metrics import Matrix
from napari_histoseg.learning.optim import WeightAverage, cosine
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.learning.probes import (
    Probe,
    agreement_probes,
    correction_probes,
    folder_probes,
    score,
)
from napari_histoseg.learning.regime import regime_of
from napari_histoseg.learning.samples import training_batches
from napari_histoseg.learning.snapshot import CARD_KEY, EditSnapshot, HeldOutBox, TrainingImage
from napari_histoseg.learning.studio import Studio
from napari_histoseg.models.outputs import NetworkOutput, auxiliary_outputs, main_output
from napari_histoseg.models.weights import Weights

_AVERAGE_DECAY = 0.95
_STATISTICS_BATCHES = 16
_MAX_FIELD_PX = 48_000_000
"""Pixels at model resolution that are kept in memory, at 13 bytes each."""


@dataclass(frozen=True, eq=False)
class FineTuneRequest:
    """One press of the button.

    Parameters
    ----------
    parent : Weights
        The active model; it is never changed.
    snapshot : EditSnapshot
    plan : FineTunePlan
    device : str
        For torch.
    is_beside_viewer : bool
        Compute with one thread, so that a window on a small machine stays live.
    """

    parent: Weights
    snapshot: EditSnapshot
    plan: FineTunePlan = field(default_factory=FineTunePlan)
    device: str = "cpu"
    is_beside_viewer: bool = False


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """The candidate and everything that is written on its card.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights of the candidate, on the CPU, with the keys of the parent.
    verdict : Verdict
    scores : tuple of Score
        Parent against candidate.
    held_out : tuple of HeldOutBox
        To be handed to the next round's snapshot.
    blend : float
        Share of the way from the parent's weights to the trained ones at which the candidate lies.
    losses : tuple of float
        One per step.
    seconds : float
    notes : tuple of str
        Sentences about what was left out.
    plan : FineTunePlan
    learned_until : int
        Number of the newest edit that was looked at.
    """

    state: Mapping[str, Tensor]
    verdict: Verdict
    scores: tuple[Score, ...]
    held_out: tuple[HeldOutBox, ...]
    blend: float
    losses: tuple[float, ...]
    seconds: float
    notes: tuple[str, ...]
    plan: FineTunePlan
    learned_until: int

    @property
    def steps(self) -> int:
        return len(self.losses)

    def to_card(self) -> dict[str, Any]:
        """JSON for the revision's card: verdict, reason, numbers by kind, and what the next round has to know."""
        return {
            "verdict": "promoted" if self.verdict.promoted else "refused",
            "reason": self.verdict.reason,
            "metrics": {s.kind: s.to_json() for s in self.scores},
            CARD_KEY: {
                "plan": self.plan.model_dump(),
                "held_out": [box.to_json() for box in self.held_out],
                "learned_until": self.learned_until,
                "blend": self.blend,
                "steps": self.steps,
                "seconds": round(self.seconds, 1),
                "notes": list(self.notes),
            },
        }


def finetune(request: FineTuneRequest) -> Job[FineTuneResult]:
    """Train a candidate on the snapshot and judge it; nothing is written.

    Only edited and verified pixels teach: everywhere else the loss and its gradient are exactly zero. Three named
    terms guard old skill: replay of what earlier rounds learned, the parent's answer as a soft target where nobody has
    corrected it (`guard_tiles`), and a pull to the parent's weights. Batch-norm statistics stay the parent's. The
    candidate lies between parent and trained weights (Wortsman et al. 2022), which keeps more old skill than either a
    smaller learning rate or fewer steps.

    A parent with random weights has nothing to keep: none of the three terms is used, the candidate is the trained
    network, and its batch-norm statistics are found anew at the end (`estimate_statistics`).

    Yields
    ------
    Progress
        With a ``FitStep`` as payload for every training step.

    Raises
    ------
    InputError
        When there is nothing to learn from, or the model cannot learn from painted labels.
    ResourceError
        When memory runs out.
    """
    started = time.monotonic()
    regime = regime_of(request.parent, request.plan)
    plan = regime.plan
    channels, notes = channels_of(request.parent.classes, request.snapshot)
    studio = Studio(request.parent, regime, device=request.device, is_beside_viewer=request.is_beside_viewer)
    parent = {key: value.detach().clone() for key, value in studio.model.state_dict().items()}
    yield Progress(0, plan.steps, "Collecting the corrections.")
    fields, regions = yield from _collected(request.snapshot.images, studio, channels)
    held_out = choose_held_out(
        fields, regions, share=plan.held_out_share, seed=plan.seed, remembered=request.snapshot.held_out
    )
    masks = held_out_masks(fields, held_out)
    if all((f.labels[~m] == IGNORE).all() for f, m in zip(fields, masks, strict=True)):
        raise InputError(
            "All corrections lie in regions that are held out for judging; paint some elsewhere, then retrain."
        )
    guards = [] if regime.is_untrained else (yield from _guards(studio, request.snapshot.others, fields))
    reference = yield from _collected(request.snapshot.reference, studio, channels)
    probes = correction_probes(fields, regions, masks, plan.seed) + agreement_probes(guards)
    probes += folder_probes(*reference, plan.seed)
    before = yield from studio.confusions(probes, done=0)
    batches = training_batches(
        fields,
        regions,
        masks,
        guards,
        plan=plan,
        num_classes=len(request.parent.classes),
        context_px=regime.intake.context_px,
    )
    losses, trained = yield from _trained(studio, studio.ready(batches), parent)
    state, blend, scores, verdict = yield from _candidate(studio, probes, before, parent, trained)
    cpu = {key: value.cpu() for key, value in state.items()}
    return FineTuneResult(
        cpu,
        verdict,
        tuple(scores),
        held_out,
        blend,
        tuple(losses),
        time.monotonic() - started,
        (*regime.notes, *notes),
        plan,
        request.snapshot.learned_until,
    )


def channels_of(classes: Sequence[LabelClass], snapshot: EditSnapshot) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Lookup from the review's class ids to the model's channels, and a sentence on what the model cannot learn.

    Raises
    ------
    InputError
        When no vouched-for pixel has a class of the model.
    """
    own = {c.name.casefold(): k for k, c in enumerate(classes)}
    channels = np.full(256, IGNORE, np.uint8)
    for c in snapshot.classes:
        known = (own[name.casefold()] for name in (c.name, *c.former) if name.casefold() in own)
        channels[c.id] = next(known, IGNORE)
    counts = np.zeros(256, np.int64)
    for item in snapshot.images:
        counts += np.bincount(item.labels[item.state > 0], minlength=256)
    if counts[:IGNORE].sum() == 0:
        raise InputError("There are no corrections to learn from yet; paint over some mistakes, then retrain.")
    foreign = [c for c in snapshot.classes if counts[c.id] and channels[c.id] == IGNORE]
    names = ", ".join(f"'{c.name}' ({counts[c.id]} px)" for c in foreign)
    has = ", ".join(c.name for c in classes)
    if counts[channels != IGNORE].sum() == 0:
        raise InputError(f"The model has no class {names}; it knows {has}. Choose a model that has it, then retrain.")
    return channels, ((f"Left out, since the model has no such class: {names}.",) if foreign else ())


def _collected(
    images: Sequence[TrainingImage], studio: Studio, channels: NDArray[np.uint8]
) -> Generator[Progress, None, tuple[list[Field], list[Region]]]:
    """Fields and regions of the images, the ones with new corrections first, as many as memory allows."""
    plan = studio.plan
    fields: list[Field] = []
    regions: list[Region] = []
    room_px = _MAX_FIELD_PX
    for item in sorted(images, key=lambda item: item.learned is not None and not (item.state[~item.learned] > 0).any()):
        fields_found = fields_of(item, channels=channels, mpp=studio.mpp, margin_px=plan.tile_px // 2)
        for found in map(studio.regime.surrounded, fields_found):
            room_px -= found.box.area
            if fields and room_px < 0:
                return fields, regions
            yield Progress(0, plan.steps, f"Collecting the corrections of '{item.image.name}'.")
            regions += field_regions(len(fields), found)
            fields.append(found)
            yield Progress(0, plan.steps, f"Collecting the corrections of '{item.image.name}'.")
    return fields, regions


def _guards(
    studio: Studio, others: Sequence[ImageRef], fields: Sequence[Field]
) -> Generator[Progress, None, list[GuardTile]]:
    tiles = guard_tiles(
        others,
        fields,
        mpp=studio.mpp,
        tile_px=studio.regime.intake.input_px or 2 * studio.plan.tile_px,
        probabilities=studio.probabilities,
        seed=studio.plan.seed,
    )
    guards: list[GuardTile] = []
    for tile in tiles:
        guards.append(tile)
        yield Progress(0, studio.plan.steps, "Asking the parent what it says elsewhere.")
    return guards


def _trained(
    studio: Studio, batches: Iterator[Batch], parent: Mapping[str, Tensor]
) -> Generator[Progress, None, tuple[list[float], dict[str, Tensor]]]:
    """Losses of all steps and the running average of the trained weights, ready for evaluation."""
    plan, model = studio.plan, studio.model
    average = WeightAverage(model, _AVERAGE_DECAY)
    optimizer = Adam(model.parameters(), lr=plan.learning_rate)
    started, limit_s = time.monotonic(), 60 * plan.minutes
    smooth = cosine(steps=plan.steps, warmup=min(10, plan.steps // 4))

    def schedule(step: int) -> float:
        spent = (time.monotonic() - started) / limit_s
        return smooth(step if spent * plan.steps <= step else int(min(1.0, spent) * plan.steps))

    def loss(output: NetworkOutput, batch: Batch) -> Tensor:
        value = finetune_loss(main_output(output), batch, plan)
        aux = [finetune_loss(logits, batch, plan) for logits in auxiliary_outputs(output)]
        value = value + torch.stack(aux).mean() if aux else value
        return value + plan.anchor * pull_to_parent(model, parent)

    loop = fit(
        model,
        batches,
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        steps=plan.steps,
        device=studio.device,
        mode=train_mode if studio.regime.is_untrained else train_mode_frozen_statistics,
        average=average,
        clip_norm=1.0,
    )
    losses: list[float] = []
    try:
        while time.monotonic() - started < limit_s:
            with studio.at_work():
                step = next(loop, None)
            if step is None:
                break
            losses.append(step.loss)
            yield Progress(step.step, step.total, f"Step {step.step} of {step.total}, loss {step.loss:.3f}.", step)
    finally:
        loop.close()
    model.load_state_dict(average.state())
    if studio.regime.is_untrained:
        yield from _statistics(studio, batches, done=len(losses))
    return losses, {key: value.clone() for key, value in model.state_dict().items()}


def _statistics(studio: Studio, batches: Iterator[Batch], *, done: int) -> Iterator[Progress]:
    """Find the batch-norm statistics of the trained network on a few more batches."""
    images = (next(batches).image.to(studio.device) for _ in range(_STATISTICS_BATCHES))
    loop = estimate_statistics(studio.model, images)
    while True:
        with studio.at_work():
            seen = next(loop, None)
        if seen is None:
            return
        yield Progress(done, studio.plan.steps, f"Settling the network, {seen} of {_STATISTICS_BATCHES}.")


def finetune_loss(logits: Tensor, batch: Batch, plan: FineTunePlan) -> Tensor:
    """Cross-entropy on vouched-for pixels plus the weighted distance from the parent's answer on guard pixels."""
    value = cross_entropy(logits, batch.labels, weight=batch.weight)
    if batch.soft is not None and batch.soft_weight is not None and plan.distill_weight > 0:
        value = value + plan.distill_weight * distillation(logits, batch.soft, weight=batch.soft_weight)
    return value


def _candidate(
    studio: Studio,
    probes: Sequence[Probe],
    before: Sequence[Matrix],
    parent: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
) -> Generator[Progress, None, tuple[dict[str, Tensor], float, list[Score], Verdict]]:
    """The planned blend, or the one half as far from the parent when the gate refuses the first."""
    plan = studio.plan
    for share in (plan.blend, plan.blend / 2):
        state = blended(parent, trained, share)
        studio.model.load_state_dict(state)
        after = yield from studio.confusions(probes, done=plan.steps)
        scores = score(probes, before, after)
        verdict = judge(scores, tolerance=plan.tolerance, max_change=plan.max_change)
        if verdict.promoted:
            break
    return state, share, scores, verdict


def blended(parent: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights ``share`` of the way from the parent's to the trained ones."""
    return {
        key: torch.lerp(old, trained[key], share) if old.is_floating_point() else old.clone()
        for key, old in parent.items()
    }
