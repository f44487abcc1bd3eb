"""What ``predict`` writes for a model that scores fields of tissue."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef

if TYPE_CHECKING:
    from napari_histoseg.inference.scoring import Scores

_DIGITS = 6


def score_path(folder: Path, stem: str) -> Path:
    return folder / f"{stem}_score.json"


def write_scores(folder: Path, stem: str, scores: Scores, ref: ImageRef) -> dict[str, Any]:
    """Write the scores of an image; what the manifest of the run says about them comes back.

    Boxes are Y0, X0, Y1, X1 in pixels of the image: what the network saw, and the part its score stands for.
    """
    mean = None if scores.mean is None else round(scores.mean, _DIGITS)
    fields = [
        {
            "box": _corners(field.box),
            "tile": _corners(field.tile),
            "score": round(field.score, _DIGITS),
            "tissue": round(field.tissue, _DIGITS),
        }
        for field in scores.fields
    ]
    path = score_path(folder, stem)
    write_json(path, {"image": ref.name, "mpp": ref.mpp, "score": mean, "n": len(fields), "fields": fields})
    digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    return {"outputs": [path.name], "score": mean, "fields": len(fields), "scores_sha256": digest}


def _corners(box: Box) -> list[int]:
    return [box.y0, box.x0, box.y1, box.x1]
