"""Commands of ``python -m training``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_histoseg.core.errors import HistosegError, InputError


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
    parser = argparse.ArgumentParser(prog="python -m training", description="Train starter weights from scratch.")
    commands = parser.add_subparsers(required=True)

    datasets = commands.add_parser("datasets", help="list the public data sets, their licence and where to get them")
    datasets.set_defaults(run=_datasets)

    prepare = commands.add_parser("prepare", help="decode a data set for training")
    prepare.add_argument("name")
    prepare.add_argument("src", type=Path, help="the downloaded folder or archive")
    prepare.add_argument("dst", type=Path, help="folder of prepared data sets")
    prepare.set_defaults(run=_prepare)

    fit = commands.add_parser("fit", help="train a recipe")
    fit.add_argument("recipe")
    fit.add_argument("--data", type=Path, required=True, help="folder of prepared data sets")
    fit.add_argument("--out", type=Path, required=True, help="folder of the run")
    fit.add_argument("--set", nargs="+", default=[], metavar="key=value", help="change settings of the plan")
    fit.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    fit.set_defaults(run=_fit)

    evaluate = commands.add_parser("evaluate", help="test the weights of a run on images that steered nothing")
    evaluate.add_argument("weights", type=Path, metavar="RUN", help="folder of a run, or a .safetensors file")
    evaluate.add_argument("--data", type=Path, required=True, help="folder of prepared data sets")
    evaluate.add_argument("--recipe", default="epithelium_unet", help="whose test to run")
    evaluate.add_argument("--write", action="store_true", help="write the numbers on the card of the weights")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _datasets(args: argparse.Namespace) -> None:
    from training.datasets import DATASETS

    for dataset in DATASETS.values():
        ship = "weights may be given away" if dataset.may_ship else "for evaluation only"
        print(f"{dataset.name}: {dataset.title}\n  licence: {dataset.licence}; {ship}\n  source: {dataset.source}")
        print(f"  needs: {dataset.layout}")


def _prepare(args: argparse.Namespace) -> None:
    from training.datasets import get_dataset

    dataset = get_dataset(args.name)
    count = dataset.prepare(args.src, args.dst / dataset.name)
    print(f"{count} images of {dataset.name} are ready in {args.dst / dataset.name}.")


def _fit(args: argparse.Namespace) -> None:
    from training.recipe import get_recipe, make_plan
    from training.run import read_plan, run_recipe

    before = read_plan(args.out) if args.resume else {}
    plan = make_plan(get_recipe(args.recipe), before | _settings(args.set))
    weights = run_recipe(args.recipe, plan, data=args.data, out=args.out, resume=args.resume, tell=_tell)
    print(f"Weights are in {weights.path}.")


def _evaluate(args: argparse.Namespace) -> None:
    from training.recipe import get_recipe
    from training.run import find_weights, write_metrics

    weights = find_weights(args.weights)
    numbers = get_recipe(args.recipe).test(weights, args.data)
    if args.write:
        write_metrics(weights, numbers)
    print(json.dumps(numbers, indent=1))


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"'{pair}' is no setting; write it as key=value.")
        settings[key] = value
    return settings


def _tell(line: str) -> None:
    print(line, flush=True)
