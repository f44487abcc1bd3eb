"""The weights in the package are those the recipe's card promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from napari_histoseg.learning.metrics import confusion_matrix, dice_per_image
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.registry import list_models
from napari_histoseg.models.weights import Weights, list_weights, load_state
from training.datasets import ebhi
from training.datasets.source import open_source


def starter() -> Weights:
    return next(w for w in list_weights("unet") if w.name == "unet-epithelium")


def test_shipped_weights_are_small_free_and_tested() -> None:
    shipped = [w for model in list_models() for w in list_weights(model.spec.id) if w.path is not None]
    assert {w.name for w in shipped} == {"unet-epithelium", "unet-nuclei", "unet-tissue"}
    assert sum(w.path.stat().st_size for w in shipped if w.path) < 40_000_000
    for weights in shipped:
        card = weights.card
        assert card.licence in ("CC BY 4.0", "CC0 1.0")
        assert card.attribution and card.data and card.recipe and card.metrics and card.self_test
        load_state(weights)


def test_the_shipped_starter_is_small_attributed_and_tested() -> None:
    weights = starter()
    assert weights.path is not None
    assert weights.path.stat().st_size < 8_000_000
    assert weights.card.licence == "CC BY 4.0" and "Shi et al. (2023)" in weights.card.attribution
    assert weights.card.metrics["ebhi_test_n"] == 407 and weights.card.metrics["glas_n"] == 30
    load_state(weights)


def test_the_shipped_starter_finds_epithelium_in_cases_it_never_saw(shared_data: Path) -> None:
    """Every eighth test image; ``python -m training evaluate`` measures all of them."""
    with open_source(shared_data, ebhi.DATASET.archives, "") as source:
        items = [item for item in ebhi.read_index(source) if item.split == "test"][::8]
        pairs = [ebhi.read_item(source, item) for item in items]
    before = torch.get_num_threads()
    with Predictor(starter(), device="cpu") as predictor:
        found = [predictor.probabilities(image[None])[0].argmax(axis=0) for image, _ in pairs]
    torch.set_num_threads(before)
    matrices = [confusion_matrix(truth, labels, num_classes=3) for (_, truth), labels in zip(pairs, found, strict=True)]
    spread = dice_per_image(matrices, ebhi.EPITHELIUM)
    card = starter().card.metrics
    assert spread.n == 51
    assert abs(spread.mean - card["ebhi_test_dice_mean"]) < 3 * card["ebhi_test_dice_sd"] / spread.n**0.5
    assert spread.mean > 0.93
    everything = np.sum(matrices, axis=0)
    assert everything[ebhi.BACKGROUND, ebhi.BACKGROUND] / everything[ebhi.BACKGROUND].sum() > 0.7
