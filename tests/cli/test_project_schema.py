"""Classes of a project changed, and the project made small, by command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import SHAPE, disks
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.project import Project

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A project with 35 malignant cells and labels of all classes."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)).save(tmp_path / "tissue.png")
    path = str(tmp_path / "p")
    assert main(["project", "new", path, "--schema", "cellularity", "--mpp", "0.5", str(tmp_path / "tissue.png")]) == 0
    with Project.open(path) as opened:
        image_id = opened.images[0].id
        opened.replace_cells(image_id, disks(), dict.fromkeys(range(1, 36), 3), tool="x", origin=Origin.IMPORT)
        opened.import_labels(image_id, np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint8).reshape(SHAPE) % 4, verified=True)
    return path


def test_everything_at_once(study: str, capsys: Capture) -> None:
    words = ["--add", "mitosis:#aa00ff:h", "--rename", "normal=benign", "--delete", "malignant", "--to", "lymphocyte"]
    assert main(["project", "schema", study, *words]) == 0
    told = capsys.readouterr().out
    assert "35 cells got another class" in told and "'malignant' was put into 'lymphocyte'" in told
    with Project.open(study) as opened:
        assert [c.name for c in opened.schema.classes] == ["background", "lymphocyte", "benign", "mitosis"]
        assert opened.cells(opened.images[0].id).counts() == {1: 35}
        assert opened.counts(opened.images[0].id).keys() == {0, 1, 2, 4}
    assert main(["project", "schema", study, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["history"]) == 3 and document["schema"]["retired"][0]["name"] == "malignant"


def test_keep_and_unknown(study: str, capsys: Capture) -> None:
    assert main(["project", "schema", study, "--delete", "malignant", "--to", "keep"]) == 0
    assert "'malignant' stays" in capsys.readouterr().out
    assert main(["project", "schema", study, "--delete", "malignant", "--to", "unknown"]) == 0
    with Project.open(study, read_only=True) as opened:
        assert opened.cells(opened.images[0].id).counts() == {255: 35}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--delete", "malignant"], "Say with --to"),
        (["--delete", "malignant", "--to", "nobody"], "no class 'nobody'"),
        (["--rename", "malignant"], "not of the form OLD=NEW"),
        (["--add", "x:blue"], "#rrggbb"),
        (["--key", "normal=e"], "cannot be the key"),
    ],
)
def test_wrong_words(study: str, capsys: Capture, words: list[str], said: str) -> None:
    assert main(["project", "schema", study, *words]) == 1
    assert said in capsys.readouterr().err


def test_a_small_project(study: str, capsys: Capture) -> None:
    assert main(["project", "compact", study]) == 0
    assert "undo reaches back to the beginning" in capsys.readouterr().out
    assert main(["project", "compact", study, "--keep-days", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["edits"] == 2
    with Project.open(study) as opened:
        assert opened.keep_days == 0 and not opened.can_undo(opened.images[0].id)
        assert opened.cells(opened.images[0].id).counts() == {3: 35}
    assert main(["project", "history", study, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["edits"]) == 2
    assert main(["project", "compact", study, "--keep-days", "-3"]) == 1
    assert main(["project", "compact", study, "--keep-all"]) == 0
    with Project.open(study, read_only=True) as opened:
        assert opened.keep_days is None
