"""The samples: the phantom is what its truth says, the files are what the code makes, downloads fail politely."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pooch
import pytest
import tifffile
from requests.exceptions import ConnectionError as NoConnection
from scipy import ndimage

from napari_histoseg.core.errors import InputError
from napari_histoseg.io.images import open_image
from napari_histoseg.io.labels import read_labels
from napari_histoseg.samples import SAMPLES, cmu1, get_sample
from napari_histoseg.samples.phantom import CELL_CLASSES, GLAND, STROMA, Phantom, make_phantom
from napari_histoseg.samples.phantom_sample import SEED, write_files

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(3, size_px=320)


def test_every_offline_sample_opens_with_a_resolution() -> None:
    for sample in SAMPLES:
        if sample.is_offline:
            ref = sample.open()
            assert min(ref.shape) >= 512
            assert ref.mpp == 0.5
    assert "estimated" in get_sample("ihc").open().notes[-1]


def test_unknown_sample_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'phantom'"):
        get_sample("fantom")


def test_same_seed_same_tissue(phantom: Phantom) -> None:
    again, other = make_phantom(3, size_px=320), make_phantom(4, size_px=320)
    np.testing.assert_array_equal(again.image, phantom.image)
    np.testing.assert_array_equal(again.instances, phantom.instances)
    assert (other.regions != phantom.regions).mean() > 0.05


def test_cells_are_those_of_the_instance_map(phantom: Phantom) -> None:
    ids, areas = np.unique(phantom.instances[phantom.instances > 0], return_counts=True)
    assert ids.tolist() == [cell.id for cell in phantom.cells]
    assert areas.tolist() == [cell.area_px for cell in phantom.cells]
    centres = ndimage.center_of_mass(phantom.instances > 0, phantom.instances, ids)
    for cell, (y, x) in zip(phantom.cells, centres, strict=True):
        assert (cell.y, cell.x) == pytest.approx((y, x), abs=0.01)
    assert {cell.cell_class for cell in phantom.cells} == set(CELL_CLASSES)


def test_classes_lie_where_they_belong(phantom: Phantom) -> None:
    for cell in phantom.cells:
        region = phantom.regions[round(cell.y), round(cell.x)]
        assert region == (GLAND if cell.cell_class == "epithelial" else STROMA)
    assert sorted(np.unique(phantom.regions)) == [0, 1, 2]


def test_colours_are_those_of_the_stain(phantom: Phantom) -> None:
    nuclei = phantom.instances > 0
    glass, stroma = phantom.regions == 0, (phantom.regions == 1) & ~nuclei
    assert phantom.image[ndimage.binary_erosion(glass, iterations=4)].min() > 225
    red, green, blue = phantom.image[stroma].mean(axis=0)
    assert red > blue > green
    assert phantom.image[nuclei].mean() < phantom.image[stroma].mean() - 50


def test_magnification_changes_sizes_only(phantom: Phantom) -> None:
    wide = make_phantom(3, size_px=160, mpp=1.0)
    area = {
        p.mpp: np.median([c.area_px * p.mpp**2 for c in p.cells if c.cell_class == "inflammatory"])
        for p in (phantom, wide)
    }
    assert area[1.0] == pytest.approx(area[0.5], rel=0.15)


def test_sample_data_is_what_the_command_makes(tmp_path: Path) -> None:
    write_files(tmp_path, make_phantom(SEED))
    made = sorted(p.name for p in tmp_path.iterdir())
    assert sorted(p.name for p in SAMPLE_DATA.iterdir() if p.suffix != ".md") == made
    for name in made:
        here, there = tmp_path / name, SAMPLE_DATA / name
        if name.endswith(".csv"):
            assert here.read_text() == there.read_text()
        else:
            read = tifffile.imread if name.endswith(".tif") else read_labels
            # Other processors round the last bit of a filter differently.
            assert np.abs(read(here).astype(int) - read(there)).max() <= (1 if name == "phantom.tif" else 0)
    assert open_image(SAMPLE_DATA / "phantom.tif").mpp == 0.5
    with (SAMPLE_DATA / "phantom_points.csv").open() as file:
        assert next(csv.reader(file)) == ["x", "y", "class"]


def test_hash_is_that_of_the_slide(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "readers" / cmu1.FILE_NAME).read_bytes()
    assert hashlib.sha256(data).hexdigest() == cmu1.SHA256
    (tmp_path / cmu1.FILE_NAME).write_bytes(data)
    assert cmu1.fetch(tmp_path) == tmp_path / cmu1.FILE_NAME  # found, so nothing is downloaded


def test_offline_says_what_to_do_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise NoConnection("no route to host")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", offline)
    with pytest.raises(InputError, match="connect to the internet") as error:
        cmu1.fetch(tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def send_page(_self: object, _url: str, target: str, _pooch: object, **_options: object) -> None:
        Path(target).write_bytes(b"<html>please log in</html>")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", send_page)
    with pytest.raises(InputError, match="not the slide that is expected"):
        cmu1.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []
