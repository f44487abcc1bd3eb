"""Old content or new, never a mixture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_histoseg.core import atomic
from napari_histoseg.core.atomic import publish_folder, write_bytes, write_json


def test_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"µm": 0.5})
    write_json(path, {"µm": 0.25})
    assert json.loads(path.read_text(encoding="utf-8")) == {"µm": 0.25}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("fails", ["os.fsync", "pathlib.Path.replace"])
def test_a_failure_keeps_the_old_content_and_leaves_nothing(tmp_path: Path, monkeypatch, fails: str) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fails, fail)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch) -> None:
    steps: list[str] = []
    fsync, replace = atomic.os.fsync, Path.replace
    monkeypatch.setattr("os.fsync", lambda handle: (steps.append("sync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    write_bytes(tmp_path / "a", b"new")
    assert steps == ["sync", "rename", "sync"]


def test_a_folder_is_published_whole(tmp_path: Path) -> None:
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "file").write_text("x")
    publish_folder(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "deep" / "file").read_text() == "x"
    assert not (tmp_path / "new").exists()


def test_a_published_folder_is_never_replaced(tmp_path: Path) -> None:
    for name in ("new", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError, match="not empty"):
        publish_folder(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "file").read_text() == "final"
