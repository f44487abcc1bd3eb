"""The context margin: what it cuts, what it refuses, and what the predictor feeds around a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively, small_weights

from napari_histoseg.core.errors import InputError, ModelError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference.predict import Plan, PredictRequest, predict
from napari_histoseg.jobs.job import run_job
from napari_histoseg.models.context import takes_context
from napari_histoseg.models.intake import Intake
from napari_histoseg.models.predictor import Predictor
from napari_histoseg.models.registry import get_model


def test_the_papers_variant_answers_for_the_central_256_of_512_pixels() -> None:
    with torch.device("meta"):
        network = get_model("spade_segresnet").build(context_margin=128)
        assert network(torch.zeros(1, 3, 512, 512)).shape == (1, 5, 256, 256)


def test_auxiliary_outputs_are_cut_too() -> None:
    network = get_model("unetpp_deep").build(2, width=2, context_margin=16).train()
    output = network(torch.rand(2, 3, 64, 48))
    assert [x.shape for x in (output["out"], *output["aux"])] == [(2, 2, 32, 16)] * 4


def test_weights_fit_with_and_without_a_margin() -> None:
    plain = get_model("unet").build(2, width=2).eval()
    wide = get_model("unet").build(2, width=2, context_margin=32).eval()
    wide.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 128, 96)
    with torch.no_grad():
        assert torch.equal(wide(image), plain(image)[..., 32:-32, 32:-32])


@pytest.mark.parametrize("margin", [-1, 1.5])
def test_an_impossible_margin_is_refused(margin: float) -> None:
    with pytest.raises(ModelError, match=f"margin of {margin} pixels is not possible"):
        get_model("unet").build(2, width=2, context_margin=margin)


def test_an_image_without_a_centre_is_refused() -> None:
    with pytest.raises(ModelError, match="larger than 64 pixels on each side, not 64 x 96"):
        get_model("unet").build(2, width=2, context_margin=32)(torch.rand(1, 3, 64, 96))


@pytest.mark.parametrize("model_id", ["micronet_252", "haematoxylin_watershed", "cellularity_resnet101"])
def test_networks_of_one_size_and_those_that_give_a_score_have_none(model_id: str) -> None:
    model = get_model(model_id)
    assert not takes_context(model.spec) and "context_margin" not in model.options()
    with pytest.raises(ModelError, match="has no option 'context_margin'"):
        model.build(context_margin=16)


def test_the_predictor_reflects_what_lies_around_an_image(tmp_path: Path) -> None:
    weights = small_weights("unet", tmp_path, context_margin=32)
    batch = np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), dtype=np.uint8)
    around = np.pad(batch, ((0, 0), (32, 32), (32, 32), (0, 0)), mode="reflect")
    with Predictor(weights, device="cpu") as predictor:
        found = predictor.probabilities(batch)
        assert found.shape == (1, 5, 40, 50)
        np.testing.assert_array_equal(found, predictor.central_probabilities(around))


def test_a_window_is_fed_with_the_tissue_around_it(tmp_path: Path) -> None:
    """A network whose margin is as wide as it can see agrees with the whole image, although windows are cut."""
    plain = small_weights("vgg_fcn_exp3", tmp_path, width=16)
    aware = small_weights("vgg_fcn_exp3", tmp_path, width=16, context_margin=14)
    coarse = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pixels = coarse.repeat(9, axis=0).repeat(9, axis=1)[:290, :330]
    image = image_from_array(pixels, name="noise", mpp=plain.mpp)
    with Predictor(plain, device="cpu") as predictor:
        whole = predictor.probabilities(pixels[None])[0]
    request = PredictRequest(image, "vgg_fcn_exp3", aware, device="cpu", tile_px=256, keep_probabilities=True)
    found = run_job(predict(request)).probabilities
    inside = (slice(None), slice(14, -14), slice(14, -14))  # beyond, one sees zeros and the other reflected tissue
    assert found is not None and whole.std(axis=(1, 2)).max() > 0.01
    assert np.abs(found[inside] - whole[inside]).max() <= 1e-4


def test_the_fed_window_stays_as_large_as_the_tile(tmp_path: Path) -> None:
    image = image_from_array(np.zeros((2000, 2000, 3), np.uint8), name="large", mpp=0.25)
    weights = small_weights("spade_segresnet", tmp_path, mpp=0.25, context_margin=128)
    plan = Plan(PredictRequest(image, "spade_segresnet", weights, tile_px=512))
    assert {window.shape for window in plan.pieces.windows(plan.tiles[0])} == {(256, 256)}


def test_intake_of_each_kind(tmp_path: Path) -> None:
    unet = Intake.of(small_weights("unet", tmp_path, context_margin=10))
    assert unet.side_px(30) == 64 and unet.filled(np.zeros((2, 17, 16, 3), np.uint8)).shape == (2, 32, 16, 3)
    fixed = Intake.of(small_weights("micronet_252", tmp_path))
    assert fixed.side_px(30) == 252 and fixed.filled(np.zeros((20, 252, 3), np.uint8)).shape == (252, 252, 3)
    with pytest.raises(InputError, match="Micro-Net-252 takes 252 x 252 pixels at once, not 20 x 253"):
        fixed.filled(np.zeros((20, 253, 3), np.uint8))


def test_the_margin_survives_a_copy_of_the_network() -> None:
    from copy import deepcopy

    network = deepcopy(lively(get_model("unet").build(2, width=2, context_margin=16))).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 32, 32)
