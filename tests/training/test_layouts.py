"""Public data sets in the folders they are published in, and what is said when something in them is wrong."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image, ImageDraw

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS5, BCSS22, CRCHISTO, PANNUKE
from training.datasets import DATASETS, crchisto, ebhi_regions, get_dataset
from training.datasets.monuseg import draw_outlines
from training.datasets.source import open_source
from training.prepared import Prepared, load

from . import layouts


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Prepared]:
    def prepare_in(name: str, src: Path) -> Prepared:
        get_dataset(name).prepare(src, tmp_path / "data" / name)
        return load(tmp_path / "data", name)

    return prepare_in


def only(folder: Path, pattern: str) -> Path:
    return next(iter(sorted(folder.rglob(pattern))))


def test_dsb2018_takes_stained_images_and_parts_overlapping_nuclei(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("dsb2018", layouts.dsb2018(tmp_path / "src"))
    assert [item["key"] for item in prepared.items] == ["a" * 16, "b" * 16]
    instances = prepared[0].instances
    assert np.unique(instances).tolist() == [0, 1, 2, 3]
    areas = np.bincount(instances.ravel())[1:]
    small = [layouts.disc(24, 32, *circle) for circle in ((10, 16, 3), (20, 27, 2))]
    assert areas[1] == small[0].sum() and areas[2] == small[1].sum()
    np.testing.assert_array_equal(prepared[0].labels, instances > 0)
    np.testing.assert_array_equal(prepared[0].image, layouts.image())


def test_dsb2018_mask_of_another_size(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.dsb2018(tmp_path / "src")
    layouts.save(only(src, "masks/1.png"), np.zeros((24, 30), np.uint8))
    with pytest.raises(InputError, match=r"masks/1\.png' are 24 x 30 pixels, but the image is 24 x 32"):
        prepare("dsb2018", src)
    assert not list((tmp_path / "data").iterdir())


def test_monuseg_outlines_become_nuclei(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("monuseg", layouts.monuseg(tmp_path / "src"))
    assert [item["split"] for item in prepared.items][-1] == "test" and len(prepared) == 3
    assert len({item["split"] for item in prepared.where(group="TCGA-AA-0001").items}) == 1
    instances = prepared[0].instances
    assert np.unique(instances).tolist() == [0, 1, 2, 3]
    assert instances[18, 18] == instances[21, 23] != instances[5, 5]  # the smaller square lies on top
    assert instances[0, 31] > 0 and prepared[0].facts["mpp"] == 0.25


def test_drawn_outlines_agree_with_pillow() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        outline = 60 + rng.uniform(20, 45, (12, 1)) * np.column_stack([np.cos(angles), np.sin(angles)])
        drawn = draw_outlines([outline], (120, 120), "here") > 0
        canvas = Image.new("1", (120, 120))
        ImageDraw.Draw(canvas).polygon([tuple(p) for p in outline], fill=1)
        union = np.asarray(canvas) | drawn
        assert (np.asarray(canvas) & drawn).sum() / union.sum() > 0.93


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<Annotations>", "no whole ImageScope annotation"),
        ("<Annotations/>", "holds no outlined region"),
        (
            '<A><Region><Vertex X="90" Y="4"/><Vertex X="95" Y="4"/><Vertex X="95" Y="9"/></Region></A>',
            r"outline at x 90, y 4, outside its image of 32 x 24",
        ),
    ],
)
def test_monuseg_broken_annotations(tmp_path: Path, prepare: Callable, content: str, message: str) -> None:
    src = layouts.monuseg(tmp_path / "src")
    only(src, "*.xml").write_text(content)
    with pytest.raises(InputError, match=message):
        prepare("monuseg", src)


def test_glas_keeps_published_parts_and_patients(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("glas", layouts.glas(tmp_path / "src"))
    facts = {item["key"]: item for item in prepared.items}
    assert facts["testA_1"]["split"] == facts["testB_1"]["split"] == "test" and facts["testB_1"]["part"] == "testB"
    assert facts["train_1"]["group"] == facts["train_2"]["group"] != facts["train_3"]["group"]
    assert facts["train_1"]["split"] == facts["train_2"]["split"] and facts["train_1"]["grade"] == "benign"
    assert all(sample.instances.max() == 2 and sample.labels.max() == 1 for sample in prepared)
    (only(tmp_path / "src", "train_2_anno.bmp")).unlink()
    with pytest.raises(InputError, match=r"train_2\.bmp has no annotation"):
        prepare("glas", tmp_path / "src")


def test_crchisto_points_count_from_one(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("crchisto", layouts.crchisto(tmp_path / "src"))
    names = {c.id: c.name for c in CRCHISTO.classes} | {IGNORE: "only detected"}
    found = {(float(y), float(x)): names[int(c)] for y, x, c in prepared[0].points}
    assert found == {
        (0, 0): "epithelial",
        (19, 30.5): "epithelial",
        (8, 4): "inflammatory",
        (1, 6): "others",
        (11, 19): "only detected",
    }


def test_crchisto_points_outside_and_files_of_another_kind(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.crchisto(tmp_path / "src")
    path = only(src, "img1_others.mat")
    scipy.io.savemat(path, {"detection": np.array([[400.0, 3.0]])})
    with pytest.raises(InputError, match=r"1 of \d points lie outside the image 'img1' of 24 x 32 .* x 399, y 2"):
        prepare("crchisto", src)
    path.write_bytes(b"no mat file at all, but long enough to have a header" * 9)
    with pytest.raises(InputError, match=r"img1_others\.mat holds no list of points"):
        prepare("crchisto", src)
    path.unlink()
    with pytest.raises(InputError, match="has no points of 'others'"):
        prepare("crchisto", src)


@pytest.fixture
def some_crchisto(shared_data: Path, tmp_path: Path) -> Path:
    """Every fifth of the real images with its points."""
    with zipfile.ZipFile(shared_data / "crchisto_points_subset.zip") as archive:
        names = sorted(archive.namelist())
        stems = [Path(name).stem for name in names if name.endswith(".jpg")][::5]
        archive.extractall(tmp_path / "some", [name for name in names if Path(name).stem in stems])
    return tmp_path / "some"


def test_real_crchisto_points_lie_on_dark_nuclei(shared_data: Path, some_crchisto: Path, prepare: Callable) -> None:
    with open_source(shared_data, crchisto.DATASET.archives, "") as source:
        images = [(image, points) for _, image, points in crchisto.read_images(source)]
    points = np.concatenate([points for _, points in images])
    kinds = {c.name: int((points[:, 2] == c.id).sum()) for c in CRCHISTO.classes if c.id}
    assert kinds == {"epithelial": 2765, "inflammatory": 1082, "fibroblast": 1024, "others": 790}
    assert abs((points[:, 2] == IGNORE).sum() - 3408) < 30
    darkness = [np.median(image) - np.median(image[tuple(p[:, :2].round().astype(int).T)]) for image, p in images]
    assert np.mean(darkness) > 20
    for sample in prepare("crchisto", some_crchisto):
        y, x, kind = sample.points.round().astype(int).T
        assert (sample.labels[y, x] == kind).mean() > 0.97 and (sample.instances[y, x] > 0).mean() > 0.97
        assert sample.instances.max() <= len(sample.points) and 0.05 < (sample.labels > 0).mean() < 0.6


def test_scores_derived_from_real_points(some_crchisto: Path, prepare: Callable) -> None:
    prepared = prepare("crchisto_scores", some_crchisto)
    scores = np.array([item["score"] for item in prepared.items])
    assert prepared.images.shape[1:] == (256, 256, 3) and len(prepared) > 30
    assert scores.min() == 0 and 0.25 < scores.max() < 0.6 and (scores > 0.1).mean() > 0.3
    dark = np.array([(sample.labels == 1).mean() for sample in prepared])
    assert np.corrcoef(scores, dark)[0, 1] > 0.85
    splits = {item["group"]: set() for item in prepared.items}
    for item in prepared.items:
        splits[item["group"]].add(item["split"])
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize(
    ("name", "classes", "ignored"),
    [("bcss", BCSS5.ids, 1), ("bcss_strict", BCSS5.ids, 3), ("bcss22", BCSS22.ids, 1)],
)
def test_bcss_groups(tmp_path: Path, prepare: Callable, name: str, classes: tuple[int, ...], ignored: int) -> None:
    prepared = prepare(name, layouts.bcss(tmp_path / "src"))
    first = prepared[0].labels.ravel()[:22]
    assert set(first.tolist()) == {*classes, IGNORE} and (first == IGNORE).sum() == ignored
    assert prepared.items[0]["codes"][1:] == [1] * 21 and prepared.items[0]["mpp"] == 0.25
    assert len({item["split"] for item in prepared.where(group="TCGA-A1-A0SK").items}) == 1


def test_bcss_unknown_code_missing_image_and_other_table(tmp_path: Path, prepare: Callable, shared_data: Path) -> None:
    src = layouts.bcss(tmp_path / "src")
    mask = only(src, "masks/*DX2*.png")
    layouts.save(mask, np.full((24, 32), 22, np.uint8))
    with pytest.raises(InputError, match=r"DX2.* holds the code 22, which is none of 0 to 21"):
        prepare("bcss", src)
    layouts.save(mask, np.full((24, 31), 1, np.uint8))
    with pytest.raises(InputError, match="are 24 x 31 pixels, but the image is 24 x 32"):
        prepare("bcss", src)
    table = (shared_data / "bcss" / "gtruth_codes.tsv").read_text()
    (mask.parent.parent / "meta").mkdir()
    (mask.parent.parent / "meta" / "gtruth_codes.tsv").write_text(table.replace("stroma\t2", "stroma\t3"))
    with pytest.raises(InputError, match="gives 'stroma' the code 3"):
        prepare("bcss", src)
    (mask.parent.parent / "meta" / "gtruth_codes.tsv").write_text(table)
    only(src, "rgbs_colorNormalized/*DX1*.png").unlink()
    with pytest.raises(InputError, match=r"DX1.* has no image"):
        prepare("bcss", src)


def test_pannuke_folds_channels_and_tissues(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("pannuke", layouts.pannuke(tmp_path / "src"))
    assert [item["fold"] for item in prepared.items] == [1, 1, 2, 2, 3, 3]
    assert [item["split"] for item in prepared.items[::2]] == ["train", "validation", "test"]
    assert prepared.items[1]["tissue"] == "HeadNeck"
    labels, instances = prepared[0].labels, prepared[0].instances
    names = {c.id: c.name for c in PANNUKE.classes}
    assert names[labels[12, 12]] == names[labels[17, 17]] == "neoplastic" and names[labels[22, 22]] == "inflammatory"
    assert names[labels[105, 105]] == "epithelial (non-neoplastic)" and labels[50, 50] == 0
    assert np.unique(instances).tolist() == [0, 1, 2, 3, 4]
    assert instances[17, 17] == instances[12, 12] != instances[22, 22]
    np.testing.assert_array_equal(instances > 0, labels > 0)
    assert (prepared.images == 200).all()


def test_a_missing_or_uneven_fold_is_named(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.pannuke(tmp_path / "src")
    types = only(src, "images/fold3/types.npy")
    np.save(types, np.array(["Breast"]))
    with pytest.raises(InputError, match="Fold 3 of PanNuke has 2 images, 2 masks and 1 tissue types"):
        prepare("pannuke", src)
    np.save(types, np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(InputError, match="no whole array of numbers"):
        prepare("pannuke", src)
    only(src, "masks/fold2/masks.npy").unlink()
    with pytest.raises(InputError, match=r"Fold 2 of PanNuke is not whole: .* holds no 'masks/fold2/masks\.npy'"):
        prepare("pannuke", src)
    assert not list((tmp_path / "data").iterdir())


def test_breastpathq_patches_have_scores(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("breastpathq", layouts.breastpathq(tmp_path / "src"))
    tests = prepared.where(split="test")
    assert [item["score"] for item in tests.items] == [pytest.approx(0.3), pytest.approx(0.95)]
    assert tests.items[0]["scores"] == [0.2, 0.4] and tests[0].labels is None
    assert (len(prepared.where(split="train")), len(prepared.where(split="validation"))) == (11, 1)
    assert prepared.images.shape == (14, 32, 32, 3)


def test_breastpathq_bad_scores_and_missing_patches(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.breastpathq(tmp_path / "src")
    labels = only(src, "val_labels.csv")
    labels.write_text("slide,rid,y\n103,1,1.5\n")
    with pytest.raises(InputError, match="103_1 no score from 0 to 1"):
        prepare("breastpathq", src)
    labels.write_text("slide,rid,y\n103,9,0.5\n")
    with pytest.raises(InputError, match=r"holds no patch 'validation/103_9\.tif'"):
        prepare("breastpathq", src)
    labels.unlink()
    with pytest.raises(InputError, match=r"holds no 'val_labels\.csv'"):
        prepare("breastpathq", src)


def test_breastpathq_cells_are_points_with_classes(tmp_path: Path, prepare: Callable) -> None:
    prepared = prepare("breastpathq_cells", layouts.breastpathq(tmp_path / "src"))
    points = prepared[0].points
    assert sorted(map(tuple, points.tolist())) == [(1, 1, IGNORE), (4, 3, 3), (9, 9, 2), (20, 30, 1)]
    assert [prepared[0].labels[int(y), int(x)] for y, x, _ in points] == points[:, 2].tolist()
    assert len({item["split"] for item in prepared.items}) == 1
    only(tmp_path / "src", "*_key.xml").write_text("<graphic><point>x</point></graphic>")
    with pytest.raises(InputError, match="no whole list of cell centres"):
        prepare("breastpathq_cells", tmp_path / "src")


def test_ebhi_as_published_and_its_regions(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.ebhi(tmp_path / "src")
    prepared = prepare("ebhi", src)
    assert {item["case_id"] for item in prepared.items} == {f"GT200{k}" for k in range(6)}
    regions = prepare("ebhi_regions", src)
    assert [item["split"] for item in regions.items] == [item["split"] for item in prepared.items]
    for sample in regions:
        assert sample.labels[5, 5] == 0 and sample.labels[200, 200] == 2
        inside = int(sample.labels[112, 130])
        assert inside == {"Adenocarcinoma": 1, "High-grade IN": IGNORE}.get(sample.facts["category"], 0)
    for sample in prepare("ebhi_tissue", src):
        assert sample.labels[5, 5] == 0 and sample.labels[200, 200] == 2
        inside = int(sample.labels[112, 130])
        assert inside == {"Adenocarcinoma": 1, "High-grade IN": IGNORE}.get(sample.facts["category"], 3)
    with pytest.raises(InputError, match="'Unknown' is no category"):
        ebhi_regions.REGIONS.labels(np.zeros((2, 2), np.uint8), "Unknown")


def test_pairs_in_the_colours_of_the_paper_or_of_a_palette(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.pairs(tmp_path / "src")
    labels = prepare("pairs", src)[0].labels
    assert (labels[:8] == 1).all() and (labels[8:16] == 2).all() and (labels[16:] == 0).all()
    (src / "palette.json").write_text(json.dumps({"tumour": "#ff0000", "rest": "#000000", "stroma": "#00ff00"}))
    (src / "groups.csv").write_text("image,group\nfield1.jpg,P1\nfield2.jpg,P1\n")
    prepared = prepare("pairs", src)
    assert prepared[0].labels[0, 0] == 0 and prepared[0].labels[20, 0] == 1
    assert {item["group"] for item in prepared.items} == {"P1"}


def test_pairs_with_wrong_colours_sizes_or_palette(tmp_path: Path, prepare: Callable) -> None:
    src = layouts.pairs(tmp_path / "src")
    colors = np.zeros((24, 32, 3), np.uint8)
    colors[3, :5] = (250, 10, 0)
    layouts.save(src / "labels" / "field2.png", colors)
    with pytest.raises(
        InputError, match=r"field2\.png has 5 pixels in 1 colours .* \(250, 10, 0\); the nearest .* \(255, 0, 0\)"
    ):
        prepare("pairs", src)
    layouts.save(src / "labels" / "field2.png", colors[:20])
    with pytest.raises(InputError, match="are 20 x 32 pixels, but the image is 24 x 32"):
        prepare("pairs", src)
    (src / "labels" / "field2.png").unlink()
    with pytest.raises(InputError, match=r"field2\.jpg has no label image"):
        prepare("pairs", src)
    for text in ("[1, 2]", "{", '{"a": "red"}'):
        (src / "palette.json").write_text(text)
        with pytest.raises(InputError, match=r"is no palette|write it as #rrggbb"):
            prepare("pairs", src)


@pytest.mark.parametrize(("name", "count"), [("dsb2018", 107), ("monuseg", 13), ("glas", 30)])
def test_real_sets(shared_data: Path, prepare: Callable, name: str, count: int) -> None:
    prepared = prepare(name, shared_data)
    assert len(prepared) == count
    for sample in prepared.take([0, len(prepared) - 1]):
        assert sample.instances.max() > 1 and 0.01 < sample.labels.mean() < 0.9
        assert sample.image[sample.labels == 1].mean() < sample.image[sample.labels == 0].mean()
    groups = {
        split: {i["group"] for i in prepared.where(split=split).items} for split in ("train", "validation", "test")
    }
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["validation"]


def test_only_free_sets_may_ship() -> None:
    free = {name for name, dataset in DATASETS.items() if dataset.may_ship}
    assert free == {"ebhi", "ebhi_regions", "ebhi_tissue", "dsb2018", "bcss", "bcss_strict", "bcss22"}
    assert all("CC BY 4.0" in DATASETS[n].licence or "CC0" in DATASETS[n].licence for n in free)
