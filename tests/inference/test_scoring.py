"""Scores of fields: how an image is cut, what counts as tissue, the mean, and scores derived from cells."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import small_weights
from PIL import Image
from tissue import tissue

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ModelError, WeightsError
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schemas import BCSS5, CELLULARITY, EPITHELIUM, PANNUKE
from napari_histoseg.inference.scoring import (
    FieldScore,
    ScoreRequest,
    Scores,
    derived_cellularity,
    malignant_ids,
    mean_score,
    score_fields,
    tissue_mask,
)
from napari_histoseg.jobs.job import Progress, run_job
from napari_histoseg.models.predictor import Predictor, add_self_test
from napari_histoseg.models.weights import Weights

MODEL = "cellularity_nasnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return small_weights(MODEL, tmp_path_factory.mktemp("weights"), mpp=0.5, encoder="test_efficientnet")


def run(image: ImageRef, weights: Weights, *boxes: Box) -> tuple[Scores, list[Progress]]:
    steps: list[Progress] = []
    return run_job(score_fields(ScoreRequest(image, MODEL, weights, boxes, device="cpu")), steps.append), steps


def pixels_of(height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(tissue(1536)[:height, :width])


def test_fields_are_what_the_network_scores_of_the_image(weights: Weights) -> None:
    pixels = pixels_of(600, 1100)
    result, steps = run(image_from_array(pixels, name="a", mpp=0.5), weights)
    assert [field.box for field in result.fields] == [
        Box(0, 0, 512, 512),
        Box(0, 512, 512, 1024),
        Box(0, 588, 512, 1100),
        Box(88, 0, 600, 512),
        Box(88, 512, 600, 1024),
        Box(88, 588, 600, 1100),
    ]
    assert [field.tile for field in result.fields][2:4] == [Box(0, 1024, 512, 1100), Box(512, 0, 600, 512)]
    assert sum(field.tile.area for field in result.fields) == 600 * 1100
    with Predictor(weights, device="cpu") as predictor:
        expected = predictor.scores(np.stack([pixels[field.box.slices] for field in result.fields]))
    np.testing.assert_allclose([field.score for field in result.fields], expected, atol=1e-6)
    assert len(set(expected.tolist())) == 6
    assert [step.payload for step in steps] == [None, *result.fields]
    assert (steps[-1].done, steps[-1].total) == (6, 6)


def test_the_image_is_brought_to_the_resolution_of_the_model(weights: Weights) -> None:
    fine = np.repeat(np.repeat(pixels_of(512, 512), 2, axis=0), 2, axis=1)
    result, _ = run(image_from_array(fine, name="fine", mpp=0.25), weights)
    (field,) = result.fields
    assert field.box == field.tile == Box(0, 0, 1024, 1024)
    with Predictor(weights, device="cpu") as predictor:
        assert field.score == pytest.approx(float(predictor.scores(pixels_of(512, 512)[None])[0]), abs=1e-2)


def test_an_image_smaller_than_a_field_is_reflected(weights: Weights) -> None:
    pixels = pixels_of(300, 224)
    result, _ = run(image_from_array(pixels, name="small", mpp=0.5), weights)
    (field,) = result.fields
    assert field.box == field.tile == Box(0, 0, 300, 224)
    whole = np.pad(pixels, ((0, 212), (0, 288), (0, 0)), mode="reflect")
    with Predictor(weights, device="cpu") as predictor:
        assert field.score == pytest.approx(float(predictor.scores(whole[None])[0]), abs=1e-6)
    assert result.mean == pytest.approx(field.score)


def test_regions_are_cut_from_their_own_corner(weights: Weights) -> None:
    image = image_from_array(pixels_of(1100, 1100), name="a", mpp=0.5)
    result, _ = run(image, weights, Box(100, 200, 700, 500), Box(800, 800, 900, 900))
    assert [(field.box, field.tile) for field in result.fields] == [
        (Box(100, 200, 612, 712), Box(100, 200, 612, 500)),
        (Box(588, 200, 1100, 712), Box(612, 200, 700, 500)),
        (Box(588, 588, 1100, 1100), Box(800, 800, 900, 900)),
    ]


def test_glass_is_left_out_and_the_mean_is_weighted_by_tissue(weights: Weights) -> None:
    pixels = pixels_of(512, 1536)
    pixels[:, 512:1024] = 242
    pixels[:, 1024:] = np.where(np.arange(512)[:, None, None] < 384, 240, pixels[:, 1024:])
    result, steps = run(image_from_array(pixels, name="a", mpp=0.5), weights)
    assert [field.tile.x0 for field in result.fields] == [0, 1024]
    assert [step.payload is None for step in steps[1:]] == [False, True, False]
    first, last = result.fields
    assert last.tissue == pytest.approx(tissue_mask(pixels[:, 1024:]).mean()) and last.tissue < 0.26
    expected = (first.score * first.tissue + last.score * last.tissue) / (first.tissue + last.tissue)
    assert result.mean == pytest.approx(expected)


def test_an_image_without_tissue_has_no_score(weights: Weights) -> None:
    result, _ = run(image_from_array(np.full((600, 600, 3), 245, np.uint8), name="glass", mpp=0.5), weights)
    assert result.fields == () and result.mean is None


def test_the_mean_counts_area() -> None:
    whole, part = Box(0, 0, 100, 100), Box(0, 100, 100, 150)
    fields = [FieldScore(whole, 0.8, whole, 0.5), FieldScore(whole, 0.2, part, 1.0)]
    assert mean_score(fields) == pytest.approx((0.8 * 5000 + 0.2 * 5000) / 10000)
    assert mean_score([]) is None


def test_requests_that_cannot_be_served(weights: Weights) -> None:
    image = image_from_array(pixels_of(64, 64), name="a", mpp=0.5)
    with pytest.raises(ModelError, match="U-Net gives a map of classes, not a score"):
        run_job(score_fields(ScoreRequest(image, "unet", weights)))
    with pytest.raises(InputError, match="not inside 'a'"):
        run(image, weights, Box(0, 0, 65, 10))
    with pytest.raises(InputError, match="resolution of 'b' is unknown"):
        run(image_from_array(pixels_of(64, 64), name="b"), weights)


def test_the_predictor_keeps_scores_and_maps_apart(weights: Weights, tmp_path: Path) -> None:
    batch = pixels_of(64, 128)[None]
    with Predictor(weights, device="cpu") as predictor:
        with pytest.raises(ModelError, match="one score for a field, not a map"):
            predictor.probabilities(batch)
        with pytest.raises(ModelError, match="multiples of 64 pixels, not 60 x 128; pad to 64 x 128"):
            predictor.scores(batch[:, :60])
    with (
        Predictor(small_weights("unet", tmp_path), device="cpu") as predictor,
        pytest.raises(ModelError, match="a map of classes, not a score"),
    ):
        predictor.scores(batch)


def test_the_self_test_of_a_regressor_is_its_score(weights: Weights) -> None:
    tested = add_self_test(weights)
    assert tested.card.self_test is not None and np.shape(tested.card.self_test["probabilities"]) == (1, 1, 1)
    Predictor(tested, device="cpu").close()
    wrong = replace(tested, card=replace(tested.card, self_test={"probabilities": [[[0.99]]]}))
    with pytest.raises(WeightsError, match="do not reproduce the self-test"):
        Predictor(wrong, device="cpu")


@pytest.mark.parametrize("archive", ["ebhi_seg.zip", "monuseg_train.zip", "crchisto_points_subset.zip"])
def test_real_fields_are_mostly_tissue_and_their_glass_is_not(archive: str, shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / archive) as files:
        names = [n for n in files.namelist() if n.endswith(".jpg")][::40][:6]
        images = [np.asarray(Image.open(io.BytesIO(files.read(n))).convert("RGB")) for n in names]
    for pixels in images:
        is_tissue = tissue_mask(pixels)
        assert 0.4 < is_tissue.mean() <= 1.0
        brightest = pixels.min(axis=2) >= 225
        assert not is_tissue[brightest].any()


def test_real_regions_are_scored(weights: Weights, shared_data: Path) -> None:
    path = sorted((shared_data / "bcss").glob("*.png"))[0]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    image = image_from_array(pixels, name=path.name, mpp=0.25)
    result, _ = run(image, weights, Box(0, 0, 1200, 2048))
    # A field is 1024 px of the image, but for rounding where an odd number of rows is halved.
    assert all(abs(side - 1024) <= 1 for field in result.fields for side in field.box.shape)
    assert all(field.tissue > 0.5 for field in result.fields) and 0 < (result.mean or 0) < 1


def test_cellularity_is_malignant_area_over_tissue() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[:2] = 3  # 20 malignant pixels
    labels[2:4] = 2  # normal cells
    labels[9] = 255  # not known
    is_tissue = np.zeros((10, 10), bool)
    is_tissue[1:6] = True  # 50 of tissue, 10 of malignant cells beside it
    is_tissue[9] = True
    assert derived_cellularity(labels, is_tissue, malignant=(3,)) == pytest.approx(20 / 60)
    assert derived_cellularity(labels, is_tissue, malignant=(2, 3)) == pytest.approx(40 / 60)
    assert derived_cellularity(labels, is_tissue, malignant=()) == 0.0
    assert derived_cellularity(np.full((2, 2), 255, np.uint8), np.ones((2, 2), bool), malignant=(3,)) is None
    assert derived_cellularity(np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool), malignant=(3,)) is None


def test_malignant_classes_are_known_by_name() -> None:
    assert malignant_ids(CELLULARITY.classes) == (3,)
    assert malignant_ids(PANNUKE.classes) == (1,)
    assert malignant_ids(BCSS5.classes) == (1,)
    assert malignant_ids(EPITHELIUM.classes) == ()


def test_a_malignant_class_that_got_another_name_is_still_malignant() -> None:
    renamed = [replace(c, name="carcinoma", former=("Malignant",)) if c.id == 3 else c for c in CELLULARITY.classes]
    assert malignant_ids(renamed) == (3,)
