"""Commands that open a window."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from napari_histoseg.core.errors import ResourceError


def has_screen() -> bool:
    """Whether Qt can open windows here, as far as the environment tells."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in named)


def require_screen() -> None:
    """Raise ``ResourceError`` where Qt would end the process without a word that helps."""
    if not has_screen():
        raise ResourceError(
            "There is no screen here for a window; run this on a machine with one, or try "
            "'napari-histoseg demo --screenshot OUT.png', which needs none."
        )


def add_window(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=window)
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="images to open")
    parser.add_argument("--project", type=Path, metavar="DIR", help="project to open")


def window(args: argparse.Namespace) -> int:
    """Open napari with the plugin docked and wait until it is closed."""
    require_screen()
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
    if args.screenshot is None:
        require_screen()
    from napari_histoseg.demo import demo as walk

    return walk(args.screenshot)
