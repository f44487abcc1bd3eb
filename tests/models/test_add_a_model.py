"""The guide for adding a model, followed to the letter by a package outside the tree."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import small_weights
from torch.utils.flop_counter import FlopCounterMode

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models import registry
from napari_histoseg.models.registry import RegisteredModel, get_model, list_models

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "add-a-model.md"


def block(language: str) -> str:
    """The first block of code in that language."""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegisteredModel]:
    """The guide's model in a package of its own, as pip leaves it: files and metadata with the entry point."""
    project = tomllib.loads(block("toml"))["project"]["entry-points"]
    ((group, names),) = project.items()
    ((name, module),) = names.items()
    package, _, file = module.rpartition(".")
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / f"{file}.py").write_text(block("python"))
    metadata = tmp_path / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._models.cache_clear()
    yield get_model(name)
    registry._models.cache_clear()


def test_the_guide_makes_a_model_that_is_listed_after_the_packages_own(installed: RegisteredModel) -> None:
    assert list_models()[-1] == installed and installed.module == "my_package.tiny"


def test_its_card_is_right(installed: RegisteredModel) -> None:
    with torch.device("meta"):
        network = installed.build()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, *installed.spec.paper_input))
    assert sum(p.numel() for p in network.parameters()) == installed.spec.golden_parameters
    assert counter.get_total_flops() / 1e9 == pytest.approx(installed.spec.gflops, rel=0.01)


def test_it_predicts_an_image_and_has_the_options_of_all_networks(installed: RegisteredModel, tmp_path: Path) -> None:
    assert installed.options() == ("context_margin", "width")
    weights = small_weights("tiny", tmp_path, width=3)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    image = image_from_array(pixels, name="noise", mpp=1.0)
    result = run_job(predict(PredictRequest(image, "tiny", weights, device="cpu")))
    assert result.labels is not None and result.labels.shape == (60, 70)


def test_a_misspelt_option_is_named(installed: RegisteredModel) -> None:
    with pytest.raises(ModelError, match="no option 'widht'; its options are: context_margin, width"):
        installed.build(widht=3)
