"""Groups of BCSS classes, on the published code table and on real masks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.grouping import apply_groups, bcss_classes, bcss_groups
from napari_histoseg.core.palettes import get_palette
from napari_histoseg.core.schema import IGNORE
from napari_histoseg.core.schemas import BCSS5, BCSS22, SCHEMAS


def test_groups_are_those_of_the_paper() -> None:
    names = {c.id: c.name for c in BCSS5.classes} | {IGNORE: "ignore"}
    groups = [names[int(g)] for g in bcss_groups()[:22]]
    expected = ["others"] * 22
    expected[0] = "ignore"
    for code, name in {1: "tumor", 19: "tumor", 20: "tumor", 2: "stroma", 4: "necrosis"}.items():
        expected[code] = name
    expected[3] = expected[10] = expected[11] = "inflammatory"
    assert groups == expected
    assert (bcss_groups()[22:] == IGNORE).all()


def test_excluded_regions_can_be_left_out() -> None:
    changed = np.flatnonzero(bcss_groups() != bcss_groups(exclude_to_ignore=True))
    assert changed.tolist() == [7, 15]
    assert (bcss_groups(exclude_to_ignore=True)[changed] == IGNORE).all()


def test_names_and_codes_are_the_published_ones(shared_data: Path) -> None:
    with (shared_data / "bcss" / "gtruth_codes.tsv").open() as file:
        published = {row["label"]: int(row["GT_code"]) for row in csv.DictReader(file, delimiter="\t")}
    assert published.pop("outside_roi") == 0
    assert {c.name: c.id for c in BCSS22.classes} == published


def test_real_masks_keep_their_areas(shared_data: Path) -> None:
    for path in sorted((shared_data / "bcss").glob("*.png")):
        codes = np.asarray(Image.open(path))
        labels = apply_groups(codes, bcss_groups(), path.name)
        assert (labels == 1).sum() == np.isin(codes, (1, 19, 20)).sum()
        assert (labels == IGNORE).sum() == (codes == 0).sum()
        assert set(np.unique(labels)) <= {*BCSS5.ids, IGNORE}
        np.testing.assert_array_equal(apply_groups(codes, bcss_classes(), path.name), np.where(codes, codes, IGNORE))


def test_an_unknown_code_is_named() -> None:
    codes = np.array([[1, 2], [22, 40]], np.uint8)
    with pytest.raises(InputError, match=r"a\.png holds the code 22, which is none of 0 to 21"):
        apply_groups(codes, bcss_groups(), "a.png")


def test_the_palette_of_all_classes_is_the_circle_of_hues() -> None:
    colored = get_palette("bcss22").apply(BCSS22)
    assert colored.by_id(1).rgb == (178, 48, 0) and colored.by_id(11).rgb == (0, 178, 178)
    assert len({c.color for c in colored.classes}) == 21


def test_schemas_use_no_key_of_the_tools() -> None:
    taken = set("aebdflmpvxz")
    for schema in SCHEMAS.values():
        assert not taken & {c.key for c in schema.classes}, schema.id
        assert all(c.key for c in schema.classes[:6])


@pytest.mark.parametrize("schema", [s for s in SCHEMAS.values() if len(s.classes) <= 8], ids=lambda s: s.id)
def test_colours_stay_apart_without_red_or_green_cones(schema) -> None:
    """Deuteranopia and protanopia by the matrices of Machado et al. (2009), severity 1."""
    matrices = (
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    )
    rgb = np.array([c.rgb for c in schema.classes], float)
    for matrix in (np.eye(3), *map(np.array, matrices)):
        seen = rgb @ matrix.T
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 1e9 * np.eye(len(rgb))
        assert apart.min() > 40, schema.id
