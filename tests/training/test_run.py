"""From archives to tested weights with the commands of ``python -m training``, on a made-up data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_histoseg.models.weights import load_state, read_weights
from training.cli import main
from training.logs import Silent
from training.plan import parse_settings
from training.recipe import Recipe, open_recipe
from training.run import run_recipe

_TINY = [
    "width=2",
    "batch_size=2",
    "validate_every=6",
    "warmup=2",
    "decay=4",
    "average=0.9",
    "learning_rate=0.01",
    "settle=3",
]


@pytest.fixture(scope="module")
def data(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("ebhi", "glas"):
        assert main(["prepare", name, str(archives), str(folder)]) == 0
    return folder


def fit(data: Path, out: Path, *arguments: str) -> int:
    return main(["fit", "epithelium_unet", "--data", str(data), "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert fit(data, out, "--set", "steps=12", *_TINY) == 0
    return out


def test_fit_writes_weights_with_a_card_and_a_log(finished: Path) -> None:
    weights = read_weights(finished / "unet-epithelium.safetensors")
    assert weights.card.variant == {"width": 2, "batch_norm": True}
    assert [c.name for c in weights.classes] == ["background", "other tissue", "epithelium"]
    assert "CC BY 4.0" in weights.card.attribution and "EBHI-Seg" in weights.card.attribution
    assert weights.card.self_test is not None
    assert load_file(finished / "unet-epithelium.safetensors")["head.weight"].dtype == torch.float16
    load_state(weights)
    rows = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [6, 12]
    assert all(row["n"] == 1 and 0 <= row["dice_mean"] <= 1 for row in rows)
    assert not list(finished.glob("*.partial"))


def test_a_run_stopped_early_and_lengthened_equals_the_whole_one(data: Path, finished: Path, tmp_path: Path) -> None:
    """Stopped before the decay by a shorter plan whose own decay has not begun either."""

    class StopError(Exception):
        pass

    class StopAtSeven(Silent):
        def step(self, done: int, total: int, loss: float) -> None:
            if done == 7:
                raise StopError

    recipe = open_recipe("epithelium_unet", parse_settings(["steps=30", *_TINY]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.engine.CHECKPOINT_EVERY_S", -1.0)
        with pytest.raises(StopError):
            run_recipe(recipe, data=data, out=tmp_path / "r", resume=False, voice=StopAtSeven())
    assert fit(data, tmp_path / "r", "--resume", "--set", "steps=12") == 0
    name = "unet-epithelium.safetensors"
    whole, parts = load_file(finished / name), load_file(tmp_path / "r" / name)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert json.loads((tmp_path / "r" / "run.json").read_text())["plan"]["batch_size"] == 2


def test_evaluate_prints_and_writes_test_numbers(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(finished), "--data", str(data), "--write"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["ebhi_test_n"] == 2 and numbers["glas_n"] == 2
    assert 0 <= numbers["glas_dice_pooled"] <= 1
    card = json.loads((finished / "unet-epithelium.json").read_text())
    assert card["metrics"]["ebhi_test_n"] == 2
    load_state(read_weights(finished / "unet-epithelium.safetensors"))


def test_a_weights_file_is_tested_by_the_recipe_that_is_named(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(finished / "unet-epithelium.safetensors"), "--data", str(data)]
    assert main(command) == 1
    assert "--recipe" in capsys.readouterr().err
    assert main([*command, "--recipe", "epithelium_unet"]) == 0
    assert json.loads(capsys.readouterr().out)["glas_n"] == 2


@pytest.mark.parametrize("name", ["epithelium", "epithelium/unetpp"])
def test_a_run_goes_on_as_the_experiment_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = open_recipe("epithelium/unetpp", {"steps": 9}).plan.model_dump(mode="json")
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "epithelium/unetpp", "plan": plan}))
    went_on: list[Recipe] = []
    monkeypatch.setattr("training.run.run_recipe", lambda recipe, **_: went_on.append(recipe))
    command = ["fit", name, "--data", str(tmp_path), "--out", str(tmp_path), "--resume", "--set", "seed=5"]
    assert main(command) == 0
    assert went_on[0].name == "epithelium/unetpp"
    assert went_on[0].plan.model_dump(mode="json") == plan | {"seed": 5}


@pytest.mark.parametrize("name", ["epithelium/unet", "epithelium_unet", "epi"])
def test_a_run_does_not_go_on_as_another_experiment(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "epithelium/unetpp", "plan": {}}))
    assert main(["fit", name, "--data", str(tmp_path), "--out", str(tmp_path), "--resume"]) == 1
    assert "holds a run of 'epithelium/unetpp'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "stepz=3"], "There is no setting 'stepz'; did you mean 'steps'?"),
        (["--set", "steps=0"], "Setting 'steps'"),
        (["--set", "steps"], "write it as key=value"),
        (["--resume"], "holds no run to go on with"),
    ],
)
def test_wrong_settings_are_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert fit(data, tmp_path / "new", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_run_is_not_overwritten(data: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(data, finished) == 1
    assert "already holds a run" in capsys.readouterr().err


def test_other_mistakes_have_a_sentence(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "epithelum_unet", "--data", str(data), "--out", str(tmp_path / "x")]) == 1
    assert "did you mean 'epithelium_unet'" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--data", str(data)]) == 1
    assert "holds no weights yet" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{")
    assert main(["compare", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "run.json is damaged" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["fit"])
    assert stop.value.code == 2


def test_datasets_are_listed_with_licence_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    assert "CC BY 4.0" in text and "https://figshare.com" in text and "for evaluation only" in text
