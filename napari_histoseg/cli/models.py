"""``napari-histoseg models``"""

from __future__ import annotations

import argparse
from typing import Any

from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.session.catalogue import ModelInfo, grouped, model_infos

_COLUMNS = ("MODEL", "MPP", "INPUT", "PARAMETERS", "GFLOPS", "WEIGHTS", "PAPER")


def add_models(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=models)
    add_json(parser)


def models(args: argparse.Namespace) -> int:
    """List every registered model and weight set."""
    groups = grouped(model_infos())
    if args.json:
        print_json([_to_json(info) for _, infos in groups for info in infos])
        return 0
    rows: list[tuple[str, ...]] = []
    for title, infos in groups:
        rows += [(f"{title}:", *[""] * (len(_COLUMNS) - 1)), *(_row(info) for info in infos)]
    print_table(_COLUMNS, rows)
    return 0


def _row(info: ModelInfo) -> tuple[str, ...]:
    spec = info.spec
    return (
        f"  {spec.id}",
        f"{spec.mpp:g}",
        f"{spec.paper_input[0]}x{spec.paper_input[1]}",
        f"{spec.golden_parameters:,}",
        f"{spec.gflops:.0f}",
        "untrained" if info.is_untrained else ", ".join(weights.name for weights in info.weights),
        spec.paper,
    )


def _to_json(info: ModelInfo) -> dict[str, Any]:
    total, trainable = info.parameters()
    spec = info.spec
    return {
        "id": spec.id,
        "title": spec.title,
        "paper": spec.paper,
        "task": spec.task,
        "classes": _classes(spec.classes),
        "mpp": spec.mpp,
        "parameters": {"total": total, "trainable": trainable},
        "input": list(spec.paper_input),
        "gflops": spec.gflops,
        "licence": spec.licence,
        "pretrained": spec.pretrained,
        "untrained": info.is_untrained,
        "weights": [
            {
                "name": weights.name,
                "present": weights.is_present,
                "licence": weights.licence,
                "classes": _classes(weights.classes),
                "mpp": weights.mpp,
                "metrics": dict(weights.metrics),
            }
            for weights in info.weights
        ],
    }


def _classes(classes: tuple[LabelClass, ...]) -> list[dict[str, Any]]:
    return [{"id": c.id, "name": c.name, "colour": c.color} for c in classes]
