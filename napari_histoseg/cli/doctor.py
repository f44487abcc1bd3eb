"""``napari-histoseg doctor``"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from napari_histoseg import __version__
from napari_histoseg.cli.console import print_json
from napari_histoseg.cli.parser import add_json
from napari_histoseg.cli.window import has_screen
from napari_histoseg.core.errors import HistosegError
from napari_histoseg.session.places import data_folder

_LEAST_FREE_GB = 2.0
_OPENGL = """
from qtpy import QtGui, QtWidgets
application = QtWidgets.QApplication([])
surface = QtGui.QOffscreenSurface()
surface.create()
context = QtGui.QOpenGLContext()
if not (context.create() and context.makeCurrent(surface)):
    raise SystemExit("no OpenGL context")
from OpenGL import GL
print(GL.glGetString(GL.GL_VERSION).decode(), "on", GL.glGetString(GL.GL_RENDERER).decode())
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: fine, worth knowing, or a problem with what to do about it."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str


def add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=doctor)
    add_json(parser)


def doctor(args: argparse.Namespace) -> int:
    """Look at everything the program needs; exits 1 when something is broken."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _qt, _opengl, _torch, _disk, _models)
    findings = [finding for check in checks for finding in check()]
    if args.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.state:8}{finding.name}: {finding.text}")
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def _python() -> Iterator[Finding]:
    yield Finding("napari-histoseg", "ok", __version__)
    text = f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} processors"
    yield Finding("Python", "ok", text)
    yield Finding("napari", "ok", importlib.metadata.version("napari"))


def _qt() -> Iterator[Finding]:
    import qtpy

    if qtpy.API_NAME in ("PyQt5", "PyQt6"):
        yield Finding("Qt", "ok", f"{qtpy.API_NAME} {qtpy.PYQT_VERSION}")
    else:
        yield Finding("Qt", "note", f"{qtpy.API_NAME} works perhaps, but only PyQt5 and PyQt6 are tested.")


def _opengl() -> Iterator[Finding]:
    """In a process of its own, since a broken driver may end it."""
    if not has_screen():
        yield Finding("OpenGL", "note", "no screen here; windows need one, or xvfb-run in front of the command.")
        return
    try:
        done = subprocess.run([sys.executable, "-c", _OPENGL], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("OpenGL", "problem", "the driver does not answer; update it or set LIBGL_ALWAYS_SOFTWARE=1.")
        return
    if done.returncode == 0:
        yield Finding("OpenGL", "ok", done.stdout.strip().splitlines()[-1])
    else:
        reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
        yield Finding(
            "OpenGL", "problem", f"{reason}; install a graphics driver, or libgl1-mesa-dri for software OpenGL."
        )


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "problem", f"cannot be imported ({error}); install it again.")
        return
    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        yield Finding("GPU", "ok", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB")
    else:
        yield Finding("GPU", "note", "none that torch can use; everything runs on the processor, only slower.")


def _disk() -> Iterator[Finding]:
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"test")
    except OSError as error:
        yield Finding(
            "disk", "problem", f"'{folder}' cannot be written ({error.strerror}); projects need it: permit it."
        )
        return
    free_gb = shutil.disk_usage(folder).free / 1e9
    text = f"{free_gb:.0f} GB free in {folder}"
    if free_gb < _LEAST_FREE_GB:
        yield Finding("disk", "problem", f"{text}; free some space, or edits cannot be saved.")
    else:
        yield Finding("disk", "ok", text)


def _models() -> Iterator[Finding]:
    """Every shipped weight set must load and reproduce its self-test."""
    from napari_histoseg.models.predictor import Predictor
    from napari_histoseg.models.registry import list_models
    from napari_histoseg.models.weights import list_weights

    for model in list_models():
        try:
            for weights in list_weights(model.spec.id):
                with Predictor(weights, device="cpu"):
                    how = "loads" if weights.card.self_test is None else "loads and passes its self-test"
                yield Finding(f"weights {model.spec.id}/{weights.name}", "ok", how)
        except HistosegError as error:
            yield Finding(f"weights of {model.spec.id}", "problem", f"{error} Install napari-histoseg again.")
