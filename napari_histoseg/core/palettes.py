"""Sets of class colours: one that colour-blind people can tell apart, and those of the published systems."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

from napari_histoseg.core.errors import InputError
from napari_histoseg.core.schema import LabelSchema
from napari_histoseg.core.schemas import BCSS22
from napari_histoseg.core.suggestion import suggestion

_SAME_TISSUE = (
    {"background", "outside"},
    {"epithelium", "gland", "tumor", "tumour", "cancer", "malignant", "neoplastic", "epithelial"},
    {"stroma", "other tissue", "connective", "connective/soft tissue"},
    {"inflammatory", "lymphocyte", "lymphocytes", "immune", "lymphocytic_infiltrate"},
    {"necrosis", "necrotic", "dead", "necrosis_or_debris"},
    {"normal", "epithelial (non-neoplastic)"},
    {"other", "others"},
)


@dataclass(frozen=True)
class Palette:
    """Colours by class name; ``source`` says whose they are.

    An empty ``colors`` stands for the colours of the schema itself.
    """

    id: str
    title: str
    source: str
    colors: Mapping[str, str]

    def apply(self, schema: LabelSchema) -> LabelSchema:
        """``schema`` in these colours; a class whose tissue the palette does not know keeps its own."""
        found = {c.id: color for c in schema.classes if (color := self._color_of(c.name)) is not None}
        return schema.with_colors(found)

    def _color_of(self, name: str) -> str | None:
        wanted = {name.casefold()}
        for names in _SAME_TISSUE:
            if name.casefold() in names:
                wanted |= names
        exact = self.colors.get(name.casefold())
        return exact or next((color for own, color in self.colors.items() if own in wanted), None)


def _hues(names: tuple[str, ...]) -> dict[str, str]:
    """Saturated colours of value 0.7, evenly around the circle of hues, cut to whole numbers."""
    colors = [colorsys.hsv_to_rgb(i / len(names), 1.0, 0.7) for i in range(len(names))]
    return {n.casefold(): "#" + "".join(f"{int(255 * v):02X}" for v in c) for n, c in zip(names, colors, strict=True)}


PALETTES = (
    Palette("universal", "Colour-blind safe", "Okabe & Ito 2008", {}),
    Palette(
        "bcss",
        "Breast tissue regions",
        "SPADESegResNet paper",
        {
            "tumor": "#B2B200",
            "stroma": "#00B200",
            "inflammatory": "#00B2B2",
            "necrosis": "#0000B2",
            "others": "#B200B2",
            "background": "#B20000",
        },
    ),
    Palette(
        "bcss22",
        "Breast tissue, all classes",
        "SPADESegResNet paper",
        _hues(("background", *(c.name for c in BCSS22.classes))),
    ),
    Palette(
        "cancer-stroma",
        "Cancer and stroma",
        "VGG16 transfer FCN paper",
        {"background": "#000000", "cancer": "#FF0000", "stroma": "#00FF00"},
    ),
    Palette(
        "cellularity",
        "Cells by kind",
        "cellularity regression paper",
        {"background": "#000000", "lymphocyte": "#00FF00", "normal": "#0000FF", "malignant": "#FF0000"},
    ),
    Palette("glands", "Glands", "Micro-Net paper", {"background": "#000000", "gland": "#FFFFFF"}),
    Palette(
        "nuclei",
        "Nuclei by kind",
        "U-Net# paper (PanNuke)",
        {
            "neoplastic": "#FF0000",
            "inflammatory": "#00FF00",
            "connective/soft tissue": "#0000FF",
            "dead": "#FFFF00",
            "epithelial (non-neoplastic)": "#FF8000",
            "background": "#000000",
        },
    ),
)


def get_palette(palette_id: str) -> Palette:
    """The palette of that id; ``InputError`` names the nearest when there is none."""
    for palette in PALETTES:
        if palette.id == palette_id:
            return palette
    ids = [palette.id for palette in PALETTES]
    raise InputError(f"There is no palette '{palette_id}'; {suggestion(palette_id, ids)}")
