"""MoNuSeg: outlined nuclei in H&E of several organs; for evaluation only."""

from __future__ import annotations

from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.errors import InputError
from training.datasets.dataset import DataSet
from training.datasets.source import Source
from training.datasets.splits import Split, split_groups
from training.writing import SetWriter

MPP = 0.25


def convert(source: Source, writer: SetWriter) -> None:
    """Add ``Tissue Images/*.tif`` with ``Annotations/*.xml``, or ``images/*.jpg`` with ``instances/*.png``.

    The outlines may also lie beside the images, as in the published test set, whose images are all ``test``.
    """
    outlined = source.find("*.tif")
    keys = [
        PurePosixPath(name) for name in outlined or source.find("images/*.jpg") or source.need("Tissue Images/*.tif")
    ]
    splits = split_groups(_patient(key.stem) for key in keys)
    for key in keys:
        image = source.read_image(str(key))
        if outlined:
            folders = [key.parent.parent / "Annotations", key.parent]
            name = source.partner(str(key), [str(folder / f"{key.stem}.xml") for folder in folders], "outlines")
            outlines = read_outlines(source.read(name), f"{source.path / name}")
            instances = draw_outlines(outlines, (image.shape[0], image.shape[1]), f"{source.path / name}")
        else:
            other = str(key.parent.parent / "instances" / f"{key.stem}.png")
            instances = source.read_mask(source.partner(str(key), [other], "instance map")).astype(np.int32)
        split: Split = "test" if "test" in str(key.parent).casefold() else splits[_patient(key.stem)]
        facts = {"key": key.stem, "group": _patient(key.stem), "split": split, "mpp": MPP}
        writer.add(facts, image=image, labels=instances > 0, instances=instances)


def read_outlines(xml: bytes, where: str) -> list[NDArray[np.float64]]:
    """Outlines (P, 2) of x, y in pixels from an Aperio ImageScope annotation file; regions without an area are dropped.

    Raises
    ------
    InputError
        When the file is no such annotation or holds no outline.
    """
    try:
        regions = ElementTree.fromstring(xml).iter("Region")
        outlines = [np.array([(float(v.attrib["X"]), float(v.attrib["Y"])) for v in r.iter("Vertex")]) for r in regions]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise InputError(f"{where} is no whole ImageScope annotation ({error}); get the set again.") from None
    outlines = [outline for outline in outlines if len(outline) > 2]
    if not outlines:
        raise InputError(f"{where} holds no outlined region; export the annotations again.")
    return outlines


def draw_outlines(outlines: list[NDArray[np.float64]], size: tuple[int, int], where: str) -> NDArray[np.int32]:
    """Instance map (H, W) of outlines; where two overlap the pixel goes to the smaller one, so that none is buried.

    Raises
    ------
    InputError
        When an outline lies wholly outside the image.
    """
    from skimage.draw import polygon

    drawn = []
    for outline in outlines:
        if (outline.max(axis=0) < 0).any() or (outline.min(axis=0) > (size[1] - 1, size[0] - 1)).any():
            x, y = outline[0]
            raise InputError(
                f"{where} has an outline at x {x:g}, y {y:g}, outside its image of {size[1]} x {size[0]} pixels "
                "(width x height); check that outlines and image belong together."
            )
        drawn.append(polygon(outline[:, 1], outline[:, 0], size))
    instances = np.zeros(size, np.int32)
    for number, (rows, columns) in enumerate(sorted(drawn, key=lambda pixels: -len(pixels[0])), start=1):
        instances[rows, columns] = number
    return instances


def _patient(stem: str) -> str:
    """``TCGA-21-5784`` of ``TCGA-21-5784-01Z-00-DX1``."""
    return "-".join(stem.split("-")[:3])


DATASET = DataSet(
    name="monuseg",
    title="MoNuSeg: nuclei outlined in H&E images of several organs at 40x",
    licence="CC BY-NC-SA 4.0 (Kumar et al. 2017, IEEE TMI 36; Kumar et al. 2020, IEEE TMI 39)",
    source="https://monuseg.grand-challenge.org/Data/",
    layout="the folder with 'Tissue Images/*.tif' and 'Annotations/*.xml', or the test folder with both side by side",
    may_ship=False,
    convert=convert,
    archives=("monuseg_train.zip",),
)
