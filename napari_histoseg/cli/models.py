"""``napari-histoseg models``"""

from __future__ import annotations

import argparse
from typing import Any

from napari_histoseg.cli.console import print_json, print_table
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.schema import LabelClass
from napari_histoseg.session.catalogue import ModelInfo, model_infos


def add_models(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=models)
    add_json(parser)


def models(args: argparse.Namespace) -> int:
    """List every registered model and weight set."""
    found = [_to_json(info) for info in model_infos()]
    if args.json:
        print_json(found)
        return 0
    rows = [
        (
            model["id"],
            model["task"],
            f"{model['mpp']:g}",
            f"{model['parameters']['total']:,}",
            ", ".join(w["name"] for w in model["weights"]) or "none",
            model["paper"],
        )
        for model in found
    ]
    print_table(("MODEL", "TASK", "MPP", "PARAMETERS", "WEIGHTS", "PAPER"), rows)
    return 0


def _to_json(info: ModelInfo) -> dict[str, Any]:
    total, trainable = info.parameters()
    return {
        "id": info.id,
        "title": info.title,
        "paper": info.paper,
        "task": info.task,
        "classes": _classes(info.classes),
        "mpp": info.mpp,
        "parameters": {"total": total, "trainable": trainable},
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
