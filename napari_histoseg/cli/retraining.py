"""``napari-histoseg finetune`` and ``revisions``"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_histoseg.cli.console import follow, print_json, print_table
from napari_histoseg.cli.parser import add_device, add_json
from napari_histoseg.core.errors import InputError
from napari_histoseg.core.project import Project
from napari_histoseg.learning.plan import FineTunePlan
from napari_histoseg.session import choosing
from napari_histoseg.session.retraining import prepare, retrain_job

if TYPE_CHECKING:
    from napari_histoseg.core.revision import Revision
    from napari_histoseg.learning.gate import Score
    from napari_histoseg.session.retraining import RetrainOutcome
    from napari_histoseg.session.status import ActiveModel

_BASE = "base"
"""In place of a revision: the model's own weights."""
_NO_LIMIT_MINUTES = 24 * 60.0


def add_finetune(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=finetune)
    parser.add_argument("project", type=Path, metavar="PROJECT")
    parser.add_argument("--model", required=True, metavar="ID")
    parser.add_argument(
        "--from",
        dest="parent",
        metavar="REVISION",
        help=f"revision, weights, or '{_BASE}' for the model's own weights (default: what is active in the project)",
    )
    add_device(parser)
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="images that judge and never teach: a.png beside a_labels.png"
    )
    for name, field in FineTunePlan.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        text = f"{field.description} (default: {field.default})".replace("%", "%%")
        parser.add_argument(flag, type=type(field.default), metavar="N", default=argparse.SUPPRESS, help=text)
    add_json(parser)


def finetune(args: argparse.Namespace) -> int:
    """Retrain on the edits of a project: candidate, gate, verdict, revision; a promoted one becomes active."""
    plan = _plan(args)
    with Project.open(args.project) as project:
        parent = _parent(project, args.model, args.parent)
        if parent.revision_id is None:
            choosing.remember(project, parent)  # where a way back leads
        task = prepare(project, parent, plan, device=args.device, is_beside_viewer=False, reference=args.reference)
        outcome = follow(retrain_job(task), f"retrain {parent.label}")
        if outcome.revision.verdict == "promoted":
            project.revisions.activate(args.model, outcome.revision.id)
            choosing.remember(project, choosing.revised_model(project.revisions, outcome.revision.id))
    if args.json:
        print_json(_verdict(outcome))
    else:
        print(f"{outcome.revision.id}: {outcome.revision.reason}")
    return 0


def _plan(args: argparse.Namespace) -> FineTunePlan:
    """The plan of the flags; with ``--steps`` alone no time limit cuts it short."""
    given = {name: getattr(args, name) for name in FineTunePlan.model_fields if hasattr(args, name)}
    if "steps" in given and "minutes" not in given:
        given["minutes"] = _NO_LIMIT_MINUTES
    try:
        return FineTunePlan(**given)
    except ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise InputError(f"{flag} {first['input']}: {first['msg'].lower()}.") from None


def _parent(project: Project, model_id: str, name: str | None) -> ActiveModel:
    revisions = [revision.id for revision in project.revisions.list(model_id)]
    if name in revisions:
        return choosing.revised_model(project.revisions, str(name))
    if name is None and (active := project.revisions.active(model_id)) is not None:
        return choosing.revised_model(project.revisions, active)
    if name is None or name == _BASE:
        return choosing.base_in(project, model_id)
    return choosing.base_model(model_id, name, schema=project.schema)


def _verdict(outcome: RetrainOutcome) -> dict[str, Any]:
    """What scripts rely on: the numbers before and after on held-out edits and on the reference."""
    revision, result = outcome.revision, outcome.result
    scores = {score.kind: score for score in result.scores}
    held_out = scores.pop("corrections", None) or scores.pop("verified", None)
    reference = scores.get("folder") or scores.get("verified") or scores.get("agreement")
    return {
        "revision": revision.id,
        "parent": revision.parent,
        "verdict": revision.verdict,
        "reason": revision.reason,
        "heldout": _numbers(held_out),
        "reference": _numbers(reference),
        "scores": [score.to_json() for score in result.scores],
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "notes": list(result.notes),
    }


def _numbers(score: Score | None) -> dict[str, Any]:
    if score is None:
        return {"before": None, "after": None, "n": 0}
    return {"before": score.before, "after": score.after, "n": score.regions}


def add_revisions(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=revisions)
    parser.add_argument("project", type=Path, metavar="PROJECT")
    parser.add_argument(
        "--activate", metavar="ID", help=f"use this revision from now on; '{_BASE}' for the model's own weights"
    )
    parser.add_argument("--model", metavar="ID", help=f"of which model, with --activate {_BASE}")
    add_json(parser)


def revisions(args: argparse.Namespace) -> int:
    """List the lineage of revisions; activate or roll back."""
    with Project.open(args.project, read_only=args.activate is None) as project:
        if args.activate is not None:
            _activate(project, args.activate, args.model)
        found = [_to_json(project, revision) for revision in project.revisions.list()]
    if args.json:
        print_json(found)
        return 0
    rows = [
        ("*" if row["active"] else "", row["id"], row["model"], row["parent"], row["verdict"], row["reason"])
        for row in found
    ]
    print_table(("", "REVISION", "MODEL", "PARENT", "VERDICT", "WHY"), rows)
    return 0


def _activate(project: Project, revision_id: str, model_id: str | None) -> None:
    if revision_id != _BASE:
        model = choosing.revised_model(project.revisions, revision_id)
        project.revisions.activate(model.spec.id, revision_id)
    else:
        models = {revision.model_id for revision in project.revisions.list()}
        if model_id is None and len(models) != 1:
            raise InputError(f"Say with --model of which model: {', '.join(sorted(models)) or 'there is no revision'}.")
        model = choosing.base_in(project, model_id or models.pop())
        project.revisions.activate(model.spec.id, None)
    choosing.remember(project, model)


def _to_json(project: Project, revision: Revision) -> dict[str, Any]:
    return {
        "id": revision.id,
        "model": revision.model_id,
        "parent": revision.parent,
        "verdict": revision.verdict,
        "reason": revision.reason,
        "created_at": revision.created_at,
        "metrics": dict(revision.metrics),
        "active": project.revisions.active(revision.model_id) == revision.id,
    }
