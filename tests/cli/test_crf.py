"""``predict --crf``: labels and probabilities after the random field, and a manifest that repeats it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.inference.crf import mean_field
from napari_histoseg.io.labels import read_labels
from napari_histoseg.io.maps import read_probabilities


def test_predict_with_a_random_field_and_its_rerun(picture: Path, tiny_weights: Path, tmp_path: Path) -> None:
    words = ["predict", str(picture), "--model", "unet", "--weights", str(tiny_weights), "--mpp", "1"]
    plain, calm, again = (tmp_path / name for name in ("plain", "calm", "again"))
    assert main([*words, "--out", str(plain), "--probabilities"]) == 0
    assert main([*words, "--out", str(calm), "--crf"]) == 0
    ids, probabilities = read_probabilities(plain / "tissue_probabilities.tif")
    image = np.asarray(Image.open(picture))
    expected = np.array(ids)[mean_field(probabilities, image).argmax(axis=0)]
    labels = read_labels(calm / "tissue.tif")
    assert (labels == expected).mean() > 0.99  # the file's probabilities are rounded to 16 bits
    assert not np.array_equal(labels, read_labels(plain / "tissue.tif"))
    assert json.loads((calm / "run.json").read_text())["settings"]["crf"] is True
    assert main(["rerun", str(calm / "run.json"), "--out", str(again)]) == 0
    assert np.array_equal(read_labels(again / "tissue.tif"), labels)
