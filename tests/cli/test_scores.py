"""``predict`` and ``rerun`` with a model that scores fields of tissue."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from networks import small_weights
from PIL import Image
from tissue import tissue

from napari_histoseg.cli import main

MODEL = "cellularity_nasnet"


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    weights = small_weights(MODEL, tmp_path, mpp=0.5, encoder="test_efficientnet")
    Image.fromarray(tissue(640)).save(tmp_path / "a.png")
    Image.fromarray(np.full((64, 64, 3), 245, np.uint8)).save(tmp_path / "glass.png")
    images = [str(tmp_path / name) for name in ("a.png", "glass.png")]
    options = ["--model", MODEL, "--weights", str(weights.path), "--mpp", "0.5", "--device", "cpu"]
    return ["predict", *images, *options, "--out", str(tmp_path / "out")]


def test_scores_are_written_and_can_be_repeated(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*call, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert [entry["outputs"] for entry in manifest["inputs"]] == [["a_score.json"], ["glass_score.json"]]
    written = json.loads((tmp_path / "out" / "a_score.json").read_text())
    assert written["n"] == 4 == len(written["fields"]) and written["image"] == "a.png" and written["mpp"] == 0.5
    assert written["fields"][1]["box"] == [0, 128, 512, 640] and written["fields"][1]["tile"] == [0, 512, 512, 640]
    weights = [
        field["tissue"] * np.prod(np.diff(np.reshape(field["tile"], (2, 2)), axis=0)) for field in written["fields"]
    ]
    mean = np.average([field["score"] for field in written["fields"]], weights=weights)
    assert written["score"] == pytest.approx(mean, abs=1e-5) == manifest["inputs"][0]["score"]
    glass = json.loads((tmp_path / "out" / "glass_score.json").read_text())
    assert glass["score"] is None and glass["n"] == 0
    assert main(["rerun", str(tmp_path / "out" / "run.json"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "a_score.json").read_text() == (tmp_path / "out" / "a_score.json").read_text()
    printed = capsys.readouterr().out
    assert f"a.png: score {mean:.3f}, fields 4" in printed and "glass.png: no tissue, fields 0" in printed


def test_a_region_can_be_scored(call: list[str], tmp_path: Path) -> None:
    assert main([call[0], call[1], *call[3:], "--roi", "100,100,200,200"]) == 0
    (field,) = json.loads((tmp_path / "out" / "a_score.json").read_text())["fields"]
    assert field["tile"] == [100, 100, 200, 200] and field["box"] == [100, 100, 612, 612]


@pytest.mark.parametrize("option", [["--tta"], ["--tile", "256"], ["--probabilities"], ["--format", "png"]])
def test_options_of_maps_are_refused(call: list[str], option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*call, *option]) == 1
    assert f"has no {option[0]}; leave it out" in capsys.readouterr().err
