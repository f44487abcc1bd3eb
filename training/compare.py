"""Runs side by side: tables in the form of the papers, with corrected p values, and box plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.atomic import write_bytes
from napari_histoseg.core.errors import InputError
from napari_histoseg.learning.metrics import spread
from napari_histoseg.learning.statistics import Comparison, Correction, Test, compare
from training.logs import read_log
from training.plots import draw_boxes
from training.results import Result, read_results
from training.run import RUN, find_weights, read_run
from training.tables import Cell, Table, mean_sd

SIGNIFICANT = 0.05
TESTS: dict[Test, str] = {"mann_whitney": "Mann-Whitney U", "wilcoxon": "Wilcoxon signed-rank"}
CORRECTIONS: dict[Correction, str] = {
    "holm": "Holm",
    "bonferroni": "Bonferroni",
    "benjamini_hochberg": "Benjamini-Hochberg",
}
"""Titles of the tests and corrections that a comparison may use."""

_EVERY = "_numbers"
_ABOUT_IMAGES = ("seconds_per_megapixel", "true objects", "found objects", "truth", "score")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run that was tested."""

    folder: Path
    title: str
    facts: dict[str, Any]
    results: dict[str, Result]


def read_tested(folder: Path) -> Run:
    """The run in a folder with its test results.

    Raises
    ------
    InputError
        When it is no run, or was not tested.
    """
    if not (folder / RUN).is_file():
        raise InputError(f"{folder} is no run: it has no {RUN}.")
    facts = read_run(folder)
    results = {result.name: result for result in read_results(folder)}
    if not results:
        raise InputError(f"{folder} was not tested; run `python -m training evaluate {folder} --data DATA` first.")
    return Run(folder, str(facts["plan"].get("title") or folder.name), facts, results)


def compare_runs(
    folders: Sequence[Path], out: Path, *, test: Test = "mann_whitney", correction: Correction = "holm"
) -> str:
    """Compare finished runs and write tables and box plots.

    Parameters
    ----------
    folders : sequence of Path
        Tested runs; the first is the proposed model that the others are held against.
    out : Path
        Receives ``compare.md``, a CSV and Markdown file for each table, and PNG files.
    test, correction : str
        As for `statistics.compare`.

    Returns
    -------
    str
        The Markdown of all tables.

    Raises
    ------
    InputError
        When there are fewer than two runs, or they share no test set.
    """
    runs = _with_names_of_their_own([read_tested(folder) for folder in folders])
    if len(runs) < 2:
        raise InputError("Give at least two runs to compare.")
    shared = [name for name in runs[0].results if all(name in run.results for run in runs)]
    if not shared:
        raise InputError("The runs share no test set; evaluate them on the same data and split.")
    tables = [models_table(runs)]
    for name in shared:
        results = {run.title: run.results[name] for run in runs}
        first = runs[0].results[name]
        if not first.classes:
            tables.append(_scores_table(name, results))
        for metric, members in _families(first).items():
            tables += _metric_tables(name, metric, members, results, test, correction)
            for member in members:
                values = {title: result.values(member) for title, result in results.items()}
                draw_boxes(values, out / f"{_file(name, member)}.png", title=f"{name}: {member}", label=member)
    for table in tables:
        table.write(out)
    text = "\n".join(table.markdown() for table in tables if not table.name.endswith(_EVERY))
    write_bytes(out / "compare.md", text.encode())
    return text


def models_table(runs: Sequence[Run]) -> Table:
    """What each network is and costs: parameters, seconds per megapixel, steps, losses."""
    rows: list[tuple[Cell, ...]] = []
    for run in runs:
        log = read_log(run.folder)
        checks = [row for row in log if "val_loss" in row]
        best = min(checks, key=lambda row: float(row["val_loss"]), default={})
        seconds = np.concatenate([r.values("seconds_per_megapixel") for r in run.results.values()])
        rows.append(
            (
                run.title,
                run.facts["recipe"],
                parameters_of(run.folder),
                float(np.nanmedian(seconds)),
                str(run.facts["device"]),
                int(log[-1]["step"]) if log else 0,
                float(best.get("loss", np.nan)),
                float(best.get("val_loss", np.nan)),
                int(run.facts["plan"]["seed"]),
            )
        )
    header = ("model", "recipe", "parameters", "s/megapixel", "trained on", "steps", "train loss", "val loss", "seed")
    return Table("models", "Networks; losses where the validation loss is least", header, tuple(rows))


def parameters_of(folder: Path) -> int:
    """How many parameters the network of a run has."""
    import torch

    from napari_histoseg.models.registry import get_model

    card = find_weights(folder).card
    with torch.device("meta"):
        network = get_model(card.model).build(len(card.classes), **card.variant)
    return sum(p.numel() for p in network.parameters())


def _families(result: Result) -> dict[str, list[str]]:
    """Metrics of a result, those by class together: ``{"dice": ["dice tumor", "dice stroma"], "aji": ["aji"]}``."""
    families: dict[str, list[str]] = {}
    for metric in result.metrics:
        if metric in _ABOUT_IMAGES:
            continue
        first, _, rest = metric.partition(" ")
        is_class = rest in result.classes
        families.setdefault(first if is_class else metric, []).append(metric)
    return families


def _metric_tables(
    name: str, metric: str, members: list[str], results: dict[str, Result], test: Test, correction: Correction
) -> list[Table]:
    """The table as a paper prints it, and one with every number."""
    titles = list(results)
    values = {t: {m: _values(results[t], m).tolist() for m in members} for t in titles}
    baselines = {t: values[t] for t in titles[1:]}
    compared = compare(values[titles[0]], baselines, test=test, correction=correction)
    found = {(c.baseline, c.class_name): c for c in compared}
    rows: list[tuple[Cell, ...]] = []
    numbers: list[tuple[Cell, ...]] = []
    for member in members:
        cells: list[Cell] = [member.removeprefix(f"{metric} ")]
        for title in titles:
            of = spread(values[title][member])
            tested = found.get((title, member))
            cells.append(mean_sd(of.mean, of.sd, mark=_mark(tested)))
            p, corrected = (tested.p, tested.p_corrected) if tested else (float("nan"), float("nan"))
            numbers.append((member, title, of.mean, of.sd, of.n, p, corrected))
        rows.append((cells[0], spread(values[titles[0]][member]).n, *cells[1:]))
    how = f"{TESTS[test]}, {CORRECTIONS[correction]}, p < {SIGNIFICANT}"
    form = f"{name}: {metric}, mean (sd) over n images; * differs from {titles[0]} ({how})"
    every = f"{name}: {metric}, every number; p against {titles[0]}"
    header = ("metric", "model", "mean", "sd", "n", "p", f"p ({CORRECTIONS[correction]})")
    return [
        Table(_file(name, metric), form, ("", "n", *titles), tuple(rows)),
        Table(f"{_file(name, metric)}{_EVERY}", every, header, tuple(numbers)),
    ]


def _values(result: Result, metric: str) -> NDArray[np.float64]:
    if metric not in result.metrics:
        raise InputError(f"A run has no '{metric}' on {result.name}; evaluate all runs with the same version.")
    return result.values(metric)


def _mark(test: Comparison | None) -> str:
    return "*" if test is not None and test.p_corrected < SIGNIFICANT else ""


def _scores_table(name: str, results: dict[str, Result]) -> Table:
    rows = tuple(
        (title, n["pk"], n["pk_se"], n["l1"], n["pearson"], int(n["n"]))
        for title, n in ((title, result.numbers()) for title, result in results.items())
    )
    return Table(f"{name}_scores", f"{name}: scores", ("model", "PK", "PK (SE)", "L1", "Pearson", "n"), rows)


def _with_names_of_their_own(runs: list[Run]) -> list[Run]:
    """Runs of the same title are told apart by their folders."""
    titles = [run.title for run in runs]
    return [
        run
        if titles.count(run.title) == 1
        else Run(run.folder, f"{run.title} ({run.folder.name})", run.facts, run.results)
        for run in runs
    ]


def _file(name: str, metric: str) -> str:
    return f"{name}_{metric}".replace(" ", "_").replace("/", "_")
