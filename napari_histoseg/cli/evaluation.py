"""``napari-histoseg evaluate``"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from napari_histoseg.cli import evaluation_objects, evaluation_scores, evaluation_semantic
from napari_histoseg.cli.console import print_json
from napari_histoseg.cli.evaluation_report import Evaluated, print_report, write_report
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.core.schemas import SCHEMAS, get_schema

_TASKS: dict[str, Callable[[Path, Path, LabelSchema | None], Evaluated]] = {
    "semantic": evaluation_semantic.evaluate,
    "instance": evaluation_objects.evaluate_nuclei,
    "gland": evaluation_objects.evaluate_glands,
    "cellularity": evaluation_scores.evaluate,
}

_EPILOG = (
    "Tasks: 'semantic' compares class ids, and with the *_probabilities.tif of predict also ROC areas; 'instance' and "
    "'gland' compare numbered objects (*_instances.tif where there are such files, with *_cells.csv also class by "
    "class), or with --schema the connected parts of a class map; 'cellularity' compares the *_score.json of predict, "
    "or CSV files with image,score and one column for each rater."
)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=evaluate)
    parser.epilog = _EPILOG
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR|FILE", help="predicted labels or scores")
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR|FILE", help="the truth, under the same names")
    parser.add_argument("--task", choices=tuple(_TASKS), required=True)
    parser.add_argument("--schema", metavar="NAME", help=f"class names: {', '.join(SCHEMAS)} (default: the numbers)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for tables (CSV, Markdown) and charts (SVG)")
    add_json(parser)


def evaluate(args: argparse.Namespace) -> int:
    """Compare predictions with the truth."""
    schema = None if args.schema is None else get_schema(args.schema)
    evaluated = _TASKS[args.task](args.pred, args.truth, schema)
    if args.out is not None:
        write_report(args.out, evaluated)
    if args.json:
        print_json(evaluated.result)
    else:
        print_report(evaluated)
    return 0
