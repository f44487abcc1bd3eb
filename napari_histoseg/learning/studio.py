"""The network at work: its device and threads, breaking off, and a sentence when the memory is full."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_histoseg.core.errors import ResourceError
from napari_histoseg.jobs.job import Progress
from napari_histoseg.jobs.lane import check_cancelled
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.metrics import Matrix, confusion_matrix
from napari_histoseg.learning.probes import Probe, normalised, probabilities
from napari_histoseg.learning.regime import Regime
from napari_histoseg.models.weights import Weights, build_network


class Studio:
    """A copy of the parent's network that is trained and asked.

    Parameters
    ----------
    parent : Weights
    regime : Regime
    device : str
    is_beside_viewer : bool
        Compute with one thread.

    Raises
    ------
    ResourceError
        When the network does not fit into memory.
    """

    def __init__(self, parent: Weights, regime: Regime, *, device: str, is_beside_viewer: bool) -> None:
        self.regime = regime
        self.plan = regime.plan
        self.device = device
        self.mpp = parent.mpp
        self._normalisation = parent.card.normalisation
        self._is_beside_viewer = is_beside_viewer
        with memory_sentence():
            network = build_network(parent)
            network.to(memory_format=torch.channels_last)  # a third faster on a CPU
            self.model = network.to(device)
        _heed_cancelling(self.model)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities (C, h, w) of a crop (h, w, 3)."""
        with self.at_work():
            return probabilities(self.model, pixels, intake=self.regime.intake, normalisation=self._normalisation)

    def confusions(self, probes: Sequence[Probe], *, done: int) -> Generator[Progress, None, list[Matrix]]:
        """Confusion matrix of the network's answer on each probe; ``done`` is how many steps have been taken."""
        found: list[Matrix] = []
        for probe in probes:
            answer = self.probabilities(probe.pixels)
            found.append(confusion_matrix(probe.labels, answer.argmax(axis=0), num_classes=len(answer)))
            yield Progress(done, self.plan.steps, f"Judging region {len(found)} of {len(probes)}.")
        return found

    def ready(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Batches with their images as the network wants them, and labels of the pixels that it speaks of."""
        for batch in batches:
            yield replace(self.regime.central(batch), image=normalised(batch.image, self._normalisation))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """One compute thread while the body runs beside a viewer, and afterwards as many as before."""
        threads = torch.get_num_threads()
        if self._is_beside_viewer:
            torch.set_num_threads(1)
        try:
            with memory_sentence():
                yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def memory_sentence() -> Iterator[None]:
    """Turn torch's and Python's ways to say that memory ran out into one ``ResourceError``."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(_FULL) from error
    except RuntimeError as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise ResourceError(_FULL) from error
        raise


_FULL = "The memory is full; lower 'Tiles per step' or 'Tile side' in the plan, or close other programs, then retrain."


def _heed_cancelling(model: nn.Module) -> None:
    """Let a cancelled job break off between two layers, forward and backward, of a network with slow steps."""

    def heed(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        check_cancelled()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda _gradient: check_cancelled())  # type: ignore[no-untyped-call]

    for layer in model.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_hook(heed)
