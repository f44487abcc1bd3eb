"""A run that is killed, shared by processes or short of memory ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.models.weights import read_weights
from training.checkpoint import read_progress
from training.cli import main
from training.distributed import World
from training.engine import train
from training.experiment import Experiment, set_up
from training.logs import Silent, read_log
from training.recipe import open_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
ALONE = World(0, 1, torch.device("cpu"))

_SMALL = {
    "variant": {"width": 2},
    "crop_px": 32,
    "batch_size": 4,
    "steps": 8,
    "validate_every": 2,
    "schedule": {"name": "constant"},
    "average": 0,
    "tests": [],
}
# Everything that has a state: dropout, an adaptive optimiser, a falling learning rate, parts that begin to learn, the
# average of the weights.
_STATEFUL = {
    **_SMALL,
    "model": "vgg_fcn",
    "variant": {"width": 4, "dropout": 0.5},
    "optimizer": {"name": "adabound"},
    "schedule": {"name": "plateau", "patience": 0, "factor": 0.5},
    "freeze": ["features"],
    "freeze_epochs": 2,
    "accumulate": 2,
    "batch_size": 2,
    "average": 0.9,
    "monitor": "mean_iou",  # which rises, so that there is no improvement
    "steps": 14,
}


@pytest.fixture(scope="module")
def data(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    assert main(["prepare", "ebhi", str(archives), str(folder)]) == 0
    return folder


def settings(values: dict[str, object]) -> list[str]:
    return ["--set", *(f"{key}={json.dumps(value)}" for key, value in values.items())]


def command(data: Path, out: Path, values: dict[str, object], *more: str) -> list[str]:
    return ["fit", "epithelium", "--data", str(data), "--out", str(out), *settings(values), *more]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "epithelium-unet.safetensors")


_STOPS_IN_STEP_7 = """
import sys, time
import training.engine
from training.cli import main
from training.logs import Console
training.engine.CHECKPOINT_EVERY_S = 0
Console.step = lambda self, done, total, loss: time.sleep(600 if done == 7 else 0)
main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    assert main(command(data, tmp_path / "whole", _STATEFUL)) == 0
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", _STOPS_IN_STEP_7, *command(data, killed, _STATEFUL)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    checkpoint = killed / "checkpoint.safetensors"
    wait_for(lambda: checkpoint.exists() and read_progress(checkpoint).step == 6, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(["fit", "epithelium", "--data", str(data), "--out", str(killed), "--resume"]) == 0
    whole, parts = weights_of(tmp_path / "whole"), weights_of(killed)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    rows, others = read_log(killed), read_log(tmp_path / "whole")
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12, 14]
    assert [row["val_loss"] for row in rows] == [row["val_loss"] for row in others]
    assert len({row["lr"] for row in rows}) > 1, "the learning rate should have fallen"
    assert not list(killed.glob("*.partial"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float = 120) -> None:
    began = time.monotonic()
    while not condition():
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() - began < limit_s, "the run took no steps"
        time.sleep(0.02)


def test_two_processes_equal_one_with_the_same_global_batch(data: Path, tmp_path: Path) -> None:
    """Plain U-Net, since batch norm on CPUs is over the images of one process; the Dice term is over all images."""
    values = {**_SMALL, "variant": {"width": 2, "batch_norm": False}, "accumulate": 2, "average": 0.9, "steps": 6}
    assert main(command(data, tmp_path / "one", values)) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *command(data, tmp_path / "two", values, "--device", "cpu")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], abs=1e-5)
    # The files hold half precision, the checkpoints what was computed.
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert max(float((first[k] - second[k]).abs().max()) for k in first if k.startswith("model.")) < 1e-5
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2


class _Greedy(nn.Module):
    """Needs more memory than there is for more than one image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.training and len(image) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.network(image)


class _Listener(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)


def small_setup(data: Path, **values: object):
    experiment = open_recipe("epithelium", {**_SMALL, "batch_size": 3, "steps": 3, **values})
    assert isinstance(experiment, Experiment)
    return set_up(experiment.plan, data, ALONE)


def test_a_batch_too_large_is_halved_and_said_so(data: Path, tmp_path: Path) -> None:
    setup = small_setup(data)
    listener = _Listener()
    state = train(replace(setup, model=_Greedy(setup.model)), tmp_path, world=ALONE, resume=False, voice=listener)
    assert listener.lines[0] == ("The memory is too small: steps go on as 3 smaller batches with the same images.")
    assert [row["step"] for row in read_log(tmp_path)] == [2, 3]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_no_memory_even_for_one_image(data: Path, tmp_path: Path) -> None:
    class _Never(_Greedy):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    setup = small_setup(data)
    with pytest.raises(ResourceError, match="smaller batch_size, crop_px or width"):
        train(replace(setup, model=_Never(setup.model)), tmp_path, world=ALONE, resume=False, voice=Silent())


def test_a_loss_that_is_no_number_ends_the_run(data: Path, tmp_path: Path) -> None:
    setup = small_setup(data)
    broken = replace(setup, loss=lambda output, batch: output.sum() * float("nan"))
    with pytest.raises(InputError, match="lower learning_rate"):
        train(broken, tmp_path, world=ALONE, resume=False, voice=Silent())


def test_early_stop_keeps_the_best_weights(data: Path, tmp_path: Path) -> None:
    numbers = iter([3.0, 1.0, 2.0, 2.0, 0.0])
    setup = small_setup(data, keep="best", patience=2, validate_every=1, steps=5)
    train(
        replace(setup, validate=lambda network: {"val_loss": next(numbers)}),
        tmp_path,
        world=ALONE,
        resume=False,
        voice=Silent(),
    )
    rows = read_log(tmp_path)
    assert [row["val_loss"] for row in rows] == [3.0, 1.0, 2.0, 2.0]
    assert load_file(tmp_path / "best.safetensors").keys() == setup.model.state_dict().keys()


def test_the_run_folder_tells_how_to_get_it_again(data: Path, tmp_path: Path) -> None:
    assert main(command(data, tmp_path / "a", {**_SMALL, "steps": 2})) == 0
    facts = json.loads((tmp_path / "a" / "run.json").read_text())
    assert facts["recipe"] == "epithelium/unet" and facts["plan"]["variant"] == {"width": 2}
    assert facts["versions"]["torch"] == torch.__version__ and len(facts["data"]["index_sha256"]) == 64
    assert read_weights(tmp_path / "a" / "epithelium-unet.safetensors").card.variant == {"width": 2}
    assert list((tmp_path / "a" / "tensorboard").glob("events.*"))
