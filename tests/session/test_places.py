"""The memory of recent projects is a convenience: damage to it costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_histoseg.core.errors import ProjectError
from napari_histoseg.session import places


def test_new_paths_are_free() -> None:
    folder = places.projects_folder()
    first = places.new_project_path(folder)
    first.mkdir()
    second = places.new_project_path(folder)
    assert second != first and second.parent == first.parent and second.suffix == ".histoseg"


def test_recent_projects_are_the_latest_that_exist(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.histoseg" for k in range(places.RECENT + 3)]
    for path in paths:
        path.mkdir()
        places.remember_project(path)
    places.remember_project(paths[5])
    assert places.recent_projects()[:2] == (paths[5], paths[-1])
    assert len(places.recent_projects()) == places.RECENT
    paths[5].rmdir()
    assert places.recent_projects()[0] == paths[-1]


def test_images_are_found_in_their_project(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    places.remember_image("abc", tmp_path / "p")
    assert places.project_of_image("abc") == tmp_path / "p"
    assert places.project_of_image("xyz") is None
    (tmp_path / "p").rmdir()
    assert places.project_of_image("abc") is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"projects": 3, "images": []}', "\x00"])
def test_damage_is_forgotten(user_folder: Path, tmp_path: Path, content: str) -> None:
    user_folder.mkdir()
    (user_folder / "recent.json").write_text(content)
    assert places.recent_projects() == ()
    assert places.project_of_image("abc") is None
    places.remember_project(tmp_path)
    assert places.recent_projects() == (tmp_path,)


def test_a_home_that_cannot_be_written_is_no_hindrance(user_folder: Path, tmp_path: Path) -> None:
    user_folder.write_text("a file where a folder should be")
    places.remember_project(tmp_path)
    assert places.recent_projects() == ()
    with pytest.raises(ProjectError, match="cannot be made"):
        places.projects_folder()
