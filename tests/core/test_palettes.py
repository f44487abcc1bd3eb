from __future__ import annotations

import pytest

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.palettes import PALETTES, get_palette
from napari_histoseg.core.schemas import BCSS5, EPITHELIUM


def test_default_palette_keeps_the_colours_of_the_schema() -> None:
    assert get_palette("universal").apply(EPITHELIUM) == EPITHELIUM


def test_a_paper_palette_finds_the_same_tissue_under_another_name() -> None:
    colored = get_palette("cancer-stroma").apply(EPITHELIUM)
    assert colored.by_name("epithelium").color == "#FF0000"
    assert colored.by_name("other tissue").color == "#00FF00"


def test_exact_names_win() -> None:
    colored = get_palette("bcss").apply(BCSS5)
    assert [c.color for c in colored.classes] == ["#B2B200", "#00B200", "#00B2B2", "#0000B2", "#B200B2"]


def test_unknown_tissue_keeps_its_own_colour() -> None:
    colored = get_palette("glands").apply(BCSS5)
    assert colored.by_name("necrosis").color == BCSS5.by_name("necrosis").color


def test_ids_are_unique_and_a_wrong_one_is_answered_with_the_nearest() -> None:
    assert len({p.id for p in PALETTES}) == len(PALETTES)
    with pytest.raises(InputError, match="did you mean 'glands'"):
        get_palette("gland")
