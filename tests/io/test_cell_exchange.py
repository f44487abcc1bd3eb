"""Cells out to QuPath and COCO and in again, and what other programs send that is odd or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cell_pictures import SHAPE, disks
from PIL import Image

from napari_histoseg.core.cells import CellTable
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.schemas import CELLULARITY
from napari_histoseg.inference.instances import cell_table
from napari_histoseg.io.cell_export import ImageCells, write_cell_features, write_coco
from napari_histoseg.io.cell_import import read_found_cells


def odd_cells() -> np.ndarray:
    """Disks that touch, one with a hole, one in two pieces, one whose pieces touch at a corner."""
    instances = disks(step=10, radius=5.8).astype(np.uint32)
    instances[14:16, 14:16] = 0
    instances[40:48, 70:78] = instances[50:60, 60:70] = 0
    instances[40:43, 70:73] = instances[45:48, 70:74] = 90
    instances[50:54, 60:64] = instances[54:58, 64:68] = 91
    return instances


def described(instances: np.ndarray, mpp: float | None = 0.5) -> CellTable:
    numbers = np.arange(1, int(instances.max()) + 1)
    classes = np.array([255 if k == 3 else 1 + k % 3 for k in numbers], np.uint8)
    table = cell_table(instances.astype(np.int32), mpp or 1.0, class_ids=classes)
    return CellTable(**{**vars(table), "area_um2": table.area_um2 if mpp else np.full(len(table), np.nan)})


def test_geojson_comes_back_pixel_by_pixel(tmp_path: Path) -> None:
    instances = odd_cells()
    table = described(instances)
    write_cell_features(tmp_path / "c.geojson", ImageCells("a.png", instances, table), CELLULARITY)
    features = json.loads((tmp_path / "c.geojson").read_text())["features"]
    assert len(features) == len(table)
    by_name = {feature["properties"]["name"]: feature for feature in features}
    assert "classification" not in by_name["3"]["properties"]
    assert by_name["4"]["properties"]["classification"] == {"name": "normal", "color": [86, 180, 233]}
    assert by_name["4"]["properties"]["measurements"]["Area µm^2"] == pytest.approx((instances == 4).sum() / 4)
    assert {by_name[name]["geometry"]["type"] for name in ("90", "91")} == {"MultiPolygon"}
    found = read_found_cells(tmp_path / "c.geojson", SHAPE)
    order = np.append(0, table.ids)
    np.testing.assert_array_equal(order[found.instances], instances)
    names = {int(table.ids[number - 1]): name for number, name in found.names.items()}
    expected = {int(k): CELLULARITY.by_id(c).name for k, c in zip(table.ids, table.class_ids, strict=True) if c != 255}
    assert names == expected
    assert found.notes == (
        "Cells in several pieces: 1; each was kept as one cell.",
        "Cells with holes: 1; they were kept.",
    )


def test_an_area_that_nobody_knows_is_left_out(tmp_path: Path) -> None:
    instances = disks().astype(np.uint32)
    cells = ImageCells("a.png", instances, described(instances, None))
    write_cell_features(tmp_path / "c.geojson", cells, CELLULARITY)
    assert "NaN" not in (tmp_path / "c.geojson").read_text()
    with pytest.raises(ResourceError, match="cannot be written"):
        write_cell_features(tmp_path / "absent" / "c.geojson", cells, CELLULARITY)


def decoded(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    """A COCO segmentation as a mask, by its definition."""
    if isinstance(segmentation, dict):
        values = np.arange(len(segmentation["counts"])) % 2
        return np.repeat(values, segmentation["counts"]).reshape(shape[::-1]).T.astype(bool)
    from matplotlib.path import Path as Outline

    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for ring in segmentation:
        inside |= Outline(np.reshape(ring, (-1, 2))).contains_points(np.stack([x, y], -1).reshape(-1, 2)).reshape(shape)
    return inside


def test_coco_holds_every_cell_exactly(tmp_path: Path) -> None:
    images = [ImageCells("a.png", odd_cells(), described(odd_cells()))]
    empty = np.zeros((5, 6), np.uint32)
    images.append(ImageCells("b.png", empty, described(empty)))
    write_coco(tmp_path / "coco.json", images, CELLULARITY)
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert [(i["id"], i["file_name"], i["height"], i["width"]) for i in coco["images"]] == [
        (1, "a.png", *SHAPE),
        (2, "b.png", 5, 6),
    ]
    assert {c["id"]: c["name"] for c in coco["categories"]}[255] == "unknown"
    assert sorted(a["id"] for a in coco["annotations"]) == list(range(1, len(images[0].table) + 1))
    kinds = set()
    for annotation in coco["annotations"]:
        mask = images[0].instances == annotation["cell_id"]
        np.testing.assert_array_equal(decoded(annotation["segmentation"], SHAPE), mask)
        y, x = np.nonzero(mask)
        assert annotation["bbox"] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
        assert annotation["area"] == mask.sum()
        kinds.add(type(annotation["segmentation"]))
    assert kinds == {dict, list}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_instance_maps_of_all_depths(tmp_path: Path, kind: type) -> None:
    largest = min(np.iinfo(kind).max, 3_000_000_000)
    instances = np.where(disks() > 0, disks() + (largest - 35), 0).astype(kind)
    tifffile.imwrite(tmp_path / "map.tif", instances)
    (tmp_path / "classes.csv").write_text(f"id,class\n{largest},normal\n{largest - 1},malignant\n7,normal\n")
    found = read_found_cells(tmp_path / "map.tif", SHAPE, tmp_path / "classes.csv")
    np.testing.assert_array_equal(found.instances, instances)
    assert found.count == 35 and found.names == {largest: "normal", largest - 1: "malignant"}
    assert found.notes[0].endswith("does not have: 1.")
    if kind is not np.uint32:
        Image.fromarray(instances).save(tmp_path / "map.png")
        np.testing.assert_array_equal(read_found_cells(tmp_path / "map.png", SHAPE).instances, instances)


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def test_objects_of_qupath_in_all_their_forms(tmp_path: Path) -> None:
    objects = [
        feature([square(2, 3, 4)], classification={"names": ["Tumor", "Ki-67"]}),
        feature([square(4, 3, 4)], classification={"name": "normal"}),
        feature([square(-3, -3, 5)], classification=None),
        feature([square(2.2, 3.1, 2)], classification={"name": "hidden"}),
        feature([square(500, 3, 4)]),
        feature([5, 5], "Point"),
        feature([[square(20, 20, 10), square(22, 22, 3)], [square(40, 20, 5)]], "MultiPolygon"),
        {"type": "Feature", "geometry": None, "properties": {}},
        feature([]),
    ]
    for name, document in {
        "c": {"type": "FeatureCollection", "features": objects},
        "l": objects,
        "o": objects[0],
    }.items():
        (tmp_path / f"{name}.geojson").write_text(json.dumps(document))
    found = read_found_cells(tmp_path / "c.geojson", SHAPE)
    assert found.count == 4 and found.names == {1: "Tumor: Ki-67", 2: "normal"}
    sizes = np.bincount(found.instances.ravel())[1:].tolist()
    assert sizes == [16, 8, 4, 100 - 9 + 25]
    assert found.notes == (
        "Objects without an area (points, lines), left out: 3.",
        "Objects outside the image or wholly on others, left out: 2.",
        "Pixels of more than one object: 12; each went to the first of them.",
        "Cells in several pieces: 1; each was kept as one cell.",
        "Cells with holes: 1; they were kept.",
    )
    assert read_found_cells(tmp_path / "l.geojson", SHAPE).count == 4
    assert read_found_cells(tmp_path / "o.geojson", SHAPE).count == 1


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "cannot be read as GeoJSON"),
        ("[1, 2]", "no GeoJSON of objects"),
        ('{"features": 5}', "no GeoJSON of objects"),
        (json.dumps([feature([[["a", 1], [2, 3], [4, 5]]])]), "Object 1 .* outline that cannot be read"),
        (json.dumps([feature([square(0, 0, 3)]), feature([[[1, 1], [2, 2]]])]), "Object 2 .* no polygon"),
        (json.dumps([feature([[[0, 0], [1, float("nan")], [2, 2]]])]), "no polygon"),
        (json.dumps([feature([[[1], [2], [3]]])]), "no polygon"),
        ("[]", "holds no cells"),
    ],
)
def test_wrong_geojson_is_a_sentence(tmp_path: Path, document: str, says: str) -> None:
    (tmp_path / "x.geojson").write_text(document)
    with pytest.raises(InputError, match=says):
        read_found_cells(tmp_path / "x.geojson", SHAPE)


def test_wrong_instance_maps_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of cells"):
        read_found_cells(tmp_path / "absent.tif", SHAPE)
    tifffile.imwrite(tmp_path / "small.tif", disks()[1:].astype(np.uint16))
    with pytest.raises(InputError, match="59 x 80 px, but the image is 60 x 80 px"):
        read_found_cells(tmp_path / "small.tif", SHAPE)
    tifffile.imwrite(tmp_path / "none.tif", np.zeros(SHAPE, np.uint16))
    with pytest.raises(InputError, match="holds no cells"):
        read_found_cells(tmp_path / "none.tif", SHAPE)
    tifffile.imwrite(tmp_path / "half.tif", np.full(SHAPE, 0.5, np.float32))
    with pytest.raises(InputError, match="no numbers of objects"):
        read_found_cells(tmp_path / "half.tif", SHAPE)
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "color.png")
    with pytest.raises(InputError, match="one number per pixel"):
        read_found_cells(tmp_path / "color.png", SHAPE)
    tifffile.imwrite(tmp_path / "good.tif", disks().astype(np.uint16))
    (tmp_path / "c.csv").write_text("cell,kind\n1,normal\n")
    with pytest.raises(InputError, match="needs the columns id and class"):
        read_found_cells(tmp_path / "good.tif", SHAPE, tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text("id,class\n1,normal\n2\n")
    with pytest.raises(InputError, match="needs the columns id and class"):
        read_found_cells(tmp_path / "good.tif", SHAPE, tmp_path / "c.csv")
    (tmp_path / "g.geojson").write_text("[]")
    with pytest.raises(InputError, match="names the classes itself"):
        read_found_cells(tmp_path / "g.geojson", SHAPE, tmp_path / "c.csv")
