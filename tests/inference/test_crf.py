"""The random field after prediction: specks go, outlines find the edge of the image, sums agree with the definition."""

from __future__ import annotations

import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import image_from_array
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.inference import crf
from napari_histoseg.inference.crf import calmed, mean_field
from napari_histoseg.inference.predict import Prediction

PINK, VIOLET = (230, 150, 200), (110, 60, 150)


@pytest.fixture
def halves() -> tuple[np.ndarray, np.ndarray]:
    """A field, pink on the left and violet on the right, and which pixels are violet."""
    is_violet = np.zeros((60, 80), bool)
    is_violet[:, 43:] = True
    noise = np.random.default_rng(0).integers(-6, 7, (60, 80, 3))
    return np.where(is_violet[..., None], VIOLET, PINK).astype(np.int64) + noise, is_violet


def unsure(is_class: np.ndarray, certainty: float = 0.6) -> np.ndarray:
    p = np.where(is_class, certainty, 1 - certainty).astype(np.float32)
    return np.stack([1 - p, p])


def test_specks_vanish_and_outlines_move_to_the_edge_of_the_image(halves: tuple[np.ndarray, np.ndarray]) -> None:
    image, is_violet = halves
    guess = np.roll(is_violet, -2, axis=1)  # the outline is 2 px off
    guess[:, -2:] = True
    guess ^= np.random.default_rng(1).random(guess.shape) < 0.05
    refined = mean_field(unsure(guess), image.astype(np.uint8))
    assert refined.dtype == np.float32 and np.allclose(refined.sum(axis=0), 1, atol=1e-5)
    assert (guess != is_violet).mean() > 0.06
    assert ((refined[1] > 0.5) != is_violet).mean() < 0.005


def test_certain_pixels_stay(halves: tuple[np.ndarray, np.ndarray]) -> None:
    image, is_violet = halves
    certain = unsure(~is_violet, 0.999)
    assert ((mean_field(certain, image.astype(np.uint8))[1] > 0.5) == ~is_violet).all()


def test_the_grid_sums_pixels_that_are_near_in_place_and_colour(
    halves: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against all pairs of pixels; the grid is coarse, so roughly, but far closer than a sum that ignores colour."""
    monkeypatch.setattr(crf, "_FAR_PX", 10.0)
    image, is_violet = halves
    image = image[20:44, 30:60].astype(np.uint8)
    plane = np.random.default_rng(2).random(image.shape[:2]).astype(np.float32) + is_violet[20:44, 30:60]
    y, x = np.indices(plane.shape)
    features = np.stack([y / 10, x / 10, *np.moveaxis(image / (255 * 0.05), -1, 0)]).reshape(5, -1)
    kernel = np.exp(-0.5 * ((features[:, :, None] - features[:, None]) ** 2).sum(axis=0))
    exact = (kernel @ plane.ravel() / kernel.sum(axis=1)).reshape(plane.shape)
    found = crf._Grid(image).smoothed(plane[None])[0]
    assert np.abs(found - exact).mean() < 0.05
    place = np.exp(-0.5 * ((features[:2, :, None] - features[:2, None]) ** 2).sum(axis=0))
    colourless = (place @ plane.ravel() / place.sum(axis=1)).reshape(plane.shape)
    assert np.abs(colourless - exact).mean() > 0.15


def test_only_what_was_predicted_changes(halves: tuple[np.ndarray, np.ndarray]) -> None:
    image, is_violet = halves
    guess = is_violet ^ (np.random.default_rng(1).random(is_violet.shape) < 0.05)
    box = Box(10, 10, 50, 70)
    labels, probabilities = np.full(guess.shape, IGNORE, np.uint8), np.zeros((2, *guess.shape), np.float32)
    probabilities[:, *box.slices] = unsure(guess)[:, *box.slices]
    labels[box.slices] = np.array([4, 9])[guess[box.slices].astype(int)]
    before = Prediction(labels, probabilities, (box,), 1.0)
    ref = image_from_array(image.astype(np.uint8), name="halves", mpp=0.5)
    after = calmed(before, ref, (4, 9))
    assert after.labels is not None and before.labels is labels
    outside = np.ones(guess.shape, bool)
    outside[box.slices] = False
    assert (after.labels[outside] == IGNORE).all()
    assert (after.labels[box.slices] == np.where(is_violet[box.slices], 9, 4)).mean() > 0.99
    bare = Prediction(labels, None, (box,), 1.0)
    assert calmed(bare, ref, (4, 9)) is bare


def test_large_regions_are_computed_in_tiles_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    image = np.repeat(np.repeat(rng.integers(90, 240, (6, 42, 3)), 20, axis=0), 20, axis=1).astype(np.uint8)
    p = rng.random((2, 120, 840)).astype(np.float32)
    p /= p.sum(axis=0)
    expected, widths = mean_field(p, image), []

    def noting(probabilities: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        widths.append(pixels.shape[1])
        return mean_field(probabilities, pixels)

    monkeypatch.setattr(crf, "mean_field", noting)
    monkeypatch.setattr(crf, "_TILE_PX", 240)
    ref = image_from_array(image, name="tiles", mpp=0.5)
    before = Prediction(np.zeros((120, 840), np.uint8), p, (Box(0, 0, 120, 840),), 1.0)
    after = calmed(before, ref, (0, 1))
    assert widths == [480, 720, 600, 360]
    assert after.probabilities is not None
    np.testing.assert_allclose(after.probabilities, expected, atol=1e-6)
