"""Commands of ``python -m training``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
    fit = commands.add_parser("fit", help="train a recipe")
    fit.add_argument("recipe")
    fit.add_argument("--data", type=Path, required=True, help="folder of prepared data sets")
    fit.add_argument("--out", type=Path, required=True, help="folder of the run")
    fit.add_argument("--set", nargs="+", default=[], metavar="key=value", help="change settings of the plan")
    fit.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    fit.set_defaults(run=_fit)
    return parser


def _fit(args: argparse.Namespace) -> None:
    from training.recipe import get_recipe, make_plan
    from training.run import run_recipe

    plan = make_plan(get_recipe(args.recipe), _settings(args.set))
    run_recipe(args.recipe, plan, data=args.data, out=args.out, resume=args.resume, tell=_tell)


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"'{pair}' is no setting; write it as key=value.")
        settings[key] = value
    return settings


def _tell(line: str) -> None:
    print(line, flush=True)
