"""The guide for adding a model, followed to the letter by a module outside the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_histoseg.models import registry

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "add-a-model.md"


def test_the_guide_makes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "tiny_guide_model.py").write_text(code.group(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    (spec,) = registry.read_specs("tiny_guide_model")
    network = registry.RegisteredModel(spec, "tiny_guide_model").build()
    assert sum(p.numel() for p in network.parameters()) == spec.golden_parameters
    with pytest.raises(registry.ModelError, match="width"):
        registry.RegisteredModel(spec, "tiny_guide_model").build(widht=3)
