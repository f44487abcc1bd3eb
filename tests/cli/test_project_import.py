"""Masks of other programs, by command: values, colours and names are mapped to classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cell_pictures import SHAPE, disks
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import CELLULARITY
from napari_histoseg.io.labels import write_labels
from napari_histoseg.io.masks import MOST_KINDS, WITHOUT_CLASS, guessed_classes, read_mask

Capture = pytest.CaptureFixture[str]
HALVES = np.where(np.arange(SHAPE[0])[:, None] < 30, 7, 200) * np.ones(SHAPE, np.uint8)


@pytest.fixture
def study(tmp_path: Path) -> str:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)).save(tmp_path / "tissue.png")
    path = str(tmp_path / "p")
    assert main(["project", "new", path, "--schema", "cellularity", "--mpp", "0.5", str(tmp_path / "tissue.png")]) == 0
    return path


def bring(study: str, *words: object) -> int:
    return main(["project", "import", study, "--image", "tissue", *map(str, words)])


def shown(study: str) -> np.ndarray:
    with Project.open(study, read_only=True) as opened:
        return opened.planes(opened.images[0].id).displayed()


def squares(path: Path, *names: str, kind: str = "annotation") -> Path:
    """A GeoJSON of one square of 10 px for each name, beside each other; an empty name is no class."""
    features = []
    for k, name in enumerate(names):
        ring = [[10 * k, 0], [10 * k + 10, 0], [10 * k + 10, 10], [10 * k, 10], [10 * k, 0]]
        properties = {"objectType": kind} | ({"classification": {"name": name}} if name else {})
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_values(study: str, tmp_path: Path, capsys: Capture) -> None:
    Image.fromarray(HALVES.astype(np.uint8)).save(tmp_path / "m.png")
    assert bring(study, "--labels", tmp_path / "m.png") == 1
    assert "--map" in capsys.readouterr().err
    assert bring(study, "--labels", tmp_path / "m.png", "--map", "7=malignant") == 0
    assert "left as they were: 200 (2400 px)" in capsys.readouterr().out
    assert (shown(study)[:30] == 3).all() and (shown(study)[30:] == IGNORE).all()
    assert bring(study, "--labels", tmp_path / "m.png", "--map", "7=normal", "--map", "200=1", "--verified") == 0
    assert (shown(study)[30:] == 1).all(), "a class by its number"
    assert bring(study, "--labels", tmp_path / "m.png", "--map", "8=normal") == 1
    assert "has no '8'; it has 7, 200" in capsys.readouterr().err


def test_colours_and_a_palette(study: str, tmp_path: Path) -> None:
    image = Image.fromarray((HALVES == 7).astype(np.uint8))
    image.putpalette([9, 9, 9, 0xD5, 0x5E, 0x00])
    image.save(tmp_path / "p.png")
    mask = read_mask(tmp_path / "p.png", SHAPE)
    assert [(kind.key, kind.color) for kind in mask.kinds] == [("0", "#090909"), ("1", "#d55e00")]
    image.convert("RGB").save(tmp_path / "m.png")
    assert bring(study, "--labels", tmp_path / "m.png", "--map", "#090909=normal", "--verified") == 0
    assert (shown(study)[:30] == 3).all() and (shown(study)[30:] == 2).all()


def test_own_files_are_known_by_name(tmp_path: Path) -> None:
    labels = (HALVES == 7).astype(np.uint8)
    write_labels(tmp_path / "m.tif", labels, file_format="tif", schema=CELLULARITY, mpp=None)
    mask = read_mask(tmp_path / "m.tif", SHAPE)
    assert [kind.name for kind in mask.kinds] == ["background", "lymphocyte"]
    np.testing.assert_array_equal(mask.labels(guessed_classes(mask, CELLULARITY)), labels)


def test_regions_and_cells_of_qupath(study: str, tmp_path: Path, capsys: Capture) -> None:
    regions = squares(tmp_path / "r.geojson", "Malignant", "Tumor", "")
    assert bring(study, "--labels", regions, "--map", "Tumor=malignant") == 0
    assert f"left as they were: {WITHOUT_CLASS} (100 px)" in capsys.readouterr().out
    assert (shown(study)[:10, :20] == 3).all() and (shown(study)[:10, 20:] == IGNORE).all()
    cells = squares(tmp_path / "c.geojson", "Immune", "", kind="detection")
    assert read_mask(cells, SHAPE).about == "cells" and read_mask(regions, SHAPE).about == "regions"
    assert bring(study, "--instances", cells) == 1
    assert "A cell has the class 'Immune'" in capsys.readouterr().err
    assert bring(study, "--instances", cells, "--map", "immune=lymphocyte", "--map", f"{WITHOUT_CLASS}=normal") == 0
    with Project.open(study, read_only=True) as opened:
        assert opened.cells(opened.images[0].id).counts() == {1: 1, 2: 1}


def test_what_a_file_looks_like(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", (disks() * 9).astype(np.uint16))
    assert read_mask(tmp_path / "cells.tif", SHAPE).about == "cells"
    blurred = np.tile(np.linspace(0, 255, SHAPE[1]).astype(np.uint8), (SHAPE[0], 1))
    Image.fromarray(np.stack([blurred] * 3, axis=2)).save(tmp_path / "blurred.png")
    mask = read_mask(tmp_path / "blurred.png", SHAPE)
    assert len(mask.kinds) == MOST_KINDS and "they get no class" in mask.notes[0]
    assert int((mask.codes == -1).sum()) == (SHAPE[1] - MOST_KINDS) * SHAPE[0]
