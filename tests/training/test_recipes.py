"""Every recipe from the download to the report, with networks and images so small that all of it takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_histoseg.core.errors import InputError
from napari_histoseg.models.weights import load_state
from training.cli import main
from training.plan import Plan
from training.recipe import open_recipe, recipe_names
from training.results import read_results
from training.run import find_weights

from . import downloads

_TINY = ["steps=2", "batch_size=2", "validate_every=2", "accumulate=1"]
_NETWORKS = {
    "unet": {"width": 2, "batch_norm": True},
    "unetpp": {"width": 2},
    "spade_segresnet": {"width": 2, "n_blocks": 1},
    "micronet_252": {"width": 1},
    "unetsharp": {"encoder": "resnet10t"},
    "segformer_b0": {"width": 8},
    "deeplabv3plus": {"encoder": "resnet10t"},
    "vgg_fcn": {"width": 2},
    "vgg_fcn_exp1": {"width": 2},
    "cellularity_resnet101": {"encoder": "resnet26"},
    "cellularity_guided": {"encoder": "resnet26", "guide": "resnet10t"},
}
# Recipe, and what is smaller besides the network.
_CASES = {
    "cells/gamma2": ["crop_px=64"],
    "epithelium/unet": ["crop_px=64"],
    "epithelium/unetpp": ["crop_px=64"],
    "epithelium/spade": ["crop_px=64"],
    "epithelium/micronet": [],
    "epithelium/unetsharp": ["crop_px=64"],
    "epithelium/segformer": ["crop_px=64"],
    "epithelium/deeplabv3plus": ["crop_px=64"],
    "nuclei/unet": ["crop_px=64"],
    "cellularity/resnet26": [],
    "paper_a/spade": ["tile_px=64", "stride_px=32", "tests.0.tile_px=64", "tests.0.stride_px=32"],
    "paper_a/context": ["tile_px=64", "variant.context_margin=16", "tests.0.tile_px=64"],
    "paper_b/final": [],
    "paper_c/resnet101": [],
    "paper_c/guided": [],
    "paper_c/gamma1": ["crop_px=64"],
    "paper_d/size252": [],
    "paper_e/residual": ["freeze_epochs=1", "crop_px=64"],
    "regions/exp1": ["crop_px=64"],
    "segformer/pannuke": ["crop_px=64"],
}


@pytest.fixture(scope="module")
def data(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, folder = tmp_path_factory.mktemp("downloads"), tmp_path_factory.mktemp("data")
    sources = {
        "dsb2018": downloads.numbered(source / "dsb2018", 10),
        "monuseg": downloads.numbered(source / "monuseg", 2),
        "glas": downloads.numbered(source / "glas", 6, 96),
        "crchisto": downloads.crchisto(source / "crchisto"),
        "crchisto_scores": downloads.crchisto(source / "scores", count=5, side=256, copies=4),
        "bcss": downloads.bcss(source / "bcss"),
        "pairs": downloads.pairs(source / "pairs"),
        "breastpathq": downloads.breastpathq(source / "breastpathq"),
        "breastpathq_cells": source / "breastpathq",
        "pannuke": downloads.pannuke(source / "pannuke"),
        "ebhi": archives,
        "ebhi_regions": archives,
    }
    for name, path in sources.items():
        assert main(["prepare", name, str(path), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def arguments(name: str, data: Path, out: Path) -> list[str]:
    plan = open_recipe(name).plan
    assert isinstance(plan, Plan)
    variant = {**plan.variant, **_NETWORKS[plan.model]}
    more = [f"variant={json.dumps(variant)}", *_CASES[name]]
    return ["fit", name, "--data", str(data), "--out", str(out), "--set", *_TINY, *more]


def trained(name: str, data: Path, runs: Path) -> Path:
    out = runs / name.replace("/", "-")
    if not out.exists():
        assert main(arguments(name, data, out)) == 0
        split = [] if name != "paper_d/size252" else ["--split", "train"]  # GlaS as at hand has no test part
        assert main(["evaluate", str(out), "--data", str(data), "--write", *split]) == 0
    return out


@pytest.mark.parametrize("name", _CASES)
def test_from_download_to_report(name: str, data: Path, runs: Path) -> None:
    out = trained(name, data, runs)
    weights = find_weights(out)
    load_state(weights)
    assert weights.card.metrics and all(isinstance(v, int | float) for v in weights.card.metrics.values())
    assert main(["report", str(out), "--data", str(data)]) == 0
    report = (out / "report" / "report.md").read_text()
    pictures = [line.split("](")[1].rstrip(")") for line in report.splitlines() if line.startswith("![")]
    assert "curves.png" in pictures and len(pictures) >= 3
    assert all((out / "report" / picture).stat().st_size > 1000 for picture in pictures)
    for result in read_results(out):
        assert len(result.rows) == len(result.facts) > 0
        if result.matrix is not None and result.folder is not None:
            assert len(list((result.folder / "predictions").glob("*.png"))) == len(result.rows)


def test_every_recipe_has_a_case() -> None:
    modules = {name.partition("/")[0] for name in recipe_names() if "/" in name}
    assert modules == {name.partition("/")[0] for name in _CASES}


def test_plans_of_all_experiments_fit_their_networks() -> None:
    for name in recipe_names():
        plan = open_recipe(name).plan
        if isinstance(plan, Plan):
            changed = open_recipe(name, {f"variant.{key}": value for key, value in plan.variant.items()}).plan
            assert changed == plan


def test_compare_prints_the_table_of_a_paper(
    data: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(trained(f"epithelium/{name}", data, runs)) for name in ("spade", "unet", "unetpp")]
    capsys.readouterr()
    assert main(["compare", *folders, "--out", str(tmp_path / "compare")]) == 0
    text = capsys.readouterr().out
    assert "|  | n | SPADESegResNet | U-Net | U-Net++ |" in text and "Holm" in text
    names = {path.name for path in (tmp_path / "compare").iterdir()}
    assert {"models.csv", "ebhi_test_dice.csv", "ebhi_test_dice_numbers.csv", "glas_object_dice.csv"} <= names
    assert {"ebhi_test_dice_epithelium.png", "compare.md"} <= names
    rows = (tmp_path / "compare" / "ebhi_test_dice_numbers.csv").read_text().splitlines()
    assert rows[0] == "metric,model,mean,sd,n,p,p (Holm)" and len(rows) == 1 + 3 * 3
    paired = ["--test", "wilcoxon", "--correction", "bonferroni", "--out", str(tmp_path / "paired")]
    assert main(["compare", *folders, *paired]) == 0
    assert "(Wilcoxon signed-rank, Bonferroni, p < 0.05)" in capsys.readouterr().out


def test_compare_and_report_say_what_is_missing(
    data: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("epithelium/unet", data, runs)
    other = trained("paper_b/final", data, runs)
    for command, message in (
        (["report", str(tmp_path)], "holds none"),
        (["compare", str(run), "--out", str(tmp_path / "c")], "at least two runs"),
        (["compare", str(run), str(other), "--out", str(tmp_path / "c")], "share no test set"),
        (["compare", str(run), str(tmp_path), "--out", str(tmp_path / "c")], "is no run"),
        (["evaluate", str(run), "--data", str(data), "--split", "trian"], "no images of the split 'trian'"),
    ):
        capsys.readouterr()
        assert main(command) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_the_guide_begins_with_its_segmentation_step(data: Path, runs: Path, tmp_path: Path) -> None:
    first = trained("paper_c/gamma1", data, runs)
    assert main([*arguments("paper_c/guided", data, tmp_path / "guided"), f"start={first}"]) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learnin_rate": 1}, "There is no setting 'learnin_rate'; did you mean 'learning_rate'?"),
        ({"widht": 4}, "There is no setting 'widht'; did you mean 'width'?"),
        ({"variant.widht": 4}, "has no option 'widht'"),
        ({"losses.3.gamma": 1}, "leads nowhere"),
        ({"losses.0.gamma": 1}, "no setting of the loss 'cross_entropy' 'gamma'"),
        ({"losses.0.name": "foca"}, "did you mean 'focal'"),
        ({"optimizer.name": "adma"}, "did you mean 'adam"),
        ({"schedule.name": "plateu"}, "did you mean 'plateau'"),
        ({"schedule.patience": 3}, "cannot be set so"),
        ({"augmentation": "strnog", "scale": [1, 1]}, "There is no augmentation"),
        ({"augmentation": "none"}, "takes no scale"),
        ({"model": "unett"}, "did you mean 'unet'"),
        ({"batch_size": 0}, "Setting 'batch_size'"),
        ({"freeze": ["encodr"]}, "no part 'encodr'"),
        ({"start": "nowhere"}, "no weights at 'nowhere'"),
        ({"monitor": "lsos"}, "no 'lsos' to monitor"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: dict[str, object], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    small = [*_TINY, "crop_px=32"] + ([] if "model" in settings else ["width=2"])
    given = small + given
    assert main(["fit", "epithelium", "--data", str(data), "--out", str(tmp_path / "x"), "--set", *given]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_unknown_recipes_get_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (("paper_f", "did you mean 'paper_"), ("epithelium/unte", "did you mean 'unet'")):
        with pytest.raises(InputError, match=message):
            open_recipe(name)
    with pytest.raises(InputError, match="has no experiments"):
        open_recipe("epithelium_unet/small")
    assert main(["recipes"]) == 0
    assert "paper_e/residual: U-Net# on pannuke" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data=pairs"], "no nuclei outlined one by one"),
        (["data=dsb2019"], "prepare dsb2019"),
        (["train_split=trian"], "no images of the split 'trian'"),
        (["data=breastpathq", "target=labels"], "no class for each pixel"),
        (["data=glas", "crop_px=0"], "set crop_px or tile_px"),
    ],
)
def test_a_set_that_cannot_be_learned_from_so(
    settings: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "fit",
        "nuclei",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "x"),
        "--set",
        *_TINY,
        "width=2",
        *settings,
    ]
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_scores_are_not_confused_with_their_truth(data: Path, runs: Path) -> None:
    result = read_results(trained("paper_c/resnet101", data, runs))[0]
    assert result.values("truth").tolist() == pytest.approx([0.3, 0.8, 0.5])
    numbers = result.numbers()
    assert numbers["l1"] == pytest.approx(np.abs(result.values("score") - result.values("truth")).mean())
