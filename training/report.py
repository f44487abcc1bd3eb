"""A report of one run, or of a folder of runs: tables, curves, matrices, and the images that went worst and best."""

from __future__ import annotations

from pathlib import Path

from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schemas import get_schema
from napari_histoseg.learning.metrics import dice, iou, pixel_accuracy
from training.compare import Run, compare_runs, models_table, read_tested
from training.datasets.distribution import Distribution, code_distribution, label_distribution
from training.logs import read_log
from training.overlays import draw_worst_and_best
from training.plan import Plan, TestSet
from training.plots import draw_bars, draw_boxes, draw_curves, draw_matrix, draw_scores
from training.prepared import load
from training.recipe import Recipe
from training.results import Result
from training.run import RUN, recipe_of
from training.tables import Cell, Table, mean_sd

REPORT = "report"


def write_report(folder: Path, data: Path | None = None) -> list[Path]:
    """Report a tested run, or every tested run in a folder and how they compare.

    Parameters
    ----------
    folder : Path
        Of a run, or of runs.
    data : Path, optional
        Folder of prepared sets; without it the shares of classes and the pictures of images are left out.

    Returns
    -------
    list of Path
        The Markdown files, ``report/report.md`` in each run and ``report/compare.md`` in a folder of runs.

    Raises
    ------
    InputError
        When there is no run, or one was not tested.
    """
    if (folder / RUN).is_file():
        return [report_run(folder, data)]
    runs = sorted(path.parent for path in folder.glob(f"*/{RUN}"))
    if not runs:
        raise InputError(f"{folder} is no run and holds none; give the folder that `fit` wrote to, or the one above.")
    written = [report_run(run, data) for run in runs]
    if len(runs) > 1:
        compare_runs(runs, folder / REPORT)
        written.append(folder / REPORT / "compare.md")
    return written


def report_run(folder: Path, data: Path | None) -> Path:
    """Report one tested run; arguments as for `write_report`."""
    run = read_tested(folder)
    out = folder / REPORT
    recipe = recipe_of(folder)
    text = [f"# {run.title}\n", _facts(run), models_table([run]).markdown()]
    draw_curves(read_log(folder), out / "curves.png", title=run.title)
    text.append("![Loss and validation by step](curves.png)\n")
    for result in run.results.values():
        text += [f"## {result.name}\n", *_of_result(result, out)]
        if data is not None and result.classes:
            text += _with_images(result, recipe, data, out)
    if data is not None:
        text += _shares(recipe, data, out)
    write_bytes(out / "report.md", "\n".join(text).encode())
    return out / "report.md"


def _facts(run: Run) -> str:
    facts = run.facts
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Recipe `{facts['recipe']}`, seed {facts['plan']['seed']}, trained on {facts['data']['set']} with "
        f"{facts['device']} in {facts['processes']} process(es); {versions}. `run.json` has the whole plan.\n"
    )


def _of_result(result: Result, out: Path) -> list[str]:
    """Tables and figures that need nothing but the numbers."""
    tables = [_images_table(result)]
    text = []
    if result.matrix is not None:
        tables.append(_pooled_table(result))
        draw_matrix(result.matrix, result.classes, out / f"{result.name}_matrix.png", title=result.name)
        text.append(f"![Confusion matrix]({result.name}_matrix.png)\n")
    if not result.classes:
        title = f"{result.name}: PK {result.numbers()['pk']:.3f}"
        draw_scores(result.values("truth"), result.values("score"), out / f"{result.name}_scores.png", title=title)
        text.append(f"![Predicted and true scores]({result.name}_scores.png)\n")
    boxes = {m: result.values(m) for m in result.metrics if m.startswith(("dice", "aji", "pq", "object d", "absolute"))}
    draw_boxes(boxes, out / f"{result.name}_boxes.png", title=result.name, label="of each image")
    text.append(f"![Numbers of each image]({result.name}_boxes.png)\n")
    tables += [_groups_table(result, fact) for fact in result.groupings()]
    for table in tables:
        table.write(out)
    return [*(table.markdown() for table in tables), *text]


def _images_table(result: Result) -> Table:
    numbers = result.numbers()
    if not result.classes:
        rows: tuple[tuple[Cell, ...], ...] = tuple(numbers.items())
        return Table(f"{result.name}_scores", f"Scores of {result.name}", ("metric", "value"), rows)
    rows = tuple(
        (m, mean_sd(numbers[f"{key}_mean"], numbers[f"{key}_sd"]), int(numbers[f"{key}_n"]))
        for m, key in ((m, m.replace(" ", "_")) for m in result.metrics)
    )
    title = f"Each image of {result.name}; an image without a class does not count for it"
    return Table(f"{result.name}_images", title, ("metric", "mean (sd)", "n"), rows)


def _pooled_table(result: Result) -> Table:
    """All pixels together: the form of tables by class, with the averages with and without background."""
    assert result.matrix is not None
    values = (pixel_accuracy(result.matrix), iou(result.matrix), dice(result.matrix))
    rows: list[tuple[Cell, ...]] = [
        (name, *(float(v[k]) for v in values), int(result.matrix[k].sum())) for k, name in enumerate(result.classes)
    ]
    numbers = result.numbers()
    nothing = float("nan")
    rows.append(("mean of classes", nothing, numbers["pooled_mean_iou"], nothing, int(result.matrix.sum())))
    rows.append(("overall accuracy", numbers["pooled_accuracy"], nothing, nothing, int(result.matrix.sum())))
    for name, label in (
        ("micro", "without background (micro)"),
        ("macro", "without background (macro)"),
        ("foreground", "background against the rest"),
    ):
        if f"{name}_iou" in numbers:
            rows.append((label, nothing, numbers[f"{name}_iou"], numbers[f"{name}_dice"], nothing))
    header = ("class", "pixel accuracy", "IoU", "Dice", "pixels")
    return Table(f"{result.name}_classes", f"All pixels of {result.name}", header, tuple(rows))


def _groups_table(result: Result, fact: str) -> Table:
    by = result.by(fact)
    metrics = [m for m in result.metrics if m.startswith(("dice", "aji", "pq", "object", "absolute"))]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (value, *(row[m] for m in metrics), int(row["n"])) for value, row in by.items()
    )
    return Table(f"{result.name}_by_{fact}", f"{result.name} by {fact}, means", (fact, *metrics, "n"), rows)


def _with_images(result: Result, recipe: Recipe, data: Path, out: Path) -> list[str]:
    plan, test = _test_of(result, recipe)
    name = f"{result.name}_overlays.png"
    draw_worst_and_best(result, plan, test, data, out / name)
    return [f"![Worst and best images]({name})\n"]


def _test_of(result: Result, recipe: Recipe) -> tuple[Plan, TestSet]:
    plan = recipe.test_plan
    for test in plan.tests:
        if (test.data, test.split) == (result.data, result.split):
            return plan, test
    return plan, TestSet(data=result.data, split=result.split)


def _shares(recipe: Recipe, data: Path, out: Path) -> list[str]:
    """How frequent each class is in the set that was learned from, before and after grouping."""
    plan = recipe.test_plan
    prepared = load(data, plan.data)
    if "labels" not in prepared.stores:
        return []
    before = code_distribution(prepared)
    after = label_distribution(prepared, get_schema(plan.schema_id))
    shown = {"after grouping" if before else "classes": after} | ({"before": before} if before else {})
    draw_bars({name: _bars(d) for name, d in reversed(shown.items())}, out / "shares.png", title=f"Set {plan.data}")
    rows = tuple((name, cls, share) for name, d in shown.items() for cls, share in _bars(d).items())
    table = Table("shares", f"Share of labelled pixels in {plan.data}", ("grouping", "class", "share"), rows)
    table.write(out)
    return ["## Classes\n", table.markdown(), "![Shares of classes](shares.png)\n"]


def _bars(distribution: Distribution) -> dict[str, float]:
    return dict(zip(distribution.names, distribution.shares, strict=True))
