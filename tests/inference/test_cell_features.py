"""Features of cells against independent measures, and that they do not depend on what else is measured."""

from __future__ import annotations

import numpy as np
import pytest
from cell_pictures import disks
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from skimage.measure import regionprops

from napari_histoseg.core.cell_geometry import CellGeometry
from napari_histoseg.core.image import image_from_array
from napari_histoseg.inference import cell_features
from napari_histoseg.inference.cell_features import FEATURES, FeatureRequest, measure_cells
from napari_histoseg.inference.stain import haematoxylin, haematoxylin_and_eosin
from napari_histoseg.jobs.job import run_job

MPP = 0.5
RNG = np.random.default_rng(4)
PIXELS = RNG.integers(60, 250, (120, 140, 3), dtype=np.uint8)


def request(instances: NDArray[np.integer], pixels: NDArray[np.uint8], ids: list[int] | None = None) -> FeatureRequest:
    numbers = np.asarray(instances, np.uint32)
    chosen = np.setdiff1d(np.unique(numbers), [0]).astype(np.int64) if ids is None else np.array(ids, np.int64)
    boxes = CellGeometry(numbers, int(numbers.max()) + 1).boxes(chosen)
    return FeatureRequest(image_from_array(pixels, name="a", mpp=MPP), numbers, chosen, boxes)


def measured(instances: NDArray[np.integer], pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    return dict(zip(FEATURES, run_job(measure_cells(request(instances, pixels))).T, strict=True))


def shapes() -> NDArray[np.int64]:
    """A disk, a thin slanting ellipse, a hook, two touching squares, and a single pixel in the corner."""
    y, x = np.mgrid[:120, :140]
    instances = np.zeros((120, 140), np.int64)
    instances[np.hypot(y - 30, x - 30) < 15] = 1
    u, v = (y - 30) * 0.8 + (x - 90) * 0.6, (x - 90) * 0.8 - (y - 30) * 0.6
    instances[np.hypot(u / 25, v / 5) < 1] = 2
    instances[70:110, 10:20] = 3
    instances[100:110, 10:45] = 3
    instances[70:90, 60:80] = 4
    instances[70:90, 80:95] = 5
    instances[0, 139] = 6
    return instances


def test_shapes_agree_with_scikit_image() -> None:
    instances = shapes()
    found = measured(instances, PIXELS)
    for k, region in enumerate(regionprops(instances)):
        if region.area == 1:
            continue
        from skimage.measure import perimeter_crofton

        expected = {
            "area": region.area * MPP**2,
            "perimeter": perimeter_crofton(np.pad(region.image, 1), directions=4) * MPP,
            "eccentricity": region.eccentricity,
        }
        for name, value in expected.items():
            assert found[name][k] == pytest.approx(value, rel=2e-3), name
        for name, value in (("major_axis", region.axis_major_length), ("minor_axis", region.axis_minor_length)):
            assert found[name][k] == pytest.approx(value * MPP, rel=0.01), name  # scikit-image's pixels have no width


def test_hulls_agree_with_quickhull_of_the_pixels_corners() -> None:
    instances = shapes()
    found = measured(instances, PIXELS)
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) - 0.5
    for k in range(1, 7):
        places = np.argwhere(instances == k)
        hull = ConvexHull((places[:, None] + corners).reshape(-1, 2)).volume  # of points in the plane: the area
        assert found["solidity"][k - 1] == pytest.approx(len(places) / hull, rel=0.05)


def test_a_disk_is_round() -> None:
    y, x = np.mgrid[:120, :140]
    found = measured(np.hypot(y - 60, x - 60) < 30, PIXELS)
    assert found["roundness"][0] == pytest.approx(1, abs=0.02) and found["eccentricity"][0] < 0.1
    assert found["solidity"][0] > 0.97 and found["major_axis"][0] == pytest.approx(30, rel=0.01)


def test_stain_is_that_of_the_pixels() -> None:
    instances = shapes()
    found = measured(instances, PIXELS)
    stain, eosin = haematoxylin_and_eosin(PIXELS)
    np.testing.assert_array_equal(stain, haematoxylin(PIXELS))
    for k in range(1, 7):
        for name, values in (("haematoxylin", stain), ("eosin", eosin)):
            inside = values[instances == k]
            assert found[name][k - 1] == pytest.approx(inside.mean(), rel=1e-4)
            assert found[f"{name}_sd"][k - 1] == pytest.approx(inside.std(), rel=1e-4, abs=1e-4)


def test_a_ring_is_of_no_cell_and_a_cell_among_cells_has_none() -> None:
    instances = np.zeros((120, 140), int)
    instances[40:80, 40:80] = 1
    instances[50:70, 50:70] = 2
    pixels = np.full((120, 140, 3), 230, np.uint8)
    pixels[instances > 0] = (90, 60, 140)
    pixels[40:80, 80:84] = (170, 150, 200)
    found = measured(instances, pixels)
    assert np.isnan(found["ring_haematoxylin"][1]) and np.isnan(found["contrast"][1])
    inside, outside = haematoxylin(pixels[60, 60]), haematoxylin(pixels[0, 0])
    beside = haematoxylin(pixels[60, 82])
    assert outside < found["ring_haematoxylin"][0] < beside
    assert inside - beside < found["contrast"][0] < inside - outside


def test_a_dark_rim_and_coarse_chromatin_are_told() -> None:
    y, x = np.mgrid[:120, :140]
    radius = np.hypot(y - 60, x - 60)
    pixels = np.full((120, 140, 3), 230, np.uint8)
    pixels[radius < 30] = (150, 120, 180)
    plain = measured(radius < 30, pixels)
    rim = pixels.copy()
    rim[(radius > 26) & (radius < 30)] = (80, 50, 130)
    assert measured(radius < 30, rim)["rim"][0] > 0.5
    specks = pixels.copy()
    specks[(radius < 28) & (y % 8 < 3) & (x % 8 < 3)] = (60, 40, 110)
    assert measured(radius < 30, specks)["grain"][0] > 2 * plain["grain"][0]
    assert plain["rim"][0] == 0 and plain["haematoxylin_sd"][0] == 0


WIDE = np.pad(disks((160, 200)), ((3, 0), (5, 0)))
WIDE_PIXELS = RNG.integers(60, 250, (*WIDE.shape, 3), dtype=np.uint8)
IDS = np.setdiff1d(np.unique(WIDE), [0]).tolist()


@settings(max_examples=20, deadline=None)
@given(ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=12, unique=True), tile_px=st.integers(20, 300))
def test_a_cell_has_the_same_features_whatever_else_is_measured(ids: list[int], tile_px: int) -> None:
    whole = run_job(measure_cells(request(WIDE, WIDE_PIXELS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_features, "_TILE_PX", tile_px)
        some = run_job(measure_cells(request(WIDE, WIDE_PIXELS, ids)))
    np.testing.assert_allclose(some, whole[np.searchsorted(IDS, ids)], rtol=1e-4, atol=1e-5)


def test_it_steps_from_tile_to_tile_and_no_cell_is_no_work() -> None:
    instances = np.zeros((1100, 600), np.uint32)
    instances[10:20, 10:20], instances[1050:1060, 10:20] = 1, 2
    pixels = np.full((1100, 600, 3), 200, np.uint8)
    steps: list[tuple[int, int]] = []
    run_job(measure_cells(request(instances, pixels)), lambda step: steps.append((step.done, step.total)))
    assert steps == [(0, 2), (1, 2)]
    assert run_job(measure_cells(request(instances, pixels, []))).shape == (0, len(FEATURES))
