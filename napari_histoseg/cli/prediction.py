"""``napari-histoseg predict`` and ``rerun``"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_histoseg.cli.console import print_json
from napari_histoseg.cli.manifest import RUN_FILE, RunSettings, read_manifest
from napari_histoseg.cli.parser import add_device, add_json, mpp_value
from napari_histoseg.cli.running import Run
from napari_histoseg.core.errors import InputError
from napari_histoseg.io.labels import LABEL_FORMATS

if TYPE_CHECKING:
    from napari_histoseg.models.weights import Weights


def add_predict(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=predict)
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image file, or PROJECT::ID for an image kept in a project"
    )
    parser.add_argument("--model", required=True, metavar="ID", help="see napari-histoseg models")
    parser.add_argument("--weights", metavar="NAME|PATH|random", help="default: the first that come with the model")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--mpp", type=mpp_value, metavar="X", help="µm per pixel of the images, where unknown or wrong")
    add_device(parser)
    parser.add_argument("--tile", type=int, metavar="N", help="side of a tile in pixels of the model")
    parser.add_argument("--overlap", type=float, metavar="X", help="share of a tile that is blended with the next")
    parser.add_argument("--tta", action="store_true", help="average over flips and rotations (8 times slower)")
    parser.add_argument("--crf", action="store_true", help="calm outlines with a conditional random field")
    parser.add_argument(
        "--macenko", action="store_true", help="give the image standard stains first, for models trained that way"
    )
    parser.add_argument("--roi", type=_roi, metavar="Y0,X0,Y1,X1", help="only this rectangle, in image pixels")
    parser.add_argument(
        "--format", type=_formats, default=("tif",), metavar="F,F", help=f"of {', '.join(LABEL_FORMATS)} (default: tif)"
    )
    parser.add_argument("--probabilities", action="store_true", help="also write class probabilities (C, H, W)")
    add_json(parser)


def predict(args: argparse.Namespace) -> int:
    """Segment images into label files and a run manifest."""
    from napari_histoseg.models.weights import resolve

    weights = resolve(args.model, args.weights)
    settings = RunSettings(
        device=args.device,
        tile_px=args.tile,
        overlap=args.overlap,
        tta=args.tta,
        roi=args.roi,
        formats=args.format,
        probabilities=args.probabilities,
        crf=args.crf,
        macenko=args.macenko,
    )
    _report(Run(weights, settings, args.out).predict([(image, args.mpp) for image in args.images]), args.out, args.json)
    return 0


def add_rerun(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=rerun)
    parser.add_argument("run", type=Path, metavar="RUN.json", help="manifest that predict wrote")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: that of the manifest)"
    )
    add_json(parser)


def rerun(args: argparse.Namespace) -> int:
    """Repeat a run with the same inputs, weights and settings, and compare the labels with those it gave."""
    import torch

    before = read_manifest(args.run)
    out = args.out or args.run.parent
    torch.set_num_threads(before.threads)
    run = Run(_same_weights(before.model, before.weights), before.settings, out)
    manifest = run.predict([(entry["path"], entry["mpp"]) for entry in before.inputs], expected=before.inputs)
    _report(manifest, out, args.json)
    pairs = zip(before.inputs, manifest["inputs"], strict=True)
    changed = [old["name"] for old, new in pairs if _digest(old) != _digest(new)]
    if changed:
        then = ", ".join(f"{key} {value}" for key, value in before.versions.items())
        raise InputError(
            f"The results of {', '.join(changed)} differ from those of the first run, which used {then} on "
            f"'{before.settings.device}'; repeat it with the same versions and device."
        )
    return 0


def _same_weights(model_id: str, noted: dict[str, Any]) -> Weights:
    from napari_histoseg.models.weights import resolve

    weights = resolve(model_id, noted["argument"])
    if weights.card.sha256 != noted["sha256"]:
        raise InputError(
            f"The weights '{noted['argument']}' are not those of the first run (SHA-256 {noted['sha256'][:12]}…); "
            "bring the old file back."
        )
    return weights


def _report(manifest: dict[str, Any], out: Path, as_json: bool) -> None:
    if as_json:
        print_json({**manifest, "out": str(out), "run": str(out / RUN_FILE)})
        return
    for entry in manifest["inputs"]:
        print(f"{entry['name']}: {_found(entry)} ({entry['seconds']:.1f} s) -> {', '.join(entry['outputs'])}")
    print(f"Written to {out}, with {RUN_FILE}.")


def _found(entry: dict[str, Any]) -> str:
    if "shares" in entry:
        return ", ".join(f"{name} {share:.1%}" for name, share in entry["shares"].items())
    score = "no tissue" if entry["score"] is None else f"score {entry['score']:.3f}"
    return f"{score}, fields {entry['fields']}"


def _digest(entry: dict[str, Any]) -> str:
    """Of the results for one image, labels or scores."""
    return str(entry.get("labels_sha256", entry.get("scores_sha256")))


def _roi(text: str) -> tuple[int, int, int, int]:
    try:
        y0, x0, y1, x1 = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not four whole numbers Y0,X0,Y1,X1") from None
    if not (0 <= y0 < y1 and 0 <= x0 < x1):
        raise argparse.ArgumentTypeError(f"'{text}' is empty or outside; give Y0,X0,Y1,X1 with Y0 < Y1 and X0 < X1")
    return y0, x0, y1, x1


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in chosen:
        if name not in LABEL_FORMATS:
            raise argparse.ArgumentTypeError(f"there is no format '{name}'; choose from {', '.join(LABEL_FORMATS)}")
    return chosen
