"""The label schemas that come with the product."""

from __future__ import annotations

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import LabelClass, LabelSchema
from napari_histoseg.core.suggestion import suggestion

# Colours: Okabe & Ito (2008), "Color Universal Design", which the common colour vision deficiencies tell apart.
# Keys: letters that neither napari nor the correction tools use on labels layers; where classes outnumber them, the
# rarest go without.
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

BCSS22 = LabelSchema(
    "bcss22",
    "Breast tissue regions (BCSS, all published classes)",
    # Shades of the colour of the class's group in BCSS5; the many groups of "others" take the colours that are left.
    (
        LabelClass(1, "tumor", "#D55E00", "q"),
        LabelClass(2, "stroma", "#E69F00", "w"),
        LabelClass(3, "lymphocytic_infiltrate", "#009E73", "r"),
        LabelClass(4, "necrosis_or_debris", "#0072B2", "t"),
        LabelClass(5, "glandular_secretions", "#CC79A7", "y"),
        LabelClass(6, "blood", "#8C2D6B", "u"),
        LabelClass(7, "exclude", "#4D4D4D", "i"),
        LabelClass(8, "metaplasia_NOS", "#F5B8D8"),
        LabelClass(9, "fat", "#F0E442", "o"),
        LabelClass(10, "plasma_cells", "#006B4E", "s"),
        LabelClass(11, "other_immune_infiltrate", "#66D1B3", "g"),
        LabelClass(12, "mucoid_material", "#56B4E9", "h"),
        LabelClass(13, "normal_acinus_or_duct", "#B3A72A", "j"),
        LabelClass(14, "lymphatics", "#A6DBFF"),
        LabelClass(15, "undetermined", "#999999", "k"),
        LabelClass(16, "nerve", "#6A3D9A"),
        LabelClass(17, "skin_adnexa", "#CAB2D6"),
        LabelClass(18, "blood_vessel", "#9E0142", "c"),
        LabelClass(19, "angioinvasion", "#FF9F66"),
        LabelClass(20, "dcis", "#8F3F00", "n"),
        LabelClass(21, "other", "#DDDDDD"),
    ),
)

CANCER_STROMA = LabelSchema(
    "cancer-stroma",
    "Cancer, stroma, background",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "cancer", "#D55E00", "w"),
        LabelClass(2, "stroma", "#56B4E9", "r"),
    ),
)

COLON_TISSUE = LabelSchema(
    "colon-tissue",
    "Colon tissue: stroma, cancer, other epithelium, background",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "cancer", "#D55E00", "w"),
        LabelClass(2, "stroma", "#56B4E9", "r"),
        LabelClass(3, "other epithelium", "#009E73", "t"),
    ),
)

CELLULARITY = LabelSchema(
    "cellularity",
    "Cells for tumour cellularity: lymphocyte, normal, malignant",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "lymphocyte", "#009E73", "w"),
        LabelClass(2, "normal", "#56B4E9", "r"),
        LabelClass(3, "malignant", "#D55E00", "t"),
    ),
)

GLANDS = LabelSchema(
    "glands",
    "Glands and background",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "gland", "#0072B2", "w"),
    ),
)

PANNUKE = LabelSchema(
    "pannuke",
    "Nuclei by kind (PanNuke)",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "neoplastic", "#D55E00", "w"),
        LabelClass(2, "inflammatory", "#009E73", "r"),
        LabelClass(3, "connective/soft tissue", "#0072B2", "t"),
        LabelClass(4, "dead", "#F0E442", "y"),
        LabelClass(5, "epithelial (non-neoplastic)", "#56B4E9", "u"),
    ),
)

CRCHISTO = LabelSchema(
    "crchisto",
    "Colorectal nuclei by kind (CRCHistoPhenotypes)",
    (
        LabelClass(0, "background", "#999999", "q"),
        LabelClass(1, "epithelial", "#D55E00", "w"),
        LabelClass(2, "inflammatory", "#009E73", "r"),
        LabelClass(3, "fibroblast", "#0072B2", "t"),
        LabelClass(4, "others", "#56B4E9", "y"),
    ),
)

SCHEMAS = {
    s.id: s
    for s in (EPITHELIUM, BCSS5, BCSS22, CANCER_STROMA, COLON_TISSUE, CELLULARITY, GLANDS, NUCLEI, PANNUKE, CRCHISTO)
}


def get_schema(schema_id: str) -> LabelSchema:
    """The built-in schema of that id; ``InputError`` names the nearest when there is none."""
    if schema_id in SCHEMAS:
        return SCHEMAS[schema_id]
    raise InputError(f"There is no label schema '{schema_id}'; {suggestion(schema_id, SCHEMAS)}")
