"""The commands that write cells: files, columns, refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.io.labels import read_labels

NUCLEUS, STROMA = (70, 40, 130), (225, 150, 195)
PLACES = [(30, 30), (30, 90), (80, 60), (120, 120), (120, 30)]


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """Five dark disks of radius 10 on pink."""
    pixels = np.full((150, 150, 3), STROMA, np.uint8)
    y, x = np.mgrid[:150, :150]
    for cy, cx in PLACES:
        pixels[(y - cy) ** 2 + (x - cx) ** 2 <= 100] = NUCLEUS
    path = tmp_path / "nuclei.png"
    Image.fromarray(pixels).save(path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predict_words(image: Path, out: Path) -> list[object]:
    return ["predict", image, "--model", "haematoxylin_watershed", "--mpp", "0.25", "--device", "cpu", "--out", out]


def test_predict_writes_instances_and_a_table(nuclei: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(*predict_words(nuclei, out), "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["inputs"]
    assert entry["outputs"] == ["nuclei.tif", "nuclei_instances.tif", "nuclei_cells.csv"] and entry["cells"] == 5
    assert not (out / "nuclei_probabilities.tif").exists()
    instances = tifffile.imread(out / "nuclei_instances.tif")
    assert instances.dtype == np.uint32 and set(np.unique(instances)) == set(range(6))
    assert ((instances > 0) <= (read_labels(out / "nuclei.tif") == 1)).all()
    rows = rows_of(out / "nuclei_cells.csv")
    assert list(rows[0])[:6] == ["id", "class", "x", "y", "area_um2", "score"]
    assert {(round(float(r["y"])), round(float(r["x"]))) for r in rows} == set(PLACES)
    for row in rows:
        y, x = round(float(row["y"])), round(float(row["x"]))
        assert instances[y, x] == int(row["id"]) and row["class"] == "nucleus"
        assert float(row["area_um2"]) == pytest.approx((instances == int(row["id"])).sum() * 0.0625, abs=1e-3)
        assert 0.5 < float(row["score"]) <= 1 and float(row["haematoxylin"]) > 0.5


def test_a_region_holds_the_cells_inside(nuclei: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*predict_words(nuclei, out), "--roi", "0,0,60,150") == 0
    assert len(rows_of(out / "nuclei_cells.csv")) == 2


def test_two_images_that_would_write_the_same_file_are_refused(
    nuclei: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = nuclei.with_name("nuclei_instances.png")
    other.write_bytes(nuclei.read_bytes())
    assert run("predict", other, *predict_words(nuclei, tmp_path / "out")[1:]) == 1
    assert "both write 'nuclei_instances.tif'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """One point for each disk, of two classes."""
    path = tmp_path / "points.csv"
    kinds = ["tumour", "lymphocyte", "tumour", "tumour", "lymphocyte"]
    path.write_text("x,y,class\n" + "".join(f"{x},{y},{k}\n" for (y, x), k in zip(PLACES, kinds, strict=True)))
    return path


@pytest.mark.parametrize("mode", ["marker", "contour"])
def test_cells_grow_from_points(
    nuclei: Path, points: Path, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    points.write_text(points.read_text() + "500,20,tumour\n")
    assert run("cells", nuclei, "--points", points, "--mode", mode, "--mpp", "0.25", "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["points"], told["cells"], told["outside"], told["doubled"]) == (6, 5, 1, 0)
    assert told["per_class"] == {"tumour": 3, "lymphocyte": 2}
    labels, instances = read_labels(out / "nuclei.tif"), tifffile.imread(out / "nuclei_instances.tif")
    assert [labels[place] for place in PLACES] == [1, 2, 1, 1, 2]
    assert [instances[place] for place in PLACES] == [1, 2, 3, 4, 5]
    rows = rows_of(out / "nuclei_cells.csv")
    assert [row["class"] for row in rows] == ["tumour", "lymphocyte", "tumour", "tumour", "lymphocyte"]
    assert all(float(row["area_um2"]) == pytest.approx(np.pi * 2.5**2, rel=0.25) for row in rows)


def test_a_schema_gives_the_numbers(nuclei: Path, points: Path, tmp_path: Path) -> None:
    points.write_text("x,y,class\n30,30,malignant\n90,30,lymphocyte\n")
    out = tmp_path / "out"
    words = ["cells", nuclei, "--points", points, "--mpp", "0.25", "--out", out]
    assert run(*words, "--schema", "cellularity", "--unlabelled", "ignore") == 0
    labels = read_labels(out / "nuclei.tif")
    assert (labels[30, 30], labels[30, 90], labels[120, 120], labels[60, 120]) == (3, 1, 255, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x,y\n1,2\n", "has no column 'class'"),
        ("x,y,class\n1,2,a\n1,two,a\n", "Line 3 of"),
        ("x,y,class\n1,nan,a\n", "Line 2 of"),
        ("x,y,class\n1,2,\n", "Line 2 of"),
        ("x,y,class\n", "holds no points"),
        ("x,y,class\n1,2,background\n", "class 0"),
    ],
)
def test_what_is_no_list_of_points_is_refused(
    nuclei: Path, tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    assert run("cells", nuclei, "--points", path, "--mpp", "0.25", "--out", tmp_path / "out") == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_misspelt_class_is_answered_with_the_near_one(
    nuclei: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x,y,class\n30,30,malignent\n")
    words = ["cells", nuclei, "--points", path, "--mpp", "0.25", "--out", tmp_path / "out"]
    assert run(*words, "--schema", "cellularity") == 1
    assert "did you mean 'malignant'?" in capsys.readouterr().err


def test_the_resolution_must_be_known(
    nuclei: Path, points: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cells", nuclei, "--points", points, "--out", tmp_path / "out") == 1
    assert "--mpp" in capsys.readouterr().err
