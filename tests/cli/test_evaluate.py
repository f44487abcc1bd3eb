"""``napari-histoseg evaluate``: numbers against counts by hand, the shape scripts rely on, tables, charts, mistakes."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from napari_histoseg.cli import main
from napari_histoseg.core.schemas import EPITHELIUM
from napari_histoseg.io.labels import write_instances, write_probabilities
from napari_histoseg.learning import metrics_gland, metrics_instance
from napari_histoseg.learning.metrics_auc import auc_per_class

Capture = pytest.CaptureFixture[str]


def run(folder: Path, task: str, *words: object) -> int:
    return main(
        ["evaluate", "--pred", str(folder / "pred"), "--truth", str(folder / "truth"), "--task", task, *map(str, words)]
    )


def answer(capsys: Capture, folder: Path, task: str, *words: object) -> Any:
    """The one JSON document on standard output."""
    capsys.readouterr()
    assert run(folder, task, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["task", "n", "per_class", "overall"] and told["task"] == task
    return told


def failure(capsys: Capture, folder: Path, task: str, *words: object) -> str:
    capsys.readouterr()
    assert run(folder, task, *words) == 1
    return capsys.readouterr().err


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pred").mkdir()
    (tmp_path / "truth").mkdir()
    return tmp_path


# semantic


@pytest.fixture
def maps(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Four true and four predicted class maps of the schema "epithelium", with unknown pixels in one truth."""
    rng = np.random.default_rng(0)
    truths, preds = rng.integers(0, 3, (2, 4, 20, 20), dtype=np.uint8)
    truths[0, :3] = 255
    truths[1][truths[1] == 2] = 0
    for kind, images in (("truth", truths), ("pred", preds)):
        for k, labels in enumerate(images):
            Image.fromarray(labels).save(folder / kind / f"{k}.png")
    return truths, preds


def test_class_maps_by_hand(maps: tuple[np.ndarray, np.ndarray], folder: Path, capsys: Capture) -> None:
    truths, preds = maps
    told = answer(capsys, folder, "semantic", "--schema", "epithelium")
    known = truths < 255

    def dice(k: int) -> float:
        a, b = (truths[k] == 2)[known[k]], (preds[k] == 2)[known[k]]
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    values = [dice(k) for k in (0, 2, 3)]  # image 1 holds no epithelium
    row, overall = told["per_class"]["epithelium"], told["overall"]
    assert (row["dice_mean"], row["dice_sd"], row["n"]) == pytest.approx((np.mean(values), np.std(values), 3))
    assert row["dice_ci_low"] < row["dice_mean"] < row["dice_ci_high"]
    both = ((truths == 2) & (preds == 2)).sum()
    assert row["iou"] == pytest.approx(both / (((truths == 2) | (preds == 2)) & known).sum())
    assert row["hard_auc_n"] == 3 and "auc_mean" not in row
    assert overall["accuracy"] == pytest.approx((truths == preds)[known].mean())
    a, b = (truths[known] > 0), (preds[known] > 0)
    assert overall["foreground_dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    shared = sum(((truths == k) & (preds == k)).sum() for k in (1, 2))
    either = sum((((truths == k) | (preds == k)) & known).sum() for k in (1, 2))
    assert overall["micro_iou"] == pytest.approx(shared / either)
    assert overall["macro_iou"] == pytest.approx(
        np.mean([told["per_class"][c]["iou"] for c in ("other tissue", "epithelium")])
    )


def test_a_class_that_is_never_predicted_has_two_areas(folder: Path, capsys: Capture) -> None:
    labels = np.repeat(np.arange(3, dtype=np.uint8), 4).reshape(3, 4)
    Image.fromarray(labels).save(folder / "truth" / "a.png")
    Image.fromarray(np.where(labels == 2, 1, labels)).save(folder / "pred" / "a.png")
    row = answer(capsys, folder, "semantic", "--schema", "epithelium")["per_class"]["epithelium"]
    assert (row["hard_auc_mean"], row["release_auc_mean"]) == (0.5, 0.0)


def test_class_maps_without_names_have_their_numbers(
    maps: tuple[np.ndarray, np.ndarray], folder: Path, capsys: Capture
) -> None:
    named = answer(capsys, folder, "semantic", "--schema", "epithelium")
    told = answer(capsys, folder, "semantic")
    assert list(told["per_class"]) == ["0", "1", "2"]
    assert list(told["per_class"].values()) == list(named["per_class"].values()) and told["overall"] == named["overall"]


def test_probabilities_give_roc_areas(maps: tuple[np.ndarray, np.ndarray], folder: Path, capsys: Capture) -> None:
    truths, _ = maps
    rng = np.random.default_rng(1)
    scores = rng.random((4, 3, 20, 20)).astype(np.float16).astype(np.float32)
    for k in range(4):
        write_probabilities(folder / "pred" / f"{k}_probabilities.tif", scores[k], schema=EPITHELIUM, mpp=None)
    row = answer(capsys, folder, "semantic", "--schema", "epithelium")["per_class"]["epithelium"]
    expected = [auc_per_class(truths[k], scores[k])[2] for k in (0, 2, 3)]
    assert (row["auc_mean"], row["auc_n"]) == pytest.approx((np.mean(expected), 3))
    write_probabilities(folder / "pred" / "2_probabilities.tif", scores[2, :, :9], schema=EPITHELIUM, mpp=None)
    assert "has (9, 20) px" in failure(capsys, folder, "semantic", "--schema", "epithelium")
    (folder / "pred" / "2_probabilities.tif").unlink()
    assert "auc_mean" not in answer(capsys, folder, "semantic", "--schema", "epithelium")["per_class"]["epithelium"]


def test_tables_and_charts(maps: tuple[np.ndarray, np.ndarray], folder: Path, capsys: Capture) -> None:
    out = folder / "out"
    told = answer(capsys, folder, "semantic", "--schema", "epithelium", "--out", out)
    assert [row["image"] for row in table(out / "per_image.csv")] == ["0", "1", "2", "3"]
    (last,) = [row for row in table(out / "per_class.csv") if row["class"] == "epithelium"]
    assert float(last["iou"]) == told["per_class"]["epithelium"]["iou"]
    assert table(out / "per_image.csv")[1]["dice epithelium"] == "nan"
    matrix = np.array([[int(v) for v in list(row.values())[1:]] for row in table(out / "confusion.csv")])
    truths, preds = maps
    assert matrix[2, 1] == ((truths == 2) & (preds == 1)).sum() and matrix.sum() == (truths < 255).sum()
    report = (out / "report.md").read_text()
    assert f"| epithelium | {told['per_class']['epithelium']['dice_mean']:.4f} |" in report
    assert "What the numbers mean" in report and "![dice](dice.svg)" in report
    for name in ("dice", "confusion"):
        texts = [node.text for node in ET.parse(out / f"{name}.svg").iter() if node.tag.endswith("text")]
        assert any(text and text.startswith("epithelium") for text in texts)
    assert run(folder, "semantic") == 0
    assert "Overall (4 images): dice_mean" in capsys.readouterr().out


# instance


def discs(seed: int, shift: int) -> np.ndarray:
    places, noise = np.random.default_rng(seed), np.random.default_rng(seed + 100)
    y, x = np.mgrid[:80, :80]
    instances = np.zeros((80, 80), np.int32)
    for k in range(12):
        cy, cx = places.integers(6, 74, 2) + noise.integers(-shift, shift + 1, 2)
        instances[(y - cy) ** 2 + (x - cx) ** 2 <= 30] = k + 1
    return instances


def save_cells(path: Path, instances: np.ndarray) -> None:
    rows = [f"{k},{'lymphocyte' if k % 3 else 'tumor'}" for k in np.unique(instances) if k]
    path.write_text("\n".join(["id,class", *rows]))


def test_nuclei(folder: Path, capsys: Capture) -> None:
    pairs = {f"slide{k}": (discs(k, 0), discs(k, 2)) for k in range(3)}
    pairs["empty"] = (np.zeros((80, 80), np.int32), discs(5, 0))
    for name, (true, predicted) in pairs.items():
        write_instances(folder / "truth" / f"{name}.tif", true, mpp=None)
        write_instances(folder / "pred" / f"{name}_instances.tif", predicted, mpp=0.5)
        Image.fromarray((predicted > 0).astype(np.uint8)).save(folder / "pred" / f"{name}.png")  # the class map beside
    told = answer(capsys, folder, "instance", "--out", folder / "out")
    ajis = [metrics_instance.aji(*pairs[f"slide{k}"]) for k in range(3)]
    pqs = [metrics_instance.panoptic_quality(*pair) for pair in pairs.values()]
    overall = told["overall"]
    assert (overall["aji"], overall["aji_sd"], overall["aji_n"]) == pytest.approx((np.mean(ajis), np.std(ajis), 3))
    assert overall["pq"] == pytest.approx(np.mean([q.pq for q in pqs[:3]]))
    assert overall["pq_pooled"] == pytest.approx(sum(pqs[1:], pqs[0]).pq) and overall["pq_pooled"] < overall["pq"]
    assert told["n"] == 4 and told["per_class"] == {} and "mpq" not in overall
    (empty,) = [row for row in table(folder / "out" / "per_image.csv") if row["image"] == "empty"]
    assert (empty["aji"], empty["pq"], empty["tp"], empty["fn"]) == ("nan", "nan", "0", "0") and int(empty["fp"]) > 5
    assert ET.parse(folder / "out" / "nuclei.svg").getroot().tag.endswith("svg")


def test_nuclei_class_by_class(folder: Path, capsys: Capture) -> None:
    for k in range(2):
        true, predicted = discs(k, 0), discs(k, 1)
        for kind, instances in (("truth", true), ("pred", predicted)):
            write_instances(folder / kind / f"{k}_instances.tif", instances, mpp=None)
            save_cells(folder / kind / f"{k}_cells.csv", instances)
    told = answer(capsys, folder, "instance")
    by_image = []
    for k in range(2):
        true, predicted = ((m * (m % 3 == 0), m * (m % 3 > 0)) for m in (discs(k, 0), discs(k, 1)))
        by_image.append([metrics_instance.panoptic_quality(*pair).pq for pair in zip(true, predicted, strict=True)])
    means = np.mean(by_image, axis=0)
    assert told["per_class"]["tumor"]["pq"] == pytest.approx(means[0])
    assert told["per_class"]["lymphocyte"]["pq"] == pytest.approx(means[1])
    assert told["overall"]["mpq"] == pytest.approx(np.mean(by_image))
    cells = folder / "truth" / "0_cells.csv"
    cells.write_text(cells.read_text().replace("tumor", "unknown"))  # cells that belong to no class
    assert list(answer(capsys, folder, "instance")["per_class"]) == ["lymphocyte", "tumor"]
    (folder / "pred" / "1_cells.csv").write_text("name,kind\n1,a")
    assert "is no table of cells" in failure(capsys, folder, "instance")


# gland


def test_glands_of_instances_and_of_class_maps(folder: Path, capsys: Capture) -> None:
    true = discs(1, 0)
    true = ndimage.label(true > 0)[0]
    labels = np.where(ndimage.binary_dilation(true > 0), 2, 1).astype(np.uint8)
    labels[labels.shape[0] // 2, :] = 255
    Image.fromarray(np.where(true > 0, 2, 0).astype(np.uint8)).save(folder / "truth" / "a.png")
    Image.fromarray(labels).save(folder / "pred" / "a.png")
    told = answer(capsys, folder, "gland", "--schema", "epithelium", "--out", folder / "out")["overall"]
    objects = [ndimage.label(ndimage.binary_fill_holes(mask))[0] for mask in (true > 0, labels == 2)]
    assert told["object_f1"] == pytest.approx(metrics_gland.object_f1(*objects))
    assert told["object_dice"] == pytest.approx(metrics_gland.object_dice(*objects))
    assert told["object_hausdorff"] == pytest.approx(metrics_gland.object_hausdorff(*objects))
    assert told["f1"] == pytest.approx(metrics_gland.pixel_f1(objects[0] > 0, objects[1] > 0))
    assert (folder / "out" / "hausdorff.svg").exists()
    for kind, numbers in zip(("truth", "pred"), objects, strict=True):
        write_instances(folder / kind / "a_instances.tif", numbers, mpp=None)
    assert answer(capsys, folder, "gland")["overall"] == told


# cellularity


def test_scores_of_predict_against_two_raters(folder: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    truth = np.round(rng.random((30, 2)), 1)
    found = truth.mean(axis=1) + 0.1 * rng.standard_normal(30)
    for k, score in enumerate(found):
        (folder / "pred" / f"f{k}_score.json").write_text(json.dumps({"score": None if k == 7 else score}))
    (folder / "truth").rmdir()
    lines = ["image,rater a,rater b", *(f"f{k}.tif,{a},{b}" for k, (a, b) in enumerate(truth))]
    (folder / "truth").write_text("\n".join(lines))
    told = answer(capsys, folder, "cellularity", "--out", folder / "out")
    known = np.arange(30) != 7
    pk = [(1 + stats.somersd(truth[known, k], found[known]).statistic) / 2 for k in range(2)]
    overall = told["overall"]
    assert told["n"] == 29 and overall["left_out"] == 1 and overall["raters"] == 2
    assert overall["pk"] == pytest.approx(np.mean(pk))
    assert overall["l1"] == pytest.approx(abs(found - truth.mean(axis=1))[known].mean())
    assert overall["pearson"] == pytest.approx(np.corrcoef(found[known], truth[known].mean(axis=1))[0, 1])
    assert 0 < overall["pk_se"] < 0.1 and 0.5 < overall["icc"] < 1
    circles = [node for node in ET.parse(folder / "out" / "scores.svg").iter() if node.tag.endswith("circle")]
    assert len(circles) == 29 == len(table(folder / "out" / "per_image.csv"))


# mistakes


def test_what_does_not_fit_is_told_in_one_line(folder: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "truth" / "a.png")
    assert "has no prediction for 'a'" in failure(capsys, folder, "semantic")
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder / "pred" / "a.png")
    assert "differ in shape" in failure(capsys, folder, "semantic")
    assert "compare equal sizes" in failure(capsys, folder, "instance")
    assert "holds no scores" in failure(capsys, folder, "cellularity")
    assert "has no class" in failure(capsys, folder, "gland", "--schema", "bcss5")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(folder / "pred" / "a.png")
    assert "one number per pixel" in failure(capsys, folder, "instance")
    (folder / "truth" / "a.png").unlink()
    assert "holds no label files" in failure(capsys, folder, "gland")


def test_names_of_slides_may_hold_dots(folder: Path, capsys: Capture) -> None:
    for k, name in enumerate(("TCGA-3C-DX1.F6E9", "TCGA-3C-DX1.A001")):
        (folder / "pred" / f"{name}_score.json").write_text(json.dumps({"score": k / 2}))
    (folder / "truth").rmdir()
    for suffix in ("", ".svs"):
        rows = [f"TCGA-3C-DX1.F6E9{suffix},0.1", f"TCGA-3C-DX1.A001{suffix},0.7"]
        (folder / "truth").write_text("\n".join(["image,score", *rows]))
        assert answer(capsys, folder, "cellularity")["overall"]["l1"] == pytest.approx(0.15)
    (folder / "truth").write_text("image,score\na,0.1\na.tif,0.2\n")
    assert "Line 3 of" in failure(capsys, folder, "cellularity")


def test_scores_that_are_no_scores(folder: Path, capsys: Capture) -> None:
    (folder / "truth").rmdir()
    (folder / "truth").write_text("image,score\na,high\n")
    (folder / "pred" / "a_score.json").write_text('{"score": 0.5}')
    assert "Line 2 of" in failure(capsys, folder, "cellularity")
    (folder / "truth").write_text("image,score\na,\n")
    assert "nothing can be compared" in failure(capsys, folder, "cellularity")
    (folder / "truth").write_text("image,score\nb,0.5\n")
    assert "has no score of 'b'" in failure(capsys, folder, "cellularity")
    (folder / "pred" / "a_score.json").write_text("{}")
    assert "is no score of an image" in failure(capsys, folder, "cellularity")
