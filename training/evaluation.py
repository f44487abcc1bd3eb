"""Numbers of finished weights on data they have never seen, through the same prediction a user's image gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_histoseg.core.errors import InputError
from napari_histoseg.models.weights import Weights
from training.material import cut_up, normalised
from training.plan import Plan, TestSet
from training.prepared import load
from training.results import Result, set_name, write_prediction, write_result
from training.testing import Tester

GLAS_AS_EPITHELIUM = TestSet(
    data="glas",
    split="all",
    schema_id="glands",
    objects="glands",
    regroup={"gland": ("epithelium",), "background": ("background", "other tissue")},
)
"""GlaS for networks that know epithelium: another scanner, another magnification."""

EPITHELIUM_TESTS = Plan(
    title="Epithelium starter",
    model="unet",
    data="ebhi",
    schema_id="epithelium",
    tests=(TestSet(data="ebhi"), GLAS_AS_EPITHELIUM),
)


def evaluate_plan(
    plan: Plan, weights: Weights, data: Path, *, split: str, out: Path | None, device: str = "auto"
) -> dict[str, Any]:
    """Numbers of finished weights on the plan's test sets, or on another split of the set it learned from.

    Parameters
    ----------
    plan : Plan
    weights : Weights
    data : Path
        Folder of prepared data sets.
    split : str
        ``"test"`` takes the test sets of the plan.
    out : Path, optional
        Folder that receives, for each set, the numbers of each image and what was predicted.
    device : str

    Returns
    -------
    dict
        ``<set>_<number>``.
    """
    tests = plan.tests if split == "test" else (TestSet(data=plan.data, split=split),)
    numbers: dict[str, Any] = {}
    for test in tests:
        result = evaluate_set(plan, test, weights, data, out=out, device=device)
        numbers |= {f"{result.name}_{name}": value for name, value in result.numbers().items()}
        numbers |= {f"{result.name}_by_{fact}": result.by(fact) for fact in result.groupings()}
    return numbers


def evaluate_set(
    plan: Plan, test: TestSet, weights: Weights, data: Path, *, out: Path | None, device: str = "auto"
) -> Result:
    """Test finished weights on one set; arguments as for `evaluate_plan`."""
    samples = load(data, test.data)
    samples = samples if test.split == "all" else samples.where(split=test.split)
    if not len(samples):
        raise InputError(f"Set '{test.data}' has no images of the split '{test.split}'.")
    tester = Tester(plan, test, weights, device=device)
    folder = None if out is None else out / set_name(test.data, test.split)
    facts, rows, total = [], [], None
    for sample in cut_up(normalised(samples, plan), test, plan.max_ignore):
        measured = tester(sample)
        facts.append(sample.facts)
        rows.append(measured.row)
        if measured.matrix is not None:
            total = measured.matrix if total is None else total + measured.matrix
        if folder is not None and measured.found is not None:
            write_prediction(folder, str(sample.facts["key"]), measured.found)
    result = Result(test.data, test.split, tester.classes, tuple(facts), tuple(rows), total, folder)
    if folder is not None:
        write_result(result, folder)
    return result


def evaluate_epithelium(
    weights: Weights, data: Path, *, split: str = "test", out: Path | None = None
) -> dict[str, Any]:
    """Dice of the class ``epithelium``, in each image of a split of EBHI-Seg and of GlaS.

    Parameters
    ----------
    weights : Weights
        With the classes of the schema ``epithelium``.
    data : Path
        Folder with the prepared sets ``ebhi`` and ``glas``.
    split : str
        Of EBHI-Seg; GlaS is never trained on and always taken whole.
    out : Path, optional
        As for `evaluate_plan`.

    Returns
    -------
    dict
        For both sets ``<set>_dice_mean``, ``_dice_sd`` (population) and ``_n`` over the images that hold epithelium,
        ``<set>_dice_pooled`` over all pixels, and for EBHI-Seg ``<set>_by_diagnosis``.
    """
    tests = {"epithelium": TestSet(data="ebhi", split=split), "gland": GLAS_AS_EPITHELIUM}
    numbers: dict[str, Any] = {}
    for name, test in tests.items():
        result = evaluate_set(EPITHELIUM_TESTS, test, weights, data, out=out, device="cpu")
        own = result.numbers()
        numbers |= {f"{result.name}_dice_{key}": own[f"dice_{name}_{key}"] for key in ("mean", "sd")}
        numbers[f"{result.name}_n"] = own[f"dice_{name}_n"]
        numbers[f"{result.name}_dice_pooled"] = own[f"pooled_dice_{name}"]
        if test.data == "ebhi":
            by = result.by("category")
            numbers[f"{result.name}_by_diagnosis"] = {
                k: {"dice": v["dice epithelium"], "n": v["n"]} for k, v in by.items()
            }
    return numbers
