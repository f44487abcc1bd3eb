"""The label schemas that come with the product."""

from __future__ import annotations

import difflib

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import LabelClass, LabelSchema

# Okabe & Ito (2008), "Color Universal Design": distinguishable with the common colour vision deficiencies.
EPITHELIUM = LabelSchema(
    "epithelium",
    "Epithelium or gland, other tissue, background",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "other tissue", "#E69F00", "w"),
        LabelClass(2, "epithelium", "#0072B2", "r"),
    ),
)

BCSS5 = LabelSchema(
    "bcss5",
    "Breast tissue regions (BCSS, five groups)",
    (
        LabelClass(1, "tumor", "#D55E00", "q"),
        LabelClass(2, "stroma", "#E69F00", "w"),
        LabelClass(3, "inflammatory", "#009E73", "r"),
        LabelClass(4, "necrosis", "#0072B2", "t"),
        LabelClass(5, "others", "#CC79A7", "y"),
    ),
)

NUCLEI = LabelSchema(
    "nuclei",
    "Nuclei and background",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "nucleus", "#0072B2", "w"),
    ),
)

SCHEMAS = {s.id: s for s in (EPITHELIUM, BCSS5, NUCLEI)}


def get_schema(schema_id: str) -> LabelSchema:
    """The built-in schema of that id; ``InputError`` names the nearest when there is none."""
    if schema_id in SCHEMAS:
        return SCHEMAS[schema_id]
    near = difflib.get_close_matches(schema_id, SCHEMAS, 1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; choose from {', '.join(SCHEMAS)}."
    raise InputError(f"There is no label schema '{schema_id}'{hint}")
