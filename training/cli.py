"""Commands of ``python -m training``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_histoseg.core.errors import HistosegError, InputError
from napari_histoseg.core.json_text import json_text


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 on failure with one line on stderr, 2 on wrong use."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except HistosegError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train on public data sets, test, compare and report."
    )
    commands = parser.add_subparsers(required=True)

    datasets = commands.add_parser("datasets", help="list the public data sets, their licence and where to get them")
    datasets.set_defaults(run=_datasets)

    prepare = commands.add_parser("prepare", help="decode a data set for training")
    prepare.add_argument("name")
    prepare.add_argument("src", type=Path, help="the downloaded folder or archive")
    prepare.add_argument("dst", type=Path, help="folder of prepared data sets")
    prepare.set_defaults(run=_prepare)

    recipes = commands.add_parser("recipes", help="list what can be trained")
    recipes.set_defaults(run=_recipes)

    fit = commands.add_parser("fit", help="train a recipe")
    fit.add_argument("recipe")
    fit.add_argument("--data", type=Path, required=True, help="folder of prepared data sets")
    fit.add_argument("--out", type=Path, required=True, help="folder of the run")
    fit.add_argument("--set", nargs="+", default=[], metavar="key=value", help="change settings of the plan")
    fit.add_argument("--device", default="auto", help="auto, cpu or cuda")
    fit.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    fit.set_defaults(run=_fit)

    evaluate = commands.add_parser("evaluate", help="test the weights of a run on images that steered nothing")
    evaluate.add_argument("weights", type=Path, metavar="RUN", help="folder of a run, or a .safetensors file")
    evaluate.add_argument("--data", type=Path, required=True, help="folder of prepared data sets")
    evaluate.add_argument("--recipe", help="whose test to run; by default the run's own")
    evaluate.add_argument("--split", default="test", help="another split of the set the run learned from")
    evaluate.add_argument("--write", action="store_true", help="write the numbers on the card of the weights")
    evaluate.set_defaults(run=_evaluate)
    compare = commands.add_parser("compare", help="hold tested runs against the first of them")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of tested runs")
    compare.add_argument("--out", type=Path, required=True, help="folder for tables and box plots")
    compare.add_argument(
        "--test",
        choices=("mann_whitney", "wilcoxon"),
        default="mann_whitney",
        help="images as two samples, or in pairs (default: mann_whitney)",
    )
    compare.add_argument(
        "--correction",
        choices=("holm", "bonferroni", "benjamini_hochberg"),
        default="holm",
        help="of p values for their number (default: holm)",
    )
    compare.set_defaults(run=_compare)

    report = commands.add_parser("report", help="tables and figures of a tested run, or of a folder of runs")
    report.add_argument("folder", type=Path, metavar="DIR", help="folder of a run, or of runs")
    report.add_argument("--data", type=Path, help="folder of prepared data sets, for class shares and pictures")
    report.set_defaults(run=_report)
    return parser


def _datasets(args: argparse.Namespace) -> None:
    from training.datasets import DATASETS

    for dataset in DATASETS.values():
        ship = "weights may be given away" if dataset.may_ship else "for evaluation only"
        print(f"{dataset.name}: {dataset.title}\n  licence: {dataset.licence}; {ship}\n  source: {dataset.source}")
        print(f"  needs: {dataset.layout}")


def _prepare(args: argparse.Namespace) -> None:
    from training.datasets import get_dataset
    from training.logs import Counter

    dataset = get_dataset(args.name)
    count = dataset.prepare(args.src, args.dst / dataset.name, count=Counter().count)
    print(f"{count} images of {dataset.name} are ready in {args.dst / dataset.name}.")


def _recipes(args: argparse.Namespace) -> None:
    from training.recipe import open_recipe, recipe_names

    for name in recipe_names():
        recipe = open_recipe(name)
        print(f"{name}: {getattr(recipe.plan, 'title', '')} on {', '.join(recipe.sets)}")


def _fit(args: argparse.Namespace) -> None:
    from training.logs import Console
    from training.plan import parse_settings
    from training.recipe import open_recipe
    from training.run import recipe_of, run_recipe

    settings = parse_settings(args.set)
    recipe = recipe_of(args.out, settings) if args.resume else open_recipe(args.recipe, settings)
    if args.resume and args.recipe not in (recipe.name, recipe.name.partition("/")[0]):
        raise InputError(f"{args.out} holds a run of '{recipe.name}', not of '{args.recipe}'; name that recipe.")
    weights = run_recipe(recipe, data=args.data, out=args.out, resume=args.resume, voice=Console(), device=args.device)
    if weights is not None:
        print(f"Weights are in {weights.path}.")


def _evaluate(args: argparse.Namespace) -> None:
    from training.recipe import open_recipe
    from training.run import find_weights, recipe_of, write_metrics

    if args.weights.is_file() and not args.recipe:
        raise InputError(f"{args.weights} does not say how it is tested; name a recipe with --recipe.")
    weights = find_weights(args.weights)
    recipe = open_recipe(args.recipe) if args.recipe else recipe_of(args.weights)
    out = args.weights / "evaluation" if args.weights.is_dir() else None
    numbers = recipe.test(weights, args.data, split=args.split, out=out)
    if args.write:
        write_metrics(weights, numbers)
    print(json_text(numbers))


def _compare(args: argparse.Namespace) -> None:
    from training.compare import compare_runs

    print(compare_runs(args.runs, args.out, test=args.test, correction=args.correction))
    print(f"Tables and figures are in {args.out}.")


def _report(args: argparse.Namespace) -> None:
    from training.report import write_report

    for path in write_report(args.folder, args.data):
        print(path)
