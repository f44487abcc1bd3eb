"""The registry: finding models without importing them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from napari_histoseg.core.errors import ModelError
from napari_histoseg.models import registry
from napari_histoseg.models.registry import get_model, list_models, read_specs

LIST = """
import sys, time
began = time.perf_counter()
from napari_histoseg.models.registry import list_models
from napari_histoseg.models.weights import list_weights
ids = [m.spec.id for m in list_models()]
assert "unet" in ids and "spade_segresnet" in ids, ids
[list_weights(i) for i in ids]
heavy = {"torch", "scipy", "skimage", "torchvision", "napari", "qtpy"} & set(sys.modules)
assert not heavy, heavy
print(time.perf_counter() - began)
"""


def test_listing_models_and_weights_imports_nothing_heavy_and_is_quick() -> None:
    times = []
    for _ in range(2):  # the first may have to compile and to read from a cold disk
        run = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        times.append(float(run.stdout))
    assert min(times) < 1.0, times


def test_ids_are_unique_and_the_file_agrees_with_its_head() -> None:
    models = list_models()
    assert len({m.spec.id for m in models}) == len(models)
    for model in models:
        module = importlib.import_module(model.module)
        assert model.spec in [value for value in vars(module).values() if type(value) is type(model.spec)]


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'spade_segresnet'"):
        get_model("spade_segresnett")
    with pytest.raises(ModelError, match=r"choose from .*unet"):
        get_model("zzz")


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="no option 'depth'; its options are: batch_norm, context_margin, width"):
        get_model("unet").build(depth=3)


@pytest.fixture
def module_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


FOREIGN = """
from torch import nn
import numpy
from dataclasses import replace
from napari_histoseg.core.schemas import BCSS5
from napari_histoseg.models.registry import register
from napari_histoseg.models.spec import ModelSpec

SPEC = ModelSpec("foreign_dot", "Dot", "nobody", "semantic", BCSS5.classes, 0.5, 256, 0, 1, True, 20, (256, 256), 0.001)
WIDE = replace(SPEC, id="foreign_wide", variant={"kernel": 3}, halo_px=1, golden_parameters=140)

@register(SPEC, WIDE)
def build(num_classes: int, *, kernel: int = 1) -> nn.Module:
    return nn.Conv2d(3, num_classes, kernel, padding=kernel // 2)
"""


def test_another_package_adds_models_by_entry_point(module_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (module_folder / "foreign_models.py").write_text(FOREIGN)

    class Entry:
        name, module = "foreign", "foreign_models"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry] if group == registry.GROUP else [])
    registry._models.cache_clear()
    try:
        assert get_model("foreign_dot").spec.mpp == 0.5
        assert "foreign_models" not in sys.modules
        wide = get_model("foreign_wide").build(2)
        assert wide.kernel_size == (3, 3) and wide.out_channels == 2
    finally:
        registry._models.cache_clear()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import numpy\nSPEC = numpy.zeros(3)\ndef build(): ...\n", "need more than the standard library"),
        ("def build(): ...\n", "has no SPEC above its first class or function"),
        ("from napari_histoseg.models.spec import ModelSpec\nSPEC = ModelSpec('x')\n", "missing"),
    ],
)
def test_a_model_file_without_a_usable_head_is_named(module_folder: Path, source: str, message: str) -> None:
    (module_folder / "broken_model.py").write_text(source)
    importlib.invalidate_caches()
    with pytest.raises(ModelError, match=message) as caught:
        read_specs("broken_model")
    assert "broken_model" in str(caught.value)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ModelError, match="no_such_models"):
        read_specs("no_such_models")
