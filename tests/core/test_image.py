"""Every kind of picture that a microscope, a scanner or a script hands over."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array, to_rgb8

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (60, 50, 3), np.uint8)
WHOLE = Box(0, 0, 60, 50)


def seen(data, **keywords) -> np.ndarray:
    return image_from_array(data, name="x", **keywords).read(0, WHOLE)


def test_rgb_comes_back_as_it_is() -> None:
    ref = image_from_array(RGB, name="x", mpp=0.5, path="x.png")
    assert (ref.shape, ref.levels, ref.mpp, ref.path, ref.notes) == ((60, 50), ((60, 50),), 0.5, "x.png", ())
    np.testing.assert_array_equal(ref.read(0, Box(3, 4, 20, 30)), RGB[3:20, 4:30])


def test_grey_is_repeated_and_said() -> None:
    ref = image_from_array(RGB[..., 0], name="x")
    np.testing.assert_array_equal(ref.read(0, WHOLE), np.repeat(RGB[..., :1], 3, 2))
    assert "grey" in ref.notes[0]


def test_alpha_is_laid_over_white() -> None:
    rgba = np.dstack([RGB, np.full((60, 50), 255, np.uint8)])
    np.testing.assert_array_equal(seen(rgba), RGB)
    rgba[..., 3] = 0
    assert (seen(rgba) == 255).all()
    rgba[..., 3] = 51
    np.testing.assert_allclose(seen(rgba), RGB * 0.2 + 255 * 0.8, atol=0.5)
    assert any("alpha" in note for note in image_from_array(rgba, name="x").notes)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (RGB.astype(np.float32) / 255, "0 to 1."),
        (RGB.astype(np.float64), "0 to 255"),
        (RGB.astype(np.float16), "0 to 255"),
        (RGB.astype(np.uint16) * 257, "0 to 65535"),
        (RGB.astype(np.int64), "0 to 255"),
        (RGB.astype(np.int16), "0 to 255"),
        (RGB.astype(np.float64) * 257, "0 to 65535"),
    ],
)
def test_other_types_show_the_same_picture_and_say_how_they_were_read(data: np.ndarray, note: str) -> None:
    np.testing.assert_allclose(seen(data).astype(int), RGB.astype(int), atol=1)
    assert note in image_from_array(data, name="x").notes[0]


def test_twelve_bit_images_use_their_range() -> None:
    data = np.linspace(0, 4095, 3000).reshape(60, 50).astype(np.uint16)
    pixels = seen(data)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_float_image_may_overshoot_a_little() -> None:
    data = RGB.astype(np.float32) / 255
    data[0, 0], data[0, 1] = 1.02, -0.01
    pixels = seen(data)
    assert (pixels[0, 0] == 255).all() and (pixels[0, 1] == 0).all()
    np.testing.assert_array_equal(pixels[1:], RGB[1:])


def test_nan_is_white_and_said() -> None:
    data = RGB.astype(np.float32) / 255
    data[:10] = np.nan
    data[10, 0], data[10, 1] = np.inf, -np.inf
    pixels = seen(data)
    assert (pixels[:10] == 255).all() and (pixels[10, 0] == 255).all() and (pixels[10, 1] == 0).all()
    np.testing.assert_array_equal(pixels[11:], RGB[11:])
    assert any("NaN" in note for note in image_from_array(data, name="x").notes)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((0, 50, 3), np.uint8), "is empty"),
        (np.zeros((), np.uint8), "is empty"),
        (np.zeros((1, 1), np.uint8), "1 x 1 px; at least 16 x 16"),
        (np.zeros((1, 1, 3), np.uint8), "1 x 1 px; at least 16 x 16"),
        (np.zeros((15, 400, 3), np.uint8), "15 x 400 px; at least"),
        (np.zeros((100,), np.uint8), "flat grey, RGB or RGBA"),
        (np.zeros((3, 100, 100), np.uint8), "export one plane"),
        (np.zeros((5, 60, 50, 3), np.uint8), "export one plane"),
        (np.zeros((60, 50, 2), np.uint8), "export one plane"),
        (np.full((60, 50), np.nan), "only NaN"),
        (np.full((60, 50), -4.0), "negative values"),
        (np.full((60, 50), -1, np.int16), "negative values"),
        (np.full((60, 50), 1e9), "values up to 1e"),
        (np.full((60, 50), 70_000, np.int32), "values up to 70000"),
        (np.zeros((60, 50), bool), "bool values"),
        (np.zeros((60, 50), complex), "complex128 values"),
        (np.full((60, 50), "a"), "values; an image of numbers"),
        ([], "holds no pixels"),
        ([[1, 2], [3, 4]], "no array of pixels"),
        ("slide.svs", "no array of pixels"),
        (None, "no array of pixels"),
        ([RGB[::2, ::2], RGB], "from the largest to the smallest"),
        ([RGB, np.zeros((0, 5, 3), np.uint8)], "from the largest to the smallest"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(data, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        image_from_array(data, name="my slide")
    assert "my slide" in str(caught.value)


@pytest.mark.parametrize("mpp", [0, -1, 1e4, float("nan"), float("inf")])
def test_impossible_resolutions_are_refused(mpp: float) -> None:
    with pytest.raises(InputError, match="not a microscope's resolution"):
        image_from_array(RGB, name="x", mpp=mpp)


def test_a_pyramid_is_read_level_by_level() -> None:
    ref = image_from_array([RGB, RGB[::2, ::2]], name="x")
    assert ref.levels == ((60, 50), (30, 25))
    np.testing.assert_array_equal(ref.read(1, Box(5, 5, 30, 25)), RGB[::2, ::2][5:, 5:])


@pytest.mark.parametrize("box", [Box(0, 0, 61, 50), Box(-1, 0, 5, 5), Box(5, 5, 5, 9)])
def test_reading_outside_is_refused(box: Box) -> None:
    with pytest.raises(InputError, match="not inside level 0"):
        image_from_array(RGB, name="x").read(0, box)


def test_a_huge_lazy_image_is_neither_computed_nor_copied() -> None:
    touched: list[tuple[int, ...]] = []

    def block(block_info=None) -> np.ndarray:
        location = tuple(block_info[None]["chunk-location"])
        touched.append(location)
        return np.full((1000, 1000, 3), sum(location) % 256, np.uint8)

    huge = da.map_blocks(
        block, chunks=((1000,) * 200, (1000,) * 150, (3,)), dtype=np.uint8, meta=np.empty((0, 0, 0), "u1")
    )
    ref = image_from_array(huge, name="huge")
    assert ref.shape == (200_000, 150_000)
    assert len(set(touched)) <= 80, "a few chunks are enough to know the image"
    touched.clear()
    assert (ref.read(0, Box(5_500, 7_500, 5_600, 7_600)) == 12).all()
    assert set(touched) == {(5, 7, 0)}


def test_the_same_pixels_have_the_same_id_however_they_are_held() -> None:
    held = image_from_array(RGB, name="a").content_id
    assert len(held) == 32
    rgba = np.dstack([RGB, np.full((60, 50), 255, np.uint8)])
    for same in (da.from_array(RGB, chunks=20), [RGB, RGB[::2, ::2]], np.asfortranarray(RGB), rgba, RGB.astype("f4")):
        assert image_from_array(same, name="b", mpp=2, path="p").content_id == held
    other = RGB.copy()
    other[37, 21, 1] ^= 1
    for different in (other, RGB[:-1], RGB[:, ::-1], np.ascontiguousarray(RGB.transpose(1, 0, 2))):
        assert image_from_array(different, name="a").content_id != held


def test_large_images_are_told_apart_by_windows() -> None:
    large = np.zeros((5000, 4000, 3), np.uint8)
    one = image_from_array(large, name="a").content_id
    assert image_from_array(da.from_array(large, chunks=1000), name="a").content_id == one
    large[600:700, 500:600] = 9
    assert image_from_array(large, name="a").content_id != one


def test_a_reference_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(image_from_array(RGB, name="x", mpp=1.0)))  # noqa: S301
    np.testing.assert_array_equal(again.read(0, WHOLE), RGB)
    assert (again.name, again.mpp) == ("x", 1.0)


def test_to_rgb8_returns_contiguous_uint8() -> None:
    pixels = to_rgb8(RGB[:, ::2], scale=1.0, channels=3)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
