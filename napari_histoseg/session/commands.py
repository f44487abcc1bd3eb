"""The shell commands that do what the buttons do."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from napari_histoseg.session.choosing import weights_argument

if TYPE_CHECKING:
    from pathlib import Path

    from napari_histoseg.core.image import ImageRef
    from napari_histoseg.core.project import Project
    from napari_histoseg.session.status import ActiveModel


def predict_command(project: Project, image: ImageRef, image_id: str, model: ActiveModel) -> str:
    """``napari-histoseg predict`` for an image of a project; an image without a file is named by project and id."""
    words = ["napari-histoseg", "predict", image.path or f"{project.path}::{image_id}", "--model", model.spec.id]
    words += ["--weights", weights_argument(model.weights)]
    if image.mpp is not None:
        words += ["--mpp", f"{image.mpp:.10g}"]
    return shlex.join([*words, "--out", f"{project.name}-labels"])


def finetune_command(project: Project, model: ActiveModel, reference: Path | None = None) -> str:
    """``napari-histoseg finetune`` from the active model of a project, judged on a reference folder."""
    words = ["napari-histoseg", "finetune", str(project.path), "--model", model.spec.id]
    words += [] if model.revision_id is None else ["--from", model.revision_id]
    words += [] if reference is None else ["--reference", str(reference)]
    return shlex.join(words)
