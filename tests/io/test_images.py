"""Opening images: what is read, at which resolution, and one sentence for what cannot be read."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.image import image_from_array
from napari_histoseg.io import images
from napari_histoseg.io.images import open_image


def picture(height: int = 64, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_png_has_no_resolution_whatever_its_dpi(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png", dpi=(72, 72))
    Image.fromarray(picture()).save(tmp_path / "b.jpg", dpi=(50_800, 50_800))
    ref = open_image(tmp_path / "a.png")
    assert ref.mpp is None
    assert open_image(tmp_path / "b.jpg").mpp is None
    np.testing.assert_array_equal(ref.read(0, Box(3, 4, 30, 40)), picture()[3:30, 4:40])
    assert open_image(tmp_path / "a.png", mpp=0.5).mpp == 0.5


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}, 0.25),
        ({"resolution": (50_800, 50_800), "resolutionunit": "INCH"}, 0.5),
        ({"resolution": (2, 2), "resolutionunit": "NONE"}, None),
        ({"resolution": (2, 2), "imagej": True, "metadata": {"unit": "um"}}, 0.5),
        ({"description": "Aperio Image Library\r\n64x80|AppMag = 20|MPP = 0.4990|Left = 1", "metadata": None}, 0.499),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 0.23, "PhysicalSizeXUnit": "µm"}}, 0.23),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 230, "PhysicalSizeXUnit": "nm"}}, 0.23),
    ],
)
def test_tiff_states_its_resolution(tmp_path: Path, options: dict[str, object], mpp: float | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", **options)
    assert open_image(path).mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-6))


def test_grey_16_bit_palette_and_alpha(tmp_path: Path) -> None:
    Image.fromarray(picture()[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(picture()[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(picture()).quantize(8).save(tmp_path / "palette.png")
    clear = np.dstack([picture(), np.zeros((64, 80), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    whole = Box(0, 0, 64, 80)
    assert (open_image(tmp_path / "grey.png").read(0, whole)[..., 1] == picture()[..., 0]).all()
    assert (open_image(tmp_path / "deep.png").read(0, whole)[..., 2] == picture()[..., 0]).all()
    assert open_image(tmp_path / "palette.png").read(0, whole).shape == (64, 80, 3)
    assert (open_image(tmp_path / "clear.png").read(0, whole) == 255).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_large_tiff_is_read_lazily_and_survives_pickling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planar: str
) -> None:
    pixels = picture(300, 420)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(stored, photometric="rgb", planarconfig=planar, tile=(64, 64), subifds=1, compression="zlib")
        half = stored[::2, ::2] if planar == "contig" else stored[:, ::2, ::2]
        tiff.write(half, photometric="rgb", planarconfig=planar, tile=(64, 64), subfiletype=1, compression="zlib")
    in_memory = open_image(path)
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 1000)
    ref = open_image(path)
    assert ref.levels == in_memory.levels == ((300, 420), (150, 210))
    assert len(pickle.dumps(ref)) < 5000
    again = pickle.loads(pickle.dumps(ref))  # noqa: S301 - written on this line
    for level, box in ((0, Box(100, 60, 251, 419)), (1, Box(0, 0, 150, 210))):
        np.testing.assert_array_equal(again.read(level, box), in_memory.read(level, box))


def test_lazy_file_and_pixels_in_memory_are_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture(300, 420), photometric="rgb", tile=(64, 64))
    Image.fromarray(picture(300, 420)).save(tmp_path / "a.png")
    ids = {open_image(tmp_path / "a.tif").content_id, open_image(tmp_path / "a.png").content_id}
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 1000)
    ids |= {open_image(tmp_path / "a.tif").content_id}
    assert ids == {image_from_array(picture(300, 420), name="layer").content_id}


def test_real_slides(shared_data: Path) -> None:
    folder = shared_data / "readers"
    slide = open_image(folder / "CMU-1-Small-Region.svs")
    assert (slide.shape, slide.mpp) == ((2967, 2220), 0.499)
    assert slide.read(0, Box(1000, 1000, 1100, 1100)).std() > 10
    assert open_image(folder / "OS-1-detail.ome.tif").mpp == pytest.approx(0.2271, abs=1e-4)
    assert open_image(folder / "boxes.tiff").levels == ((250, 300), (125, 150), (62, 75), (31, 37))
    assert open_image(folder / "boxes.tiff").mpp is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unreadable.svs", "cannot be read as an image"),
        ("unopenable.tiff", "cannot be read as an image"),
        ("subsampled.tif", "cannot be read as an image"),
        ("1bit.tif", "at least 16 x 16"),
        ("multi-channel-z-series.ome.tif", "holds 3 channels, 5 depths"),
        ("small_dicom.dcm", "DICOM"),
        ("boxes_0.dcm", "DICOM"),
        ("absent.tif", "no image file"),
    ],
)
def test_hostile_files_get_one_sentence(shared_data: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        open_image(shared_data / "readers" / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"II*\0", b"II*\0" + b"\xff" * 60, b"\x89PNG\r\n\x1a\n"]
)
def test_no_image_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_image(path)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("compression", ["zlib", "jpeg", "lzw"])
def test_damaged_tiff_is_an_input_error_or_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, lazy: bool
) -> None:
    if lazy:
        monkeypatch.setattr(images, "IN_MEMORY_BYTES", 1000)
    path = tmp_path / "good.tif"
    tifffile.imwrite(path, picture(128, 128), photometric="rgb", compression=compression, tile=(64, 64))
    good = path.read_bytes()
    rng = random.Random(1)
    refused: list[str] = []
    for k in range(40):
        data = bytearray(good[: rng.randrange(8, len(good))] if k % 2 else good)
        for _ in range(8):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        hurt = tmp_path / f"hurt{k}.tif"
        hurt.write_bytes(data)
        try:
            ref = open_image(hurt)
            box = Box.of_shape(ref.shape).intersect(Box(0, 0, 512, 512))
            pixels = ref.read(0, box)
        except InputError as error:
            refused.append(str(error))
        else:
            assert (pixels.shape, pixels.dtype) == ((*box.shape, 3), np.uint8)
    assert refused, "none of 40 damaged files was noticed"
    assert all("hurt" in told for told in refused), "the sentence names the file"


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (15, 40), (40, 15)])
def test_tiny_images_say_so(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="at least 16 x 16"):
        open_image(tmp_path / "a.tif")
