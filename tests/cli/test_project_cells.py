"""Cells in and out of a project by command, and what its history tells."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cell_pictures import SHAPE, disks
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.project import Project

Capture = pytest.CaptureFixture[str]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def failure(capsys: Capture, *words: object) -> str:
    capsys.readouterr()
    assert run(*words) == 1
    return capsys.readouterr().err


@pytest.fixture
def study(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "tissue.png")
    assert (
        run("project", "new", tmp_path / "p", "--schema", "cellularity", "--mpp", "0.5", tmp_path / "tissue.png") == 0
    )
    tifffile.imwrite(tmp_path / "map.tif", disks().astype(np.uint16))
    lines = [f"{k},{('lymphocyte', 'Normal', '3')[k % 3]}" for k in range(1, 36)]
    (tmp_path / "classes.csv").write_text("\n".join(["id,class", *lines]))
    return tmp_path / "p"


def bring(study: Path, *more: object) -> list[object]:
    return ["project", "import", study, "--image", "tissue", "--instances", *more]


def test_cells_in_and_out(study: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(*bring(study, tmp_path / "map.tif", "--classes", tmp_path / "classes.csv", "--verified")) == 0
    assert "Brought 35 cells of" in capsys.readouterr().out
    with Project.open(study) as opened:
        image_id = opened.images[0].id
        cells = opened.cells(image_id)
        np.testing.assert_array_equal(cells.instances, disks())
        assert cells.counts() == {1: 11, 2: 12, 3: 12}
        assert cells.is_verified(cells.ids).all() and (cells.origin_of(cells.ids) == Origin.IMPORT).all()
        opened.set_class(image_id, [1], 1)
    out = tmp_path / "out"
    assert run("project", "export", study, "--format", "tif,csv,geojson,coco", "--out", out) == 0
    names = sorted(path.name for path in out.iterdir())
    expected = ["tissue.tif", "tissue_instances.tif", "tissue.geojson", "tissue_cells.geojson", "tissue_cells.csv"]
    assert names == sorted([*expected, "classes.csv", "coco.json"])
    np.testing.assert_array_equal(tifffile.imread(out / "tissue_instances.tif"), disks())
    rows = list(csv.DictReader((out / "tissue_cells.csv").read_text().splitlines()))
    assert (rows[0]["id"], rows[0]["class"], rows[0]["score"]) == ("1", "lymphocyte", "1.0000")
    assert float(rows[0]["area_um2"]) == (disks() == 1).sum() / 4
    assert len(json.loads((out / "coco.json").read_text())["annotations"]) == 35
    capsys.readouterr()
    assert run("project", "info", study, "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["cells"] == {
        "lymphocyte": 12,
        "normal": 11,
        "malignant": 12,
    }
    assert run("project", "new", tmp_path / "q", "--schema", "cellularity", tmp_path / "tissue.png") == 0
    assert run(*bring(tmp_path / "q", out / "tissue_cells.geojson")) == 0
    assert "which nobody has vouched for" in capsys.readouterr().out
    with Project.open(tmp_path / "q") as opened:
        cells = opened.cells(opened.images[0].id)
        np.testing.assert_array_equal(cells.instances, disks())
        assert cells.class_of(1)[0] == 1 and not cells.is_verified(cells.ids).any()


def test_a_second_file_takes_the_place_of_the_first_but_not_of_a_persons_word(
    study: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(*bring(study, tmp_path / "map.tif")) == 0
    assert "Cells without a class: 35; name it in a CSV" in capsys.readouterr().out
    with Project.open(study) as opened:
        image_id = opened.images[0].id
        opened.set_class(image_id, [8], 2)
    assert run(*bring(study, tmp_path / "map.tif")) == 0
    told = capsys.readouterr().out
    assert "Brought 34 cells of" in told and "in place of 34" in told
    assert "vouched for and that stay: 1; cells of the file that mostly lie on them, left out: 1." in told
    with Project.open(study) as opened:
        assert opened.cells(image_id).instances.max() == 70 and opened.cells(image_id).class_of(8)[0] == 2
        assert opened.undo(image_id) is not None
        np.testing.assert_array_equal(opened.cells(image_id).instances, disks())


def test_a_schema_with_one_kind_of_cell_needs_no_classes(tmp_path: Path, study: Path, capsys: Capture) -> None:
    assert run("project", "new", tmp_path / "n", "--schema", "nuclei", tmp_path / "tissue.png") == 0
    assert run(*bring(tmp_path / "n", tmp_path / "map.tif")) == 0
    assert "no class" not in capsys.readouterr().out
    with Project.open(tmp_path / "n") as opened:
        assert opened.cells(opened.images[0].id).counts() == {1: 35}


def test_mistakes_are_sentences_and_change_nothing(study: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "wrong.csv").write_text("id,class\n1,malignnt\n")
    assert "did you mean 'malignant'" in failure(
        capsys, *bring(study, tmp_path / "map.tif", "--classes", tmp_path / "wrong.csv")
    )
    tifffile.imwrite(tmp_path / "small.tif", disks()[1:].astype(np.uint16))
    assert "59 x 80 px, but the image is 60 x 80" in failure(capsys, *bring(study, tmp_path / "small.tif"))
    labels = ["project", "import", study, "--image", "tissue", "--labels", tmp_path / "map.tif"]
    assert "use it with --instances" in failure(capsys, *labels, "--classes", tmp_path / "wrong.csv")
    with pytest.raises(SystemExit):
        run("project", "import", study, "--image", "tissue")
    with Project.open(study) as opened:
        assert opened.edits() == () and len(opened.cells(opened.images[0].id)) == 0


def test_the_history_tells_who_did_what_and_how_long_it_took(
    study: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([1000.0, 1060.0, 1090.0, 5000.0])
    with Project.open(study) as opened:
        image_id = opened.images[0].id
        with monkeypatch.context() as patched:
            patched.setattr("napari_histoseg.core.journal.time.time", lambda: next(clock))
            opened.replace_cells(image_id, disks(), {}, tool="cellularity-net", origin=Origin.MODEL, author="ann")
            opened.set_class(image_id, [1, 2], 3, author="bob")
            opened.record(image_id, tool="paint", box=Box(0, 0, 5, 4), after=np.full((5, 4), 2, np.uint8), author="bob")
            opened.undo(image_id)
    capsys.readouterr()
    assert run("project", "history", study, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    (image,) = told["images"]
    assert (image["edits"], image["undone"], image["in_force"], image["active_minutes"]) == (4, 1, 2, 1.5)
    assert image["authors"][:2] == ["ann", "bob"] and told["damaged"] == []
    assert [edit["kind"] for edit in told["edits"]] == ["run", "edit", "edit", "undo"]
    assert [edit["cells"] for edit in told["edits"]] == [35, 2, None, None]
    assert told["edits"][2] | {"at": "", "author": ""} == {
        **{"edit": 3, "at": "", "image": "tissue.png", "author": "", "kind": "edit", "tool": "paint"},
        **{"y0": 0, "x0": 0, "y1": 5, "x1": 4, "pixels": 20, "cells": None, "of_edit": None},
    }
    assert told["edits"][0]["at"] == "1970-01-01T00:16:40+00:00"
    assert run("project", "history", study, "--image", "tissue", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["tool"] for row in rows] == ["cellularity-net", "class", "paint", "paint"] and rows[3]["of_edit"] == "3"
    assert run("project", "history", study) == 0
    shown = capsys.readouterr().out
    assert "cellularity-net" in shown and "tissue.png: 4 edits, 2 in force, 1.5 minutes, by ann, bob" in shown
    assert "no image 'x'" in failure(capsys, "project", "history", study, "--image", "x")


def test_an_export_tells_of_what_it_wrote_only(study: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(*bring(study, tmp_path / "map.tif")) == 0
    told = []
    for formats in ("png", "coco", "png,coco"):
        capsys.readouterr()
        assert run("project", "export", study, "--format", formats, "--out", tmp_path / "out") == 0
        told.append(capsys.readouterr().out.split(" to ")[0])
    assert told == [
        "Wrote the labels of 1 images",
        "Wrote the cells of 1 images",
        "Wrote the labels of 1 images and the cells of 1",
    ]


def test_a_class_that_the_schema_lost_stays_with_its_cells(study: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(*bring(study, tmp_path / "map.tif", "--classes", tmp_path / "classes.csv")) == 0
    header = json.loads((study / "project.json").read_text())
    header["schema"]["classes"] = [c for c in header["schema"]["classes"] if c["name"] != "malignant"]
    (study / "project.json").write_text(json.dumps(header))
    out = tmp_path / "out"
    assert run("project", "export", study, "--format", "csv,geojson,coco", "--out", out) == 0
    assert "2,class 3," in (out / "tissue_cells.csv").read_text()
    categories = {c["id"]: c["name"] for c in json.loads((out / "coco.json").read_text())["categories"]}
    assert categories[3] == "class 3"
    with Project.open(study) as opened:
        image_id = opened.images[0].id
        lost = opened.cells(image_id).ids[opened.cells(image_id).class_of(opened.cells(image_id).ids) == 3]
        assert len(lost) == 12
        assert opened.set_class(image_id, lost, 2) is not None and opened.undo(image_id) is not None
        assert (opened.cells(image_id).class_of(lost) == 3).all()
