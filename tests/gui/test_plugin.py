"""What napari's menus reach."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from npe2 import PluginManifest

import napari_histoseg
from napari_histoseg import plugin
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.demo import virtual_screen, worst_place

MANIFEST = Path(napari_histoseg.__file__).with_name("napari.yaml")


def test_manifest_is_valid_and_every_command_exists() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    names = {*plugin.TABS, plugin.LEGEND, plugin.SCORES, plugin.HISTORY}
    assert {w.display_name for w in manifest.contributions.widgets} == names


def test_importing_the_plugin_loads_neither_torch_nor_napari() -> None:
    code = (
        "import sys, napari_histoseg.plugin, napari_histoseg.session, napari_histoseg.cli\n"
        "heavy = {'torch', 'scipy', 'skimage', 'napari', 'qtpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_the_panels_does_not_load_torch(tmp_path: Path) -> None:
    code = (
        "import sys, napari\n"
        "from napari_histoseg.plugin import workbench\n"
        "viewer = napari.Viewer(show=False)\n"
        "bench = workbench(viewer)\n"
        "bench.open_panels()\n"
        "assert 'torch' not in sys.modules\n"
        "bench.close()\n"
        "viewer.close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.both_bindings
def test_one_panel_from_the_menu_brings_the_others(make_napari_viewer: Callable[..., Any], qtbot: Any) -> None:
    viewer = make_napari_viewer()
    viewer.window.add_plugin_dock_widget("napari-histoseg", "Correct")
    qtbot.waitUntil(lambda: len(viewer.window.dock_widgets) == 6, timeout=5000)
    bench = plugin.workbench(viewer)
    assert all(widget._session is bench.session for widget in viewer.window.dock_widgets.values())
    bench.close()


@pytest.mark.parametrize("sample", ["ihc", "phantom"])
def test_samples_open_offline_with_known_resolution(make_napari_viewer: Callable[..., Any], sample: str) -> None:
    (layer,) = make_napari_viewer().open_sample("napari-histoseg", sample)
    assert layer.scale[-1] == 0.5
    assert str(layer.units[-1]) == "micrometer"


def test_launch_opens_files_and_tells_what_it_cannot_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_napari_viewer: Callable[..., Any], tissue: np.ndarray
) -> None:
    from PIL import Image

    Image.fromarray(tissue).save(tmp_path / "tissue.png")
    monkeypatch.setattr(napari, "Viewer", lambda **_: make_napari_viewer())
    bench = plugin.launch([tmp_path / "tissue.png"])
    assert [choice.name for choice in bench.bridge.images.choices()] == ["tissue.png"]
    assert bench.session.project.image(bench.bridge.images.current).path == str(tmp_path / "tissue.png")
    bench.close()
    with pytest.raises(InputError):
        plugin.launch([tmp_path / "nothing.png"])


def test_without_xvfb_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="install the package 'xvfb'"), virtual_screen():
        pass


def test_the_worst_place_is_inside_the_largest_mistake() -> None:
    labels = np.full((200, 200), EPITHELIUM.by_name("other tissue").id, np.uint8)
    seen = labels.copy()
    seen[20:120, 50:100] = EPITHELIUM.by_name("epithelium").id
    seen[150:170, 150:170] = EPITHELIUM.by_name("epithelium").id
    points, class_id = worst_place(labels, seen)
    assert class_id == EPITHELIUM.by_name("epithelium").id
    assert (seen[tuple(points.T)] == class_id).all()
    assert np.ptp(points[:, 0]) > 60
