"""Label schemas refuse what would mix up classes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import IGNORE, LabelClass, LabelSchema
from napari_histoseg.core.schemas import BCSS5, EPITHELIUM, SCHEMAS, get_schema

RED, BLUE = "#ff0000", "#0000FF"


def test_built_in_schemas_are_whole() -> None:
    for schema in SCHEMAS.values():
        assert LabelSchema.from_json(schema.to_json()) == schema
        assert all(c.key is None or len(c.key) == 1 for c in schema.classes)
        assert len({c.rgb for c in schema.classes}) == len(schema.classes)
    assert EPITHELIUM.ids == (0, 1, 2) and BCSS5.ids == (1, 2, 3, 4, 5)


def test_an_unknown_schema_names_the_nearest() -> None:
    assert get_schema("bcss5") is BCSS5
    with pytest.raises(InputError, match="did you mean 'epithelium'"):
        get_schema("epithelum")
    with pytest.raises(InputError, match="choose from epithelium, bcss5, bcss22"):
        get_schema("zzz")


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ((), "no classes"),
        ((LabelClass(1, "a", RED), LabelClass(1, "b", BLUE)), "two classes with the id 1"),
        ((LabelClass(1, "a", RED), LabelClass(2, "a", BLUE)), "two classes with the name 'a'"),
        ((LabelClass(1, "a", RED), LabelClass(2, "A", BLUE)), "two classes with the name 'a'"),
        ((LabelClass(1, "a", RED, "q"), LabelClass(2, "b", BLUE, "q")), "two classes with the key 'q'"),
    ],
)
def test_ambiguous_schemas_are_refused(classes: tuple[LabelClass, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        LabelSchema("s", "S", classes)


def test_classes_without_keys_do_not_collide() -> None:
    assert LabelSchema("s", "S", (LabelClass(1, "a", RED), LabelClass(2, "b", BLUE))).ids == (1, 2)


@pytest.mark.parametrize("class_id", [-1, IGNORE, 256])
def test_class_ids_leave_room_for_ignore(class_id: int) -> None:
    with pytest.raises(InputError, match="from 0 to 254"):
        LabelClass(class_id, "a", RED)


@pytest.mark.parametrize("color", ["red", "#fff", "#gggggg", "ff0000", "#ff00000", ""])
def test_colours_are_six_digits(color: str) -> None:
    with pytest.raises(InputError, match="write it as #rrggbb"):
        LabelClass(1, "a", color)


def test_lookup_by_id_and_name() -> None:
    assert EPITHELIUM.by_id(2).name == "epithelium" == EPITHELIUM.by_name("Epithelium").name
    assert 2 in EPITHELIUM and 7 not in EPITHELIUM
    assert EPITHELIUM.by_id(2).rgb == (0, 0x72, 0xB2)
    with pytest.raises(InputError, match="Label value 7 is no class of schema 'epithelium'"):
        EPITHELIUM.by_id(7)
    with pytest.raises(InputError, match="did you mean 'epithelium'"):
        EPITHELIUM.by_name("epitelium")


def test_crosswalk_matches_by_name_and_ignores_the_rest() -> None:
    foreign = (LabelClass(9, "Epithelium", RED), LabelClass(4, "other tissue", BLUE), LabelClass(5, "muscle", BLUE))
    table = EPITHELIUM.crosswalk(foreign)
    assert table.shape == (256,) and table.dtype == np.uint8
    assert (table[9], table[4], table[5], table[IGNORE]) == (2, 1, IGNORE, IGNORE)
    assert (np.delete(table, [9, 4]) == IGNORE).all()
    np.testing.assert_array_equal(EPITHELIUM.crosswalk(EPITHELIUM.classes)[[0, 1, 2]], [0, 1, 2])


def test_check_names_the_first_unknown_value() -> None:
    EPITHELIUM.check(np.array([[0, 1, 2, IGNORE]]), "The file")
    with pytest.raises(InputError, match=r"The file holds the label value 3.*0 background, 1 other tissue"):
        EPITHELIUM.check(np.array([[0, 9, 3]]), "The file")


def test_other_colours_keep_the_classes() -> None:
    recoloured = EPITHELIUM.with_colors({2: RED})
    assert recoloured.by_id(2).color == RED and recoloured.by_id(1) == EPITHELIUM.by_id(1)
    assert recoloured.ids == EPITHELIUM.ids


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"id": "s"},
        {"id": "s", "classes": 5},
        {"id": "s", "classes": [{"id": 1, "name": "a"}]},
        {"id": "s", "classes": [{"id": "one", "name": "a", "colour": RED}]},
        {"id": "s", "classes": [7]},
        {"id": "s", "classes": []},
        [],
        "text",
        None,
    ],
)
def test_damaged_schema_files_are_sentences(data) -> None:
    with pytest.raises(InputError, match=r"schema|class"):
        LabelSchema.from_json(data)
