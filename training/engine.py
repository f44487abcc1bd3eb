"""The loop around the fit loop: validate, log, keep the best, checkpoint, stop early, live with little memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.inference.recover import is_out_of_memory
from napari_histoseg.learning.adabound import AdaBound, short_run_warning
from napari_histoseg.learning.batch import Batch
from napari_histoseg.learning.fit import FitStep, Loss, fit
from napari_histoseg.learning.freeze import Mode, train_mode
from napari_histoseg.learning.optim import WeightAverage
from training.checkpoint import BEST, CHECKPOINT, load_checkpoint, read_tensors, save_checkpoint, write_tensors
from training.control import Control
from training.distributed import OwnAverage, World, agree, for_world, global_loss, spread
from training.logs import RunLog, Voice

BeforeStep = Callable[[nn.Module, Any], Callable[[int], None]]
"""``before_step(model, optimizer)`` gives what is called with the number of each step, from 0, before it is taken."""

CHECKPOINT_EVERY_S = 120.0
_LOG_EVERY = 50


@dataclass(frozen=True, eq=False)
class Setup:
    """A run, made ready.

    Parameters
    ----------
    model : nn.Module
        On the CPU, with the weights to begin with.
    steps, validate_every : int
    batches : callable
        ``batches(first_step, parts)``: endless batches of this process from a step on, ``parts`` for each step.
    parts : int
        Batches of one step.
    most_parts : int
        Images of one step: as many parts as it can be cut into when the memory is too small.
    loss : callable
        ``loss(output, batch)``.
    make_optimizer : callable
        An optimiser of the network's parameters that learn.
    control : Control
        Learning rate, best weights and early stop.
    validate : callable
        Numbers of a network in evaluation mode on images that steer.
    before_step : callable, optional
    stages : tuple of int
        Steps before which ``before_step`` changes what learns.
    average : float
        Decay of the running average; 0 keeps none.
    clip_norm : float or None
    mode : callable
    autocast_on_cpu : bool
        Compute in bfloat16 on the CPU as well; on graphics cards that can, it is always done.
    """

    model: nn.Module
    steps: int
    validate_every: int
    batches: Callable[[int, int], Iterator[Batch]]
    parts: int
    most_parts: int
    loss: Loss
    make_optimizer: Callable[[nn.Module], Any]
    control: Control
    validate: Callable[[nn.Module], dict[str, float]]
    before_step: BeforeStep | None = None
    stages: tuple[int, ...] = ()
    average: float = 0.0
    clip_norm: float | None = None
    mode: Mode = train_mode
    autocast_on_cpu: bool = False


def train(setup: Setup, out: Path, *, world: World, resume: bool, voice: Voice) -> dict[str, Tensor]:
    """Train to the end of the plan; returns the weights to keep, on the CPU.

    Parameters
    ----------
    setup : Setup
    out : Path
        Folder of the run, for log and checkpoints.
    world : World
    resume : bool
        Go on from the run's checkpoint; the result is that of a run that was never interrupted.
    voice : Voice
        Speaks in the first process.

    Raises
    ------
    InputError
        When the loss is no number any more.
    ResourceError
        When the memory is too small even for one image at a time.
    """
    return _Run(setup, out, world, voice).to_end(resume)


class _Run:
    def __init__(self, setup: Setup, out: Path, world: World, voice: Voice) -> None:
        self._setup = setup
        self._out = out
        self._world = world
        self._voice = voice
        self._control = setup.control
        model = setup.model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model = for_world(model, world)
        self._optimizer = setup.make_optimizer(self._model)
        self._average = OwnAverage(self._model, setup.average) if setup.average else None
        self._before = setup.before_step(self._model, self._optimizer) if setup.before_step else None
        self._parts = setup.parts
        self._saved = time.monotonic()

    def to_end(self, resume: bool) -> dict[str, Tensor]:
        if isinstance(self._optimizer, AdaBound) and (warning := short_run_warning(self._setup.steps)):
            self._voice.tell(warning)
        step = self._restore() if resume else 0
        log: AbstractContextManager[RunLog | None] = RunLog(self._out, step) if self._world.is_first else nullcontext()
        with log as rows:
            while step < self._setup.steps and not self._control.is_over:
                step = self._until_change(step, rows)
        if self._world.is_first:
            self._store(step)
        return self._result()

    def _until_change(self, step: int, log: RunLog | None) -> int:
        """Go on until the end, until other parts learn, or until a step needs more parts; returns the steps taken."""
        meter = _Meter()
        if self._before is not None:
            self._before(step)
        try:
            for taken in self._steps(step):
                step = taken.step
                self._after(taken, meter, log)
                if self._control.is_over:
                    break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._halve(error)
        return step

    def _steps(self, first: int) -> Iterator[FitStep]:
        setup = self._setup
        return fit(
            spread(self._model, self._world),
            setup.batches(first, self._parts),
            loss=global_loss(setup.loss, self._world),
            optimizer=self._optimizer,
            schedule=self._control.schedule,
            steps=min([setup.steps, *(stage for stage in setup.stages if stage > first)]),
            device=self._world.device,
            first_step=first,
            accumulate=self._parts,
            mode=setup.mode,
            before_step=self._before,
            average=self._average,
            clip_norm=setup.clip_norm,
            autocast_dtype=self._autocast_dtype(),
        )

    def _autocast_dtype(self) -> torch.dtype | None:
        if self._world.device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
        return torch.bfloat16 if self._setup.autocast_on_cpu else None

    def _after(self, taken: FitStep, meter: _Meter, log: RunLog | None) -> None:
        meter.losses.append(taken.loss)
        total = self._setup.steps
        self._voice.step(taken.step, total, taken.loss)
        if not math.isfinite(taken.loss):
            raise InputError(f"The loss is {taken.loss} at step {taken.step}; lower learning_rate or set clip_norm=1.")
        is_check = taken.step % self._setup.validate_every == 0 or taken.step == total
        if is_check or taken.step % _LOG_EVERY == 0:
            row: dict[str, Any] = {"step": taken.step, "loss": meter.mean(), "lr": taken.lr, "seconds": meter.seconds()}
            if is_check:
                row |= self._validate(taken.step, row["loss"])
            if log is not None:
                log.write(row)
            numbers = " ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "step")
            self._voice.tell(f"step {taken.step}/{total} {numbers}")
        if self._world.is_first and time.monotonic() - self._saved > CHECKPOINT_EVERY_S:
            self._store(taken.step)

    def _validate(self, step: int, train_loss: float) -> dict[str, float]:
        """Numbers of the first process, by which all processes steer alike."""
        numbers: dict[str, float] = {}
        value = math.nan
        if self._world.is_first:
            with _averaged(self._model, self._average) as model, torch.inference_mode():
                numbers = self._setup.validate(model)
            value = self._control.value(numbers | {"train_loss": train_loss})
        is_best = self._control.observe(agree(value, self._world))
        if is_best and self._control.keeps_best and self._world.is_first:
            write_tensors(self._out / BEST, self._weights(), {"step": step})
        return numbers

    def _weights(self) -> dict[str, Tensor]:
        return self._model.state_dict() if self._average is None else self._average.state()

    def _result(self) -> dict[str, Tensor]:
        if self._control.keeps_best and self._world.is_first:
            return read_tensors(self._out / BEST)[0]
        return {k: v.cpu() for k, v in self._weights().items()}

    def _restore(self) -> int:
        path = self._out / CHECKPOINT
        first = self._control.restore(path)
        if self._before is not None:
            self._before(first)
        load_checkpoint(path, model=self._model, optimizer=self._optimizer, average=self._average)
        return first

    def _store(self, step: int) -> None:
        save_checkpoint(
            self._out / CHECKPOINT,
            self._control.progress(step),
            model=self._model,
            optimizer=self._optimizer,
            average=self._average,
        )
        self._saved = time.monotonic()

    def _halve(self, error: Exception) -> None:
        """Cut steps into twice as many parts; several processes would lose count of each other."""
        most = self._setup.most_parts
        finer = [parts for parts in range(2 * self._parts, most + 1) if most % parts == 0]
        if not finer or self._world.size > 1:
            raise ResourceError(
                "The memory is too small for this network and image size; set a smaller batch_size, crop_px or width."
            ) from error
        self._parts = finer[0]
        error.__traceback__ = None
        self._optimizer.zero_grad(set_to_none=True)
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()
        self._voice.tell(f"The memory is too small: steps go on as {self._parts} smaller batches with the same images.")


class _Meter:
    """Mean loss since the last report, and seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.losses: list[float] = []

    def mean(self) -> float:
        mean = sum(self.losses) / len(self.losses)
        self.losses.clear()
        return mean

    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 1)


@contextmanager
def _averaged(model: nn.Module, average: WeightAverage | None) -> Iterator[nn.Module]:
    """The network in evaluation mode with its averaged weights; it has its own again afterwards, bit for bit."""
    model.eval()
    if average is None:
        yield model
        return
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(average.state())
    try:
        yield model
    finally:
        model.load_state_dict(before)
