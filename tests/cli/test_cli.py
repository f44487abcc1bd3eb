"""The commands: what they write, what they print, how they fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.core.box import Box
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.io.images import open_image
from napari_histoseg.io.labels import read_labels, write_labels
from napari_histoseg.jobs.job import run_job
from napari_histoseg.learning.gate import Verdict
from napari_histoseg.models.weights import resolve

Capture = pytest.CaptureFixture[str]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def answer(capsys: Capture, *words: object) -> Any:
    """The one JSON document on standard output."""
    capsys.readouterr()
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def failure(capsys: Capture, *words: object) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert run(*words) == 1
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("napari-histoseg: ")
    assert "Traceback" not in err + out
    return lines[0]


def predict_words(picture: Path, tiny: Path, out: Path) -> list[object]:
    return ["predict", picture, "--model", "unet", "--weights", tiny, "--mpp", "1", "--device", "cpu", "--out", out]


# predict and rerun


def test_predict_writes_what_the_job_predicts(
    picture: Path, tiny_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    told = answer(capsys, *predict_words(picture, tiny_weights, out), "--format", "tif,png,ome-zarr,geojson")
    request = PredictRequest(open_image(picture, 1.0), "unet", resolve("unet", tiny_weights), device="cpu")
    labels = run_job(predict(request)).labels
    assert labels is not None and len(np.unique(labels)) == 3
    np.testing.assert_array_equal(read_labels(out / "tissue.tif"), labels)
    np.testing.assert_array_equal(read_labels(out / "tissue.png"), labels)
    np.testing.assert_array_equal(zarr.open_group(str(out / "tissue.ome.zarr"), mode="r")["0"][:], labels)
    names = {
        f["properties"]["classification"]["name"] for f in json.loads((out / "tissue.geojson").read_text())["features"]
    }
    assert names == {c.name for c in EPITHELIUM.classes}
    (entry,) = told["inputs"]
    assert entry["content_id"] == request.image.content_id and entry["mpp"] == 1.0
    assert entry["shares"]["epithelium"] == pytest.approx((labels == 2).mean(), abs=1e-6)
    assert told["weights"]["sha256"] == request.weights.card.sha256
    assert {"torch", "numpy", "python", "napari-histoseg"} <= set(told["versions"])
    assert json.loads((out / "run.json").read_text())["inputs"] == told["inputs"]


def test_roi_and_probabilities(picture: Path, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*predict_words(picture, tiny_weights, out), "--roi", "10,20,90,120", "--probabilities") == 0
    labels = read_labels(out / "tissue.tif")
    assert (labels[10:90, 20:120] < 255).all() and (labels == 255).sum() == labels.size - 80 * 100
    probabilities = tifffile.imread(out / "tissue_probabilities.tif")
    assert probabilities.shape == (3, 192, 192)
    np.testing.assert_allclose(probabilities[:, 10:90, 20:120].astype(float).sum(axis=0), 1, atol=2e-3)


def test_rerun_is_the_same_to_the_last_bit(picture: Path, tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    assert run(*predict_words(picture, tiny_weights, out), "--probabilities") == 0
    assert run("rerun", out / "run.json", "--out", again) == 0
    for name in ("tissue.tif", "tissue_probabilities.tif"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    assert "does not hold the pixels of the first run" in failure(capsys, "rerun", out / "run.json")


def test_rerun_refuses_other_weights_and_tells_other_labels(
    picture: Path, tiny_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert run(*predict_words(picture, tiny_weights, out)) == 0
    path = out / "run.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps({**good, "weights": {**good["weights"], "sha256": "0" * 64}}))
    assert "are not those of the first run" in failure(capsys, "rerun", path)
    changed = {**good["inputs"][0], "labels_sha256": "0" * 64}
    path.write_text(json.dumps({**good, "inputs": [changed]}))
    assert run("rerun", path) == 1
    assert "differ from those of the first run" in capsys.readouterr().err
    path.write_text(json.dumps({**good, "format": 99}))
    assert "newer version" in failure(capsys, "rerun", path)
    path.write_text("[]")
    assert "no manifest" in failure(capsys, "rerun", path)
    assert "cannot be read" in failure(capsys, "rerun", tmp_path / "absent.json")


def test_predict_refuses_before_it_works(picture: Path, tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    words = predict_words(picture, tiny_weights, out)
    unknown = [w for w in words if w not in ("--mpp", "1")]
    assert "say it with --mpp" in failure(capsys, *unknown)
    (tmp_path / "b").mkdir()
    Image.open(picture).save(tmp_path / "b" / "tissue.png")
    assert "Two images are called 'tissue'" in failure(capsys, "predict", tmp_path / "b" / "tissue.png", *words[1:])
    beside = predict_words(picture, tiny_weights, tmp_path)
    assert "would replace the image" in failure(capsys, *beside, "--format", "png")
    assert "did you mean 'unet'" in failure(capsys, *[("unett" if w == "unet" else w) for w in words])
    assert "There is no image file" in failure(capsys, *[(tmp_path / "no.png" if w == picture else w) for w in words])
    assert "is not inside" in failure(capsys, *words, "--roi", "0,0,999,10")
    assert not (out / "run.json").exists()


def test_an_image_kept_in_a_project(tiny_weights: Path, tmp_path: Path) -> None:
    from napari_histoseg.core.image import image_from_array

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with Project.create(tmp_path / "p.histoseg", EPITHELIUM) as project:
        image_id = project.add_image(image_from_array(pixels, name="layer", mpp=2.0)).id
    out = tmp_path / "out"
    words = ["predict", f"{tmp_path / 'p.histoseg'}::{image_id}", "--model", "unet", "--weights", tiny_weights]
    assert run(*words, "--out", out) == 0
    assert run("rerun", out / "run.json") == 0
    assert read_labels(out / "layer.tif").shape == (64, 64)


@pytest.mark.skipif(sys.platform == "win32", reason="signals to another process are those of POSIX")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_takes_two_seconds_and_leaves_nothing(tmp_path: Path, signal_number: signal.Signals) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((2048, 2048, 3), np.uint8)).save(path)
    out = tmp_path / "out"
    words = ["predict", path, "--model", "unet", "--weights", "random", "--mpp", "0.25", "--tile", "256", "--out", out]
    code = "import sys; from napari_histoseg.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    deadline = time.monotonic() + 60
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    began = time.monotonic()
    process.send_signal(signal_number)
    assert process.stderr is not None
    assert any("stopped" in line for line in process.stderr)
    assert time.monotonic() - began < 3, "two seconds, and one for a busy machine"
    assert process.wait(timeout=20) == 1
    assert list(out.iterdir()) == []


# models


def test_models_has_the_shape_scripts_rely_on(capsys: Capture) -> None:
    models = {model["id"]: model for model in answer(capsys, "models")}
    unet = models["unet"]
    assert {"id", "title", "paper", "task", "classes", "mpp", "parameters", "weights"} <= set(unet)
    assert not unet["untrained"]
    assert unet["parameters"] == {"total": 31_032_005, "trainable": 31_032_005}
    assert set(unet["classes"][0]) == {"id", "name", "colour"}
    for weights in unet["weights"]:
        assert set(weights) == {"name", "present", "licence", "classes", "mpp", "metrics"}
    tasks = [model["task"] for model in models.values()]
    assert tasks == sorted(tasks, key=["semantic", "instance", "regression"].index)
    for model in models.values():
        has_weights = any(weights["present"] for weights in model["weights"])
        assert model["untrained"] == (not has_weights), model["id"]
    assert run("models") == 0
    told = capsys.readouterr().out
    assert "unet" in told
    assert "Tissue regions:" in told
    assert told.count("untrained") == sum(model["untrained"] for model in models.values())


# projects


@pytest.fixture
def project(picture: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "p.histoseg"
    assert run("project", "new", folder, "--schema", "epithelium", "--mpp", "1", picture) == 0
    return folder


def test_project_new_info_import_export(project: Path, tmp_path: Path, capsys: Capture) -> None:
    labels = np.full((192, 192), 255, np.uint8)
    labels[:96, :96] = 2
    labels[100:150] = 1
    write_labels(tmp_path / "truth.png", labels, file_format="png", schema=EPITHELIUM, mpp=None)
    assert run("project", "import", project, "--image", "tissue", "--labels", tmp_path / "truth.png", "--verified") == 0
    (image,) = answer(capsys, "project", "info", project)["images"]
    assert (image["name"], image["mpp"], image["edits"]) == ("tissue.png", 1.0, 1)
    assert image["shares"]["epithelium"] == pytest.approx((labels == 2).sum() / (labels < 255).sum())
    out = tmp_path / "exported"
    assert run("project", "export", project, "--format", "tif,csv", "--out", out) == 0
    np.testing.assert_array_equal(read_labels(out / "tissue.tif"), labels)
    rows = (out / "classes.csv").read_text().splitlines()
    assert rows[0] == "image,class_id,class,pixels,share,area_um2"
    assert rows[3] == f"tissue,2,epithelium,9216,{9216 / (9216 + 9600):.6f},9216.0"


def test_project_import_as_a_proposal_vouches_for_nothing(project: Path, tmp_path: Path) -> None:
    labels = np.full((192, 192), 2, np.uint8)
    write_labels(tmp_path / "guess.tif", labels, file_format="tif", schema=EPITHELIUM, mpp=None)
    assert run("project", "import", project, "--image", "tissue.png", "--labels", tmp_path / "guess.tif") == 0
    with Project.open(project) as opened:
        planes = opened.planes(opened.images[0].id)
        assert (planes.displayed() == 2).all() and planes.state.max() == 0


def test_project_mistakes(project: Path, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    small, foreign = tmp_path / "small.png", tmp_path / "foreign.png"
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(small)
    Image.fromarray(np.full((192, 192), 9, np.uint8)).save(foreign)
    into = ["project", "import", project, "--image", "tissue", "--labels"]
    assert "labels of the same size" in failure(capsys, *into, small)
    assert "label value 9" in failure(capsys, *into, foreign)
    assert "no image 'other'" in failure(capsys, "project", "import", project, "--image", "other", "--labels", small)
    assert "did you mean 'epithelium'" in failure(
        capsys, "project", "new", tmp_path / "q", "--schema", "epitelium", picture
    )
    assert failure(capsys, "project", "new", project, "--schema", "epithelium", picture)
    assert failure(capsys, "project", "info", tmp_path / "absent")
    assert not (tmp_path / "q").exists()


def test_project_with_a_schema_file(picture: Path, tmp_path: Path, capsys: Capture) -> None:
    schema = tmp_path / "own.json"
    classes = [{"id": 3, "name": "cartilage", "colour": "#112233"}]
    schema.write_text(json.dumps({"id": "own", "classes": classes}))
    assert run("project", "new", tmp_path / "q", "--schema", schema, picture) == 0
    info = answer(capsys, "project", "info", tmp_path / "q")
    assert info["schema"]["classes"][0]["name"] == "cartilage" and info["images"][0]["mpp"] is None
    schema.write_text("{")
    assert "cannot be read as JSON" in failure(capsys, "project", "new", tmp_path / "r", "--schema", schema, picture)


# finetune and revisions


@pytest.fixture
def corrected(project: Path) -> Path:
    with Project.open(project) as opened:
        box = Box(0, 0, 96, 96)
        opened.record(opened.images[0].id, tool="paint", box=box, after=np.full(box.shape, 2, np.uint8))
    return project


def finetune_words(project: Path, tiny: Path) -> list[object]:
    few = ["--steps", 2, "--tile-px", 32, "--batch-size", 1]
    return ["finetune", project, "--model", "unet", "--from", tiny, "--device", "cpu", *few]


def test_finetune_and_revisions(
    corrected: Path, tiny_weights: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_histoseg.learning.finetune.judge", lambda *_a, **_k: Verdict(True, "Better."))
    told = answer(capsys, *finetune_words(corrected, tiny_weights))
    expected = {"revision", "parent", "verdict", "reason", "heldout", "reference", "steps", "seconds"}
    assert expected <= set(told)
    assert (told["verdict"], told["parent"], told["steps"]) == ("promoted", "tiny", 2)
    assert set(told["heldout"]) == set(told["reference"]) == {"before", "after", "n"}
    (revision,) = answer(capsys, "revisions", corrected)
    assert revision["id"] == told["revision"] and revision["active"]

    monkeypatch.setattr("napari_histoseg.learning.finetune.judge", lambda *_a, **_k: Verdict(False, "Worse."))
    again = finetune_words(corrected, tiny_weights)
    again = again[:4] + again[6:]  # from what is active
    second = answer(capsys, *again)
    assert (second["verdict"], second["parent"]) == ("refused", told["revision"])
    assert [r["active"] for r in answer(capsys, "revisions", corrected)] == [True, False]
    assert not any(r["active"] for r in answer(capsys, "revisions", corrected, "--activate", "base"))
    changed = answer(capsys, "revisions", corrected, "--activate", second["revision"])
    assert [r["active"] for r in changed] == [False, True]
    assert "no revision 'r9'" in failure(capsys, "revisions", corrected, "--activate", "r9")


def test_finetune_mistakes(project: Path, corrected: Path, tiny_weights: Path, capsys: Capture) -> None:
    words = finetune_words(corrected, tiny_weights)
    assert "--steps 0" in failure(capsys, *words, "--steps", 0)
    assert "no weights 'nine'" in failure(capsys, *[("nine" if w == tiny_weights else w) for w in words])
    with Project.open(corrected):
        assert "open in another" in failure(capsys, *words)
    with Project.open(project) as opened:
        opened.undo(opened.images[0].id)
    assert "no corrections to learn from" in failure(capsys, *words)


# the rest


def test_doctor_finds_nothing_wrong_here(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    findings = answer(capsys, "doctor")
    assert {"Python", "Qt", "OpenGL", "torch", "GPU", "disk"} <= {f["name"] for f in findings}
    assert all(f["state"] in ("ok", "note") for f in findings)


def test_doctor_says_what_is_broken(capsys: Capture, monkeypatch: pytest.MonkeyPatch, user_folder: Path) -> None:
    user_folder.write_text("a file where a folder should be")
    assert run("doctor") == 1
    assert "problem disk" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["predict"],
        ["predict", "a.png", "--model", "unet", "--out", "o", "--roi", "1,2,3"],
        ["predict", "a.png", "--model", "unet", "--out", "o", "--format", "bmp"],
        ["predict", "a.png", "--model", "unet", "--out", "o", "--mpp", "0"],
        ["evaluate", "--task", "taste"],
        ["project", "burn", "x"],
        ["modls"],
        ["no-such-image.png"],
        ["--nonsense"],
    ],
)
def test_wrong_use_is_code_2(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_help_names_every_command(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("demo", "models", "predict", "rerun", "project", "finetune", "revisions", "evaluate", "doctor"):
        assert command in text
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0


def test_debug_shows_where_an_error_came_from(tmp_path: Path, capsys: Capture) -> None:
    assert main(["project", "info", str(tmp_path / "absent"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = "import sys, napari_histoseg.cli.parser; sys.exit(bool({'torch', 'napari', 'qtpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere every session has a screen")
@pytest.mark.parametrize("words", [[], ["demo"]])
def test_a_window_without_a_screen_is_refused_in_words(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert run(*words) == 1
    assert "no screen here" in capsys.readouterr().err
