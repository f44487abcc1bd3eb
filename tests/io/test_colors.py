"""Label images in colours, as other programs and the papers' data sets save them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.palettes import get_palette
from napari_histoseg.core.schema import IGNORE, LabelSchema
from napari_histoseg.core.schemas import BCSS5, CANCER_STROMA
from napari_histoseg.io.colors import labels_from_colors
from napari_histoseg.io.labels import read_labels


def painted(schema: LabelSchema) -> tuple[np.ndarray, np.ndarray]:
    """Random class ids of a schema and the same in its colours."""
    ids = np.random.default_rng(0).choice(schema.ids, (30, 40)).astype(np.uint8)
    table = np.zeros((256, 3), np.uint8)
    for c in schema.classes:
        table[c.id] = c.rgb
    return ids, table[ids]


@pytest.mark.parametrize("palette", ["universal", "cancer-stroma"])
def test_colours_of_the_schema_and_of_a_paper_are_read(tmp_path: Path, palette: str) -> None:
    ids, colors = painted(get_palette(palette).apply(CANCER_STROMA))
    Image.fromarray(colors).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png", CANCER_STROMA), ids)
    with pytest.raises(InputError, match="one number per pixel"):
        read_labels(tmp_path / "a.png")


def test_transparent_pixels_have_no_class(tmp_path: Path) -> None:
    ids, colors = painted(BCSS5)
    alpha = np.full((*ids.shape, 1), 255, np.uint8)
    alpha[:5] = 0
    Image.fromarray(np.concatenate([colors, alpha], axis=-1)).save(tmp_path / "a.png")
    labels = read_labels(tmp_path / "a.png", BCSS5)
    assert (labels[:5] == IGNORE).all() and (labels[5:] == ids[5:]).all()


def test_a_wrong_colour_is_named_with_the_nearest(tmp_path: Path) -> None:
    _, colors = painted(CANCER_STROMA)
    colors[2, 3:6] = (210, 90, 5)
    colors[9, 9] = (1, 2, 3)
    Image.fromarray(colors).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"4 pixels in 2 colours .* most of them \(210, 90, 5\).* \(213, 94, 0\)"):
        read_labels(tmp_path / "a.png", CANCER_STROMA)


def test_numbers_are_read_as_numbers_whatever_the_schema(tmp_path: Path) -> None:
    ids, _ = painted(BCSS5)
    Image.fromarray(ids).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png", BCSS5), ids)


def test_an_explicit_palette_decides() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0] = (255, 0, 0)
    assert labels_from_colors(pixels, {(255, 0, 0): 4, (0, 0, 0): 9}, "x").tolist() == [[4, 4], [9, 9]]
