"""The grammar of the command line: one table of commands, each module adds its own arguments."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from importlib import import_module

from napari_histoseg import __version__

COMMANDS = {
    "demo": ("window", "the whole loop on the sample image"),
    "models": ("models", "list models and weights"),
    "predict": ("prediction", "segment images into label files"),
    "rerun": ("prediction", "repeat a run exactly"),
    "cells": ("cells", "grow points into cells"),
    "project": ("projects", "make, look into, fill and export projects"),
    "finetune": ("retraining", "retrain on the edits of a project"),
    "revisions": ("retraining", "list and activate the retrained models of a project"),
    "evaluate": ("evaluation", "compare predicted with true labels"),
    "doctor": ("doctor", "what is wrong with this installation and what to do"),
}
"""Command: module of this package whose ``add_<command>(parser)`` sets arguments and ``handler``, and its help."""

_DEBUG = "--debug"
_WINDOW_USAGE = "napari-histoseg [IMAGE ...] [--project DIR]"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with the function to call in ``handler``; leaves with code 2 on wrong use."""
    plain = [word for word in argv if word != _DEBUG]  # it may stand anywhere
    words = [word for word in plain if not word.startswith("-")]
    if words and words[0] in COMMANDS:
        args = _command_parser(words[0]).parse_args(plain)
    elif {"-h", "--help", "--version"} & set(plain):
        args = _command_parser(None).parse_args(plain)
    else:
        args = _parse_window(plain)
    args.debug = len(plain) < len(argv)
    return args


def _parse_window(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("napari-histoseg", usage=_WINDOW_USAGE)
    _wire(parser, "window", "window")
    args = parser.parse_args(argv)
    for path in args.images:
        if not path.exists():
            near = difflib.get_close_matches(str(path), COMMANDS, 1)
            hint = f"; did you mean '{near[0]}'?" if near else "; see napari-histoseg --help"
            parser.error(f"'{path}' is neither an image nor a command{hint}")
    return args


def _command_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of all commands; only the chosen one has its arguments, so that the others need not be imported."""
    parser = argparse.ArgumentParser(
        "napari-histoseg",
        description="Segment, correct and retrain on histology images in napari.",
        epilog=f"Without a command, a window opens: {_WINDOW_USAGE}. For research use; not a diagnostic device.",
    )
    parser.add_argument("--version", action="version", version=f"napari-histoseg {__version__}")
    parser.add_argument(_DEBUG, action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command, (module, text) in COMMANDS.items():
        sub = commands.add_parser(command, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if command == chosen:
            _wire(sub, module, command)
    return parser


def _wire(parser: argparse.ArgumentParser, module: str, command: str) -> None:
    add: Callable[[argparse.ArgumentParser], None] = getattr(
        import_module(f"napari_histoseg.cli.{module}"), f"add_{command}"
    )
    add(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that can answer with one JSON document."""
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def mpp_value(text: str) -> float:
    """µm per pixel of an argument."""
    value = float(text)
    if not 0.01 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} µm per pixel is no microscope's resolution (0.01 to 100)")
    return value


mpp_value.__name__ = "µm per pixel"  # argparse names the type of a wrong value


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
