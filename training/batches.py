"""Batches of a run: every image depends on the seed, the step and its place in the step, and on nothing else.

So a run that was killed goes on with the images it would have had, several processes share the images of one, and a
batch that is halved for lack of memory is the same images in two parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import count

import torch
from torch import Generator, Tensor

from napari_histoseg.learning.batch import Batch
from napari_histoseg.models.predictor import IMAGENET_MEAN, IMAGENET_SD
from napari_histoseg.models.spec import Normalisation
from training.distributed import World
from training.material import Tile, Tiles, normalisation_of
from training.plan import Plan

Augment = Callable[[Batch, Generator], Batch]
"""Changes a batch of one image."""


class Batches:
    """Endless batches of tiles, shuffled anew in each epoch.

    Parameters
    ----------
    tiles : Tiles
    plan : Plan
    augment : callable
    world : World
        Only the share of this process is made.
    """

    def __init__(self, tiles: Tiles, plan: Plan, augment: Augment, world: World) -> None:
        self._tiles = tiles
        self._plan = plan
        self._augment = augment
        self._world = world
        self._normalisation = normalisation_of(plan)
        self._per_step = plan.batch_size * plan.accumulate
        self.steps_per_epoch = max(1, len(tiles) // self._per_step)

    def from_step(self, first: int, parts: int) -> Iterator[Batch]:
        """Batches from a step on, ``parts`` for each step; the seed of torch is set before each, for dropout."""
        plan, size = self._plan, self._per_step // parts
        places = ((step, slice(k * size, (k + 1) * size)) for step in count(first) for k in range(parts))
        for (step, slots), batch in _ahead(self._batch, places, plan.workers):
            torch.manual_seed(_seed(plan.seed, step, slots.start) + self._world.rank)
            yield batch

    def _batch(self, step: int, slots: slice) -> Batch:
        share = self._world.share(slots.stop - slots.start)
        samples = [self._sample(step, slots.start + k) for k in range(share.start, share.stop)]
        return join(samples, self._normalisation)

    def _sample(self, step: int, slot: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(len(self._tiles), self._plan.seed, epoch)
        index = int(order[(position * self._per_step + slot) % len(order)])
        generator = Generator().manual_seed(_seed(self._plan.seed, step, slot))
        tile = one(self._tiles[index])
        return replace(self._augment(tile, generator), score=tile.score)


def one(tile: Tile) -> Batch:
    """A batch of one tile."""
    pixels = torch.tensor(tile.image).permute(2, 0, 1)[None].float().div_(255)
    return Batch(pixels, torch.tensor(tile.truth).long()[None], score=torch.tensor([tile.score]))


def join(samples: Sequence[Batch], normalisation: Normalisation) -> Batch:
    """One batch of several, as the network wants it: 0..1 (``unit``), or less the mean of ImageNet."""
    joined = {f.name: [getattr(s, f.name) for s in samples] for f in fields(Batch)}
    batch = Batch(**{name: torch.cat(parts) for name, parts in joined.items() if parts[0] is not None})
    image = batch.image
    if normalisation == "imagenet":
        mean, sd = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_SD))
        image = (image - mean) / sd
    return replace(batch, image=image.contiguous(memory_format=torch.channels_last))


def _seed(seed: int, step: int, slot: int) -> int:
    return (seed * 1_000_003 + step) * 65_537 + slot


def _order(length: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(length, generator=Generator().manual_seed(seed * 7919 + epoch))


def _ahead(
    make: Callable[[int, slice], Batch], places: Iterator[tuple[int, slice]], workers: int
) -> Iterator[tuple[tuple[int, slice], Batch]]:
    """Batches in the order of their places, some made ahead by threads when there are workers."""
    if not workers:
        for place in places:
            yield place, make(*place)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[tuple[int, slice], Future[Batch]]] = deque()
        try:
            for place in places:
                waiting.append((place, pool.submit(make, *place)))
                if len(waiting) > workers:
                    ready, future = waiting.popleft()
                    yield ready, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
