"""Commands that open a window."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_window(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=window)
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="images to open")
    parser.add_argument("--project", type=Path, metavar="DIR", help="project to open")


def window(args: argparse.Namespace) -> int:
    """Open napari with the plugin docked and wait until it is closed."""
    import napari

    from napari_histoseg.plugin import launch

    bench = launch(args.images, args.project)
    try:
        napari.run()
    finally:
        bench.close()
    return 0


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=demo)
    parser.add_argument(
        "--screenshot", type=Path, metavar="OUT.png", help="run by itself, save the picture of the window and exit"
    )


def demo(args: argparse.Namespace) -> int:
    """The whole loop on the sample image."""
    from napari_histoseg.demo import demo as walk

    return walk(args.screenshot)
