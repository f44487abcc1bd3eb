"""Made-up downloads of every data set, in the folders of the published ones and large enough to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SIDE = 64


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def nuclei(seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """An image with dark discs on pink tissue, and their numbers."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), (225, 150, 190)) + rng.normal(0, 6, (side, side, 3))
    instances = np.zeros((side, side), np.uint16)
    y, x = np.ogrid[:side, :side]
    for number, (cy, cx) in enumerate([(14, 14), (14, 44), (44, 20), (46, 50)], start=1):
        disc = (y - cy - rng.integers(-4, 5)) ** 2 + (x - cx - rng.integers(-4, 5)) ** 2 < 64
        instances[disc] = number
        image[disc] = (100, 50, 140)
    return image.clip(0, 255).astype(np.uint8), instances


def numbered(root: Path, count: int, side: int = SIDE) -> Path:
    """``images/*.jpg`` with ``instances/*.png``, every second a little larger: DSB 2018, MoNuSeg, GlaS."""
    for k in range(count):
        image, instances = nuclei(k, side + 4 * (k % 2))
        _save(root / "images" / f"image{k}.jpg", image)
        _save(root / "instances" / f"image{k}.png", instances)
    return root


def crchisto(root: Path, *, count: int = 8, side: int = 96, copies: int = 1) -> Path:
    """Images with a point on each of the four nuclei, and on ``copies - 1`` others beside each."""
    points = ((15, 15, "epithelial"), (45, 15, "inflammatory"), (21, 45, "fibroblast"), (51, 47, "others"))
    for k in range(count):
        image, _ = nuclei(k, side)
        rows = ["x,y,class", *(f"{x + 60 * c},{y},{kind}" for x, y, kind in points for c in range(copies))]
        _save(root / "images" / f"img{k}.jpg", image)
        (root / "points").mkdir(exist_ok=True)
        (root / "points" / f"img{k}.csv").write_text("\n".join(rows))
    return root


def bcss(root: Path) -> Path:
    for patient in range(10):
        image, instances = nuclei(patient, 96)
        codes = np.where(instances > 0, 1, 2).astype(np.uint8)
        codes[:20], codes[20:30], codes[30:40, :20], codes[80:, :] = 0, 3, 4, 9
        name = f"TCGA-A1-A{patient:03d}-DX1_xmin1_ymin2_MPP-0.2500.png"
        _save(root / "masks" / name, codes)
        _save(root / "rgbs_colorNormalized" / name, image)
    return root


def pairs(root: Path) -> Path:
    for k in range(8):
        image, instances = nuclei(k)
        colors = np.zeros((SIDE, SIDE, 3), np.uint8)
        colors[instances > 0] = (255, 0, 0)
        colors[50:] = (0, 255, 0)
        _save(root / "images" / f"field{k}.png", image)
        _save(root / "labels" / f"field{k}.png", colors)
    return root


def breastpathq(root: Path) -> Path:
    rows = ["slide,rid,y"]
    for slide in range(100, 112):
        _save(root / "train" / f"{slide}_1.tif", nuclei(slide)[0])
        rows.append(f"{slide},1,{(slide - 100) / 12:.3f}")
    (root / "train_labels.csv").write_text("\n".join(rows))
    for region in (1, 2, 3):
        _save(root / "validation" / f"203_{region}.tif", nuclei(region)[0])
    (root / "val_labels.csv").write_text("slide,rid,p1,p2\n203,1,0.2,0.4\n203,2,0.9,0.7\n203,3,0.5,0.5\n")
    points = {"IDC": "14,14", "TIL-S": "44,14", "normal": "20,44"}
    graphics = "".join(
        f'<graphic type="pointset" description="{kind}"><point-list><point>{xy}</point></point-list></graphic>'
        for kind, xy in points.items()
    )
    for slide in range(1, 14):
        _save(root / "cells" / f"{slide}_Region 1_crop.tif", nuclei(slide)[0])
        text = f"<session><overlays>{graphics}</overlays></session>"
        (root / "cells" / f"{slide}_Region 1_key.xml").write_text(text)
    return root


def pannuke(root: Path) -> Path:
    for fold in (1, 2, 3):
        images, masks = np.zeros((1, 256, 256, 3)), np.zeros((1, 256, 256, 6))
        for k in range(len(images)):
            image, instances = nuclei(10 * fold + k, 256)
            images[k] = image
            masks[k, ..., 0] = np.where(instances < 3, instances, 0)
            masks[k, ..., 1] = np.where(instances == 3, 3, 0)
            masks[k, ..., 4] = np.where(instances == 4, 4, 0)
            masks[k, ..., 5] = instances == 0
        for kind in ("images", "masks"):
            (root / f"Fold {fold}" / kind / f"fold{fold}").mkdir(parents=True)
        np.save(root / f"Fold {fold}" / "images" / f"fold{fold}" / "images.npy", images)
        np.save(root / f"Fold {fold}" / "images" / f"fold{fold}" / "types.npy", np.array(["Breast"]))
        np.save(root / f"Fold {fold}" / "masks" / f"fold{fold}" / "masks.npy", masks)
    return root
