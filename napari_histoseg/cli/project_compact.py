"""``napari-histoseg project compact``"""

from __future__ import annotations

import argparse

from napari_histoseg.cli.console import print_json
from napari_histoseg.cli.parser import add_json
from napari_histoseg.core.project import Project

_MB = 1e6


def add_compact(parser: argparse.ArgumentParser) -> None:
    """The arguments besides the project."""
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument(
        "--keep-days",
        type=float,
        metavar="N",
        help="undo reaches N days back; who did older work and when stays. The project remembers it",
    )
    keep.add_argument("--keep-all", action="store_true", help="undo reaches back to the beginning, the default")
    add_json(parser)


def project_compact(args: argparse.Namespace) -> int:
    """Drop the pixels of old edits, as far as the project is set to."""
    with Project.open(args.project) as opened:
        if args.keep_all or args.keep_days is not None:
            opened.set_keep_days(args.keep_days)
        keep_days = opened.keep_days
        done = None if keep_days is None else opened.compact(keep_days)
    if args.json:
        print_json({"keep_days": keep_days, **({} if done is None else vars(done))})
    elif done is None:
        print("Every edit keeps its pixels, so undo reaches back to the beginning; use --keep-days to change that.")
    else:
        print(
            f"Edits that can no longer be taken back: {done.edits}. The journal has {done.after_bytes / _MB:.1f} MB, "
            f"it had {done.before_bytes / _MB:.1f} MB."
        )
    return 0
