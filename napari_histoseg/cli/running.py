"""Predicting many images into a folder, each file whole or not at all, the manifest last."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.cli.cell_files import cell_paths, write_found_cells
from napari_histoseg.cli.console import follow
from napari_histoseg.cli.manifest import FORMAT, RUN_FILE, RunSettings, versions
from napari_histoseg.cli.score_files import score_path, write_scores
from napari_histoseg.core.atomic import write_json
from napari_histoseg.core.box import Box
from napari_histoseg.core.errors import InputError, ResourceError
from napari_histoseg.core.image import ImageRef
from napari_histoseg.core.project import Project
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.io.images import open_image
from napari_histoseg.io.labels import label_path, write_labels, write_probabilities
from napari_histoseg.models.registry import get_model

if TYPE_CHECKING:
    from napari_histoseg.inference.predict import Prediction
    from napari_histoseg.models.weights import Weights

PROJECT_MARK = "::"
"""Between a project folder and an image id, for images that have no file of their own."""


class Run:
    """One call of ``predict``."""

    def __init__(self, weights: Weights, settings: RunSettings, out: Path) -> None:
        self.weights = weights
        self.settings = settings
        self.out = out
        self.schema = LabelSchema(weights.model_id, weights.name, weights.classes)
        task = get_model(weights.model_id).spec.task
        self.has_cells = task == "instance"
        self.has_scores = task == "regression"

    def predict(
        self, images: Sequence[tuple[str, float | None]], expected: Sequence[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Predict and write every image, then the manifest, which comes back.

        Parameters
        ----------
        images : sequence of (str, float or None)
            Name of the image as on the command line, and its µm per pixel where the file's is unknown or wrong.
        expected : sequence of dict, optional
            Inputs of the run that is repeated; other pixels are refused.
        """
        import torch

        from napari_histoseg.inference.predict import Predictors
        from napari_histoseg.session.choosing import weights_argument

        began = time.perf_counter()
        refs = [open_input(name, mpp) for name, mpp in images]
        stems = self._check(refs, expected)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / RUN_FILE).unlink(missing_ok=True)  # the results it describes are about to change
        predictors = Predictors()
        inputs = [
            {"path": _lasting(name), **self._one(ref, stem, predictors)}
            for (name, _), ref, stem in zip(images, refs, stems, strict=True)
        ]
        card = self.weights.card
        argument = weights_argument(self.weights)
        manifest = {
            "format": FORMAT,
            "inputs": inputs,
            "model": self.weights.model_id,
            "weights": {
                "name": self.weights.name,
                "argument": argument if argument == self.weights.name else str(Path(argument).absolute()),
                "sha256": card.sha256,
                "revision": _revision_of(self.weights),
                "mpp": card.mpp,
                "classes": [c.to_json() for c in card.classes],
            },
            "settings": self.settings.to_json(),
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - began, 3),
        }
        write_json(self.out / RUN_FILE, manifest)
        return manifest

    def _check(self, refs: Sequence[ImageRef], expected: Sequence[dict[str, Any]] | None) -> list[str]:
        """File stems of the results, after everything that can be refused before the work begins."""
        if self.has_scores:
            _check_score_settings(self.settings)
        stems = [Path(ref.name).stem for ref in refs]
        doubled = {stem for stem in stems if stems.count(stem) > 1}
        if doubled:
            raise InputError(
                f"Two images are called '{sorted(doubled)[0]}', so their results would have the same name; "
                "run them into different folders."
            )
        originals = {Path(ref.path).resolve() for ref in refs if ref.path is not None}
        targets = [target for stem in stems for target in self._targets(stem)]
        for target in targets:
            if target.resolve() in originals:
                raise InputError(f"The result would replace the image '{target}'; choose another folder with --out.")
            if targets.count(target) > 1:
                raise InputError(f"Two images would both write '{target.name}'; run them into different folders.")
        for ref in refs:
            if ref.mpp is None:
                raise InputError(f"The µm per pixel of '{ref.name}' is not known; say it with --mpp.")
        for ref, noted in zip(refs, expected or (), strict=False):
            if ref.content_id != noted["content_id"]:
                raise InputError(f"'{ref.name}' does not hold the pixels of the first run any more; bring them back.")
        return stems

    def _targets(self, stem: str) -> list[Path]:
        """Every file that the results of an image may take."""
        if self.has_scores:
            return [score_path(self.out, stem)]
        targets = [label_path(self.out, stem, file_format) for file_format in self.settings.formats]
        if self.has_cells:
            targets += cell_paths(self.out, stem)
        if self.settings.probabilities:
            targets.append(_probabilities_path(self.out, stem))
        return targets

    def _one(self, ref: ImageRef, stem: str, predictors: Any) -> dict[str, Any]:
        from napari_histoseg.inference.stain import normalised_image

        seen = normalised_image(ref) if self.settings.macenko else ref
        found = self._scores(seen, stem, predictors) if self.has_scores else self._labels(seen, stem, predictors)
        return {"name": ref.name, "content_id": ref.content_id, "shape": list(ref.shape), "mpp": ref.mpp, **found}

    def _scores(self, ref: ImageRef, stem: str, predictors: Any) -> dict[str, Any]:
        from napari_histoseg.inference.scoring import ScoreRequest, score_fields

        request = ScoreRequest(ref, self.weights.model_id, self.weights, self._boxes(), self.settings.device)
        result = follow(score_fields(request, predictors), ref.name)
        return {**write_scores(self.out, stem, result, ref), "seconds": round(result.seconds, 3)}

    def _boxes(self) -> tuple[Box, ...]:
        return () if self.settings.roi is None else (Box(*self.settings.roi),)

    def _labels(self, ref: ImageRef, stem: str, predictors: Any) -> dict[str, Any]:
        from napari_histoseg.inference.crf import calmed
        from napari_histoseg.inference.predict import PredictRequest, predict

        settings = self.settings
        request = PredictRequest(
            image=ref,
            model_id=self.weights.model_id,
            weights=self.weights,
            boxes=self._boxes(),
            device=settings.device,
            tile_px=settings.tile_px,
            overlap=settings.overlap,
            tta=settings.tta,
            keep_probabilities=settings.probabilities or settings.crf or self.has_cells,
        )
        result = follow(predict(request, predictors), ref.name)
        if settings.crf:
            result = calmed(result, ref, self.schema.ids)
        if result.labels is None:
            raise ResourceError(f"'{ref.name}' is too large for one label file; choose a region with --roi.")
        outputs = self._write(result, result.labels, stem, ref)
        cells: dict[str, Any] = {}
        if self.has_cells and result.probabilities is not None:
            table = write_found_cells(self.out, stem, result.probabilities, ref, self.schema)
            outputs += [path.name for path in cell_paths(self.out, stem)]
            cells = {"cells": len(table)}
        return {
            "outputs": outputs,
            **cells,
            "labels_sha256": hashlib.sha256(result.labels.tobytes()).hexdigest(),
            "shares": self._shares(result.labels),
            "seconds": round(result.seconds, 3),
        }

    def _write(self, result: Prediction, labels: NDArray[np.uint8], stem: str, ref: ImageRef) -> list[str]:
        written = []
        for file_format in self.settings.formats:
            path = label_path(self.out, stem, file_format)
            write_labels(path, labels, file_format=file_format, schema=self.schema, mpp=ref.mpp)
            written.append(path.name)
        if self.settings.probabilities and result.probabilities is not None:
            path = _probabilities_path(self.out, stem)
            write_probabilities(path, result.probabilities, schema=self.schema, mpp=ref.mpp)
            written.append(path.name)
        return written

    def _shares(self, labels: NDArray[np.uint8]) -> dict[str, float]:
        counts = np.bincount(labels.ravel(), minlength=256)
        total = max(1, int(counts[:IGNORE].sum()))
        return {c.name: round(int(counts[c.id]) / total, 6) for c in self.schema.classes}


def open_input(name: str, mpp: float | None) -> ImageRef:
    """An image file, or ``PROJECT::ID`` for an image of a project."""
    folder, mark, image_id = name.rpartition(PROJECT_MARK)
    if not mark or Path(name).exists():
        return open_image(name, mpp)
    with Project.open(folder, read_only=True) as project:
        ref = project.image_ref(image_id, open_image)
    return ref if mpp is None else ref.with_mpp(mpp)


def _check_score_settings(settings: RunSettings) -> None:
    """Raise ``InputError`` for what was asked for and makes no sense where whole fields get one score."""
    asked = {
        "--tile": settings.tile_px is not None,
        "--overlap": settings.overlap is not None,
        "--tta": settings.tta,
        "--crf": settings.crf,
        "--probabilities": settings.probabilities,
        "--format": settings.formats != RunSettings().formats,
    }
    for option, is_asked in asked.items():
        if is_asked:
            raise InputError(f"A model that scores fields of tissue has no {option}; leave it out.")


def _probabilities_path(folder: Path, stem: str) -> Path:
    return folder / f"{stem}_probabilities.tif"


def _lasting(name: str) -> str:
    """The name of an input as it is valid from any folder."""
    folder, mark, image_id = name.rpartition(PROJECT_MARK)
    if not mark or Path(name).exists():
        return str(Path(name).absolute())
    return f"{Path(folder).absolute()}{PROJECT_MARK}{image_id}"


def _revision_of(weights: Weights) -> str | None:
    """Id of the revision whose folder the weights lie in."""
    if weights.path is None or weights.card.parent is None:
        return None
    return weights.path.parent.name
