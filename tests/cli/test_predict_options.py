"""``predict --crf`` and ``--macenko``: what they change, and a manifest that repeats it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from napari_histoseg.cli import main
from napari_histoseg.inference.crf import mean_field
from napari_histoseg.inference.stain import estimate_stains, normalise
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


def test_predict_with_standard_stains(picture: Path, tiny_weights: Path, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    rng = np.random.default_rng(0)
    amounts = rng.exponential(0.6, (*pixels.shape[:2], 2)) + 0.05
    stained = 240 * np.exp(-(amounts @ np.array([(0.5, 0.75, 0.43), (0.15, 0.85, 0.5)])))
    pixels = np.clip(stained, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pale.png")
    Image.fromarray(normalise(pixels, estimate_stains(pixels))).save(tmp_path / "standard.png")
    words = ["--model", "unet", "--weights", str(tiny_weights), "--mpp", "1", "--probabilities"]
    assert main(["predict", str(tmp_path / "pale.png"), *words, "--macenko", "--out", str(tmp_path / "a")]) == 0
    assert main(["predict", str(tmp_path / "standard.png"), *words, "--out", str(tmp_path / "b")]) == 0
    _, found = read_probabilities(tmp_path / "a" / "pale_probabilities.tif")
    _, expected = read_probabilities(tmp_path / "b" / "standard_probabilities.tif")
    np.testing.assert_array_equal(found, expected)
    assert main(["rerun", str(tmp_path / "a" / "run.json"), "--out", str(tmp_path / "c")]) == 0
