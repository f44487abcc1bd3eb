"""Acts on all cells of an image by command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cell_pictures import SHAPE, disks

from napari_histoseg.cli import main
from napari_histoseg.core.box import Box
from napari_histoseg.core.cell_patch import Origin
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.project import Project
from napari_histoseg.core.schemas import CELLULARITY

Capture = pytest.CaptureFixture[str]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def failure(capsys: Capture, *words: object) -> str:
    capsys.readouterr()
    assert run(*words) == 1
    return capsys.readouterr().err


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """35 cells, the first seven of them dark."""
    instances = disks()
    pixels = np.full((*SHAPE, 3), (235, 210, 225), np.uint8)
    pixels[instances > 0] = (150, 120, 190)
    pixels[(instances > 0) & (instances <= 7)] = (60, 30, 110)
    with Project.create(tmp_path / "p", CELLULARITY) as project:
        image_id = project.add_image(image_from_array(pixels, name="tissue", mpp=0.5)).id
        project.replace_cells(image_id, instances, {}, tool="model", origin=Origin.MODEL)
        project.edit_cells(image_id, Box(0, 0, 3, 3), np.full((3, 3), 36), tool="test", verified=False)
    return tmp_path / "p"


def test_acts_in_order_each_one_step(study: Path, capsys: Capture) -> None:
    words = ("project", "cells", study, "--image", "tissue")
    assert run(*words, "--delete-smaller", 5, "--grow", "-0.5", "--smooth", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [act["act"] for act in told["acts"]] == ["delete smaller", "grow", "smooth"]
    assert told["acts"][0]["cells_changed"] == 1 and told["acts"][1]["cells_changed"] == 35
    assert told["cells"] == 35 and told["per_class"] == {"unknown": 35}
    with Project.open(study) as project:
        image_id = project.images[0].id
        cells = project.cells(image_id)
        assert (cells.areas_px(cells.ids) < (disks() == 1).sum()).all()
        while project.edit_count(image_id) > 2:
            project.undo(image_id)
        np.testing.assert_array_equal(cells.instances[3:], disks()[3:])
        assert 36 in cells


def test_regions_and_back(study: Path, capsys: Capture) -> None:
    with Project.open(study) as project:
        image_id = project.images[0].id
        project.delete_cells(image_id, project.cells(image_id).ids)
        labels = np.zeros((20, 20), np.uint8)
        labels[3:9, 3:9] = CELLULARITY.classes[2].id
        project.record(image_id, tool="paint", box=Box(0, 0, 20, 20), after=labels)
    name = CELLULARITY.classes[2].name
    assert run("project", "cells", study, "--image", "tissue", "--from-regions", name, "--grow", 1, "--to-regions") == 0
    out = capsys.readouterr().out
    assert f"The image has 1 cells now: 1 {name}." in out and "To regions: " in out
    with Project.open(study) as project:
        assert (project.planes(image_id).displayed()[1, 4:8] == CELLULARITY.classes[2].id).all()


def test_a_class_for_similar_cells(study: Path, capsys: Capture) -> None:
    words = ("project", "cells", study, "--image", "tissue")
    name = CELLULARITY.classes[1].name
    assert run(*words, "--similar-to", "1,2", "--count", 5, "--class", name) == 0
    assert f"7 {name}" in capsys.readouterr().out
    with Project.open(study) as project:
        cells = project.cells(project.images[0].id)
        assert cells.ids[cells.class_of(cells.ids) == CELLULARITY.classes[1].id].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_cells_from_points(study: Path, tmp_path: Path, capsys: Capture) -> None:
    name = CELLULARITY.classes[1].name
    (tmp_path / "points.csv").write_text(f"x,y,class\n6,6,{name}\n18,6,{name}\n500,6,{name}\n")
    words = ("project", "cells", study, "--image", "tissue", "--points", tmp_path / "points.csv")
    assert run(*words, "--mode", "contour", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cells"] == 3 and told["per_class"] == {name: 2, "unknown": 1}, "what a person drew stays"
    assert len(told["acts"][0]["notes"]) == 1
    with Project.open(study) as project:
        image_id = project.images[0].id
        assert project.cells(image_id).points().ids.size == 2
        project.undo(image_id)
        assert len(project.cells(image_id)) == 36
    assert "--points" in failure(capsys, *words[:5], "--mode", "marker")


def test_what_is_wrong_is_said_and_nothing_changes(study: Path, capsys: Capture) -> None:
    words = ("project", "cells", study, "--image", "tissue")
    assert "nothing to do" in failure(capsys, *words)
    assert "belong together" in failure(capsys, *words, "--similar-to", "1", "--class", "x")
    assert "no class 'tumor'" in failure(capsys, *words, "--from-regions", "tumor")
    assert "no image 'liver'" in failure(capsys, "project", "cells", study, "--image", "liver", "--smooth")
    assert "less than a pixel" in failure(capsys, *words, "--grow", 0.1)
    assert "no cell 99" in failure(capsys, *words, "--similar-to", "99", "--count", 3, "--class", "background")
    with Project.open(study) as project:
        assert project.edit_count(project.images[0].id) == 2
