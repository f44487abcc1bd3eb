"""Label files come back as they went out, and polygons fill to the same labels."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.io.labels import label_path, read_labels, write_labels
from napari_histoseg.io.polygons import feature_collection, polygons


def some_labels() -> np.ndarray:
    labels = np.zeros((700, 900), np.uint8)
    labels[100:400, 200:700] = 1
    labels[200:300, 300:500] = 2
    labels[650:, :] = 255
    return labels


@pytest.mark.parametrize("file_format", ["tif", "png"])
def test_round_trip(tmp_path: Path, file_format: str) -> None:
    path = label_path(tmp_path, "a", file_format)
    write_labels(path, some_labels(), file_format=file_format, schema=EPITHELIUM, mpp=0.5)
    np.testing.assert_array_equal(read_labels(path), some_labels())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tif_states_resolution_and_classes(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", some_labels(), file_format="tif", schema=EPITHELIUM, mpp=0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages[0].tags["XResolution"].value == (20_000, 1)
        assert json.loads(tiff.pages[0].description)["classes"][2]["name"] == "epithelium"


def test_png_shows_the_colours_of_the_classes(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.png", some_labels(), file_format="png", schema=EPITHELIUM, mpp=None)
    colours = np.asarray(Image.open(tmp_path / "a.png").convert("RGBA"))
    assert tuple(colours[250, 400]) == (*EPITHELIUM.by_id(2).rgb, 255)
    assert colours[680, 10, 3] == 0


def test_ome_zarr_is_a_pyramid_of_the_same_values(tmp_path: Path) -> None:
    path = label_path(tmp_path, "a", "ome-zarr")
    write_labels(path, some_labels(), file_format="ome-zarr", schema=EPITHELIUM, mpp=0.5)
    write_labels(path, some_labels(), file_format="ome-zarr", schema=EPITHELIUM, mpp=0.5)  # replaces
    group = zarr.open_group(str(path), mode="r")
    np.testing.assert_array_equal(group["0"][:], some_labels())
    assert group["1"].shape == (350, 450)
    multiscale = group.attrs["multiscales"][0]
    assert multiscale["datasets"][1]["coordinateTransformations"][0]["scale"] == [1.0, 1.0]
    assert group.attrs["image-label"]["properties"][1] == {"label-value": 1, "class": "other tissue"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"]


def area(ring: list[tuple[int, int]]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) / 2


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(1, 10))
def test_polygons_cover_the_mask_exactly(mask: np.ndarray, strip_px: int) -> None:
    with mock.patch("napari_histoseg.io.polygons._STRIP_PX", strip_px):
        shapes = polygons(mask)
    assert sum(area(ring) for rings in shapes for ring in rings) == mask.sum()
    covered = np.zeros(mask.shape, int)
    for rings in shapes:
        assert area(rings[0]) > 0
        assert all(area(ring) < 0 for ring in rings[1:])
        for ring in rings:
            assert ring[0] == ring[-1]
            assert len(set(ring[:-1])) == len(ring) - 1, "a ring touches itself"
            sign = 1 if area(ring) > 0 else -1
            covered += sign * inside(ring, mask.shape)
    np.testing.assert_array_equal(covered, mask.astype(int))


def inside(ring: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Pixel centres inside a ring of axis-parallel edges, by counting crossings to the left."""
    count = np.zeros(shape, int)
    for (x0, y0), (x1, y1) in pairwise(ring):
        if x0 == x1:
            count[min(y0, y1) : max(y0, y1), x0:] += 1
    return count % 2


def test_geojson_is_what_qupath_reads(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.geojson", some_labels(), file_format="geojson", schema=EPITHELIUM, mpp=None)
    data = json.loads((tmp_path / "a.geojson").read_text())
    assert data["type"] == "FeatureCollection"
    names = [f["properties"]["classification"]["name"] for f in data["features"]]
    assert names == ["background", "other tissue", "epithelium"]
    outline, hole = data["features"][1]["geometry"]["coordinates"]
    assert sorted(map(tuple, outline[:-1])) == [(200, 100), (200, 400), (700, 100), (700, 400)]
    assert sorted(map(tuple, hole[:-1])) == [(300, 200), (300, 300), (500, 200), (500, 300)]
    assert feature_collection(np.full((9, 9), 255, np.uint8), EPITHELIUM)["features"] == []


def test_palette_and_one_bit_masks_keep_their_values(tmp_path: Path) -> None:
    palette = Image.fromarray(some_labels())
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / "p.png")
    Image.fromarray(some_labels() == 1).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png"), some_labels())
    np.testing.assert_array_equal(read_labels(tmp_path / "b.png"), some_labels() == 1)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((20, 20, 3), np.uint8), "one number per pixel"),
        (np.full((20, 20), 300, np.uint16), "0 to 255"),
        (np.full((20, 20), 0.5, np.float32), "0 to 255"),
        (np.full((20, 20), np.nan, np.float32), "0 to 255"),
    ],
)
def test_what_is_no_label_file(tmp_path: Path, pixels: np.ndarray, words: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", pixels)
    with pytest.raises(InputError, match=words):
        read_labels(tmp_path / "x.tif")


def test_unreadable_and_missing(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*\0nothing")
    (tmp_path / "x.png").write_bytes(b"nothing")
    for name in ("x.tif", "x.png", "absent.png"):
        with pytest.raises(InputError):
            read_labels(tmp_path / name)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    write_labels(path, some_labels(), file_format="tif", schema=EPITHELIUM, mpp=0.5)
    before = path.read_bytes()

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(ResourceError, match="No space left"):
        write_labels(path, some_labels() * 0, file_format="tif", schema=EPITHELIUM, mpp=0.5)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
