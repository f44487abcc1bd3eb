"""The README's table of models is the registry's."""

from __future__ import annotations

import re
from pathlib import Path

from napari_histoseg.models.registry import list_models
from napari_histoseg.models.weights import list_weights

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_table_lists_every_model_with_its_parameters_and_weights() -> None:
    rows = {
        cells[0].strip(" `"): cells
        for line in README.read_text().splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split("|")) == 6
    }
    assert set(rows) == {model.spec.id for model in list_models()}
    for model in list_models():
        cells = rows[model.spec.id]
        assert f"{model.spec.golden_parameters:,}" in cells[2]
        assert set(re.findall(r"`([^`]+)`", cells[5])) == {w.name for w in list_weights(model.spec.id)}
