"""Small made-up data sets in the folders and files of the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
import tifffile
from PIL import Image

TISSUE = (220, 150, 190)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def image(height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), TISSUE, np.uint8)


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def dsb2018(root: Path) -> Path:
    """Two stained images, one fluorescence image; the masks of the first overlap."""
    for name, colored in (("a" * 64, True), ("b" * 64, True), ("c" * 64, False)):
        folder = root / "stage1_train" / name
        pixels = np.dstack([image() if colored else np.full((24, 32, 3), 20), np.full((24, 32), 255)])
        save(folder / "images" / f"{name}.png", pixels.astype(np.uint8))
        for k, (y, x, radius) in enumerate([(10, 10, 6), (10, 16, 3), (20, 27, 2)]):
            save(folder / "masks" / f"{k}.png", disc(24, 32, y, x, radius).astype(np.uint8) * 255)
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "._x.png").write_bytes(b"junk")
    return root


def monuseg(root: Path) -> Path:
    """One training image with two overlapping squares and a line, beyond the border; one test image."""
    squares = [[(2, 2), (20, 2), (20, 20), (2, 20)], [(15, 15), (24, 15), (24, 22), (15, 22)], [(0, 0), (1, 1)]]
    squares.append([(28, -3), (35, -3), (35, 5), (28, 5)])
    regions = ""
    for k, square in enumerate(squares):
        vertices = "".join(f'<Vertex X="{x}.0" Y="{y}.0" Z="0"/>' for x, y in square)
        regions += f'<Region Id="{k}"><Vertices>{vertices}</Vertices></Region>'
    xml = f'<Annotations MicronsPerPixel="0.25"><Annotation><Regions>{regions}</Regions></Annotation></Annotations>'
    training, test = root / "MoNuSeg 2018 Training Data", root / "MoNuSegTestData"
    for folder, images, names in (
        (training / "Annotations", training / "Tissue Images", ("TCGA-AA-0001-01Z-00-DX1", "TCGA-AA-0001-01Z-00-DX2")),
        (test, test, ("TCGA-BB-0002-01A-01-BS1",)),
    ):
        for name in names:
            save(images / f"{name}.tif", image())
            folder.mkdir(exist_ok=True, parents=True)
            (folder / f"{name}.xml").write_text(xml)
    return root


def glas(root: Path) -> Path:
    """Four training images of two patients, one of each test part; sizes differ."""
    folder = root / "Warwick QU Dataset (Released 2016_07_08)"
    rows = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    for k, name in enumerate(["train_1", "train_2", "train_3", "train_4", "testA_1", "testB_1"]):
        save(folder / f"{name}.bmp", image(24 + k, 32))
        save(folder / f"{name}_anno.bmp", (disc(24 + k, 32, 8, 8, 5) + 2 * disc(24 + k, 32, 8, 24, 5)).astype(np.uint8))
        rows.append(f"{name},{k // 2}, benign, adenomatous")
    (folder / "Grade.csv").write_text("\n".join(rows))
    return root


def crchisto(root: Path) -> Path:
    """Two images; the points count from 1, one nucleus is only detected, one kind is empty."""
    for k in (1, 2):
        folder = root / "CRCHistoPhenotypes_2016_04_28"
        save(folder / "Classification" / f"img{k}" / f"img{k}.bmp", image())
        kinds = {"epithelial": [(1, 1), (31.5, 20)], "inflammatory": [(5, 9)], "fibroblast": [], "others": [(7, 2)]}
        for kind, xy in kinds.items():
            path = folder / "Classification" / f"img{k}" / f"img{k}_{kind}.mat"
            scipy.io.savemat(path, {"detection": np.array(xy, float).reshape(-1, 2)})
        every = [point for xy in kinds.values() for point in xy] + [(20, 12)]
        (folder / "Detection" / f"img{k}").mkdir(parents=True)
        save(folder / "Detection" / f"img{k}" / f"img{k}.bmp", image())
        scipy.io.savemat(folder / "Detection" / f"img{k}" / f"img{k}_detection.mat", {"detection": np.array(every)})
    return root


def bcss(root: Path) -> Path:
    """Three regions of two patients; each has every code once."""
    folder = root / "0_Public-data-Amgad2019_0.25MPP"
    for stem in ("TCGA-A1-A0SK-DX1", "TCGA-A1-A0SK-DX2", "TCGA-B2-A0SX-DX1"):
        name = f"{stem}_xmin45749_ymin25055_MPP-0.2500.png"
        codes = np.zeros((24, 32), np.uint8)
        codes.ravel()[:22] = range(22)
        save(folder / "masks" / name, codes)
        save(folder / "rgbs_colorNormalized" / name, image())
    return root


def pannuke(root: Path) -> Path:
    """Two images in each fold."""
    for fold in (1, 2, 3):
        folder = root / f"Fold {fold}"
        (folder / "images" / f"fold{fold}").mkdir(parents=True)
        (folder / "masks" / f"fold{fold}").mkdir(parents=True)
        masks = np.zeros((2, 256, 256, 6))
        masks[..., 5] = 1
        masks[:, 10:20, 10:20, 0] = 7
        masks[:, 15:25, 15:25, 1] = 7  # another nucleus of another kind with the same number, partly below the first
        masks[:, 100:110, 100:110, 4] = 3
        masks[:, 200:210, 200:210, 4] = 9
        masks[..., 5] *= (masks[..., :5] == 0).all(axis=-1)
        np.save(folder / "images" / f"fold{fold}" / "images.npy", np.full((2, 256, 256, 3), 200.0))
        np.save(folder / "images" / f"fold{fold}" / "types.npy", np.array(["Breast", "HeadNeck"]))
        np.save(folder / "masks" / f"fold{fold}" / "masks.npy", masks)
    return root


def breastpathq(root: Path) -> Path:
    """Twelve training patches of twelve slides, two validation patches with two scores, two regions with cells."""
    folder = root / "breastpathq" / "datasets"
    rows = ["slide,rid,y"]
    for slide in range(99788, 99800):
        save(folder / "train" / f"{slide}_1.tif", image(32, 32))
        rows.append(f"{slide},1,{0.3 if slide % 2 else 0}")
    (folder / "train_labels.csv").write_text("\n".join(rows))
    for region in (1, 2):
        save(folder / "validation" / f"103_{region}.tif", image(32, 32))
    (root / "breastpathq-test").mkdir()
    (root / "breastpathq-test" / "val_labels.csv").write_text("slide,rid,p1,p2\n103,1,0.2,0.4\n103,2,1,0.9\n")
    graphics = ""
    for kind, xy in {"IDC": "3,4", "TIL-S": "30,20", "normal": "9,9", "stroma": "1,1"}.items():
        graphics += (
            f'<graphic type="pointset" description="{kind}"><point-list><point>{xy}</point></point-list></graphic>'
        )
    for name in ("1_Region 1", "1_Region 2"):
        save(folder / "cells" / f"{name}_crop.tif", image())
        (folder / "cells" / f"{name}_key.xml").write_text(f"<session><overlays>{graphics}</overlays></session>")
    return root


def ebhi(root: Path) -> Path:
    """One image of each category."""
    for k, category in enumerate(
        ["Normal", "Polyp", "Low-grade IN", "High-grade IN", "Adenocarcinoma", "Serrated adenoma"]
    ):
        pixels = image(224, 224)
        pixels[:, :40] = 250
        name = f"GT200{k}-1-400-001.png"
        save(root / "EBHI-SEG" / category / "image" / name, pixels)
        save(root / "EBHI-SEG" / category / "label" / name, disc(224, 224, 112, 130, 40).astype(np.uint8) * 255)
    return root


def pairs(root: Path) -> Path:
    """Two images in the colours of paper B."""
    for k in (1, 2):
        colors = np.zeros((24, 32, 3), np.uint8)
        colors[:8, :, 0] = 255
        colors[8:16, :, 1] = 255
        save(root / "images" / f"field{k}.jpg", image())
        save(root / "labels" / f"field{k}.png", colors)
    return root
