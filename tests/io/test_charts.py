"""Charts: what is drawn lies where the numbers say."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from napari_histoseg.io.charts import box_chart, confusion_chart, scatter_chart


def nodes(svg: str, kind: str) -> list[ET.Element]:
    return [node for node in ET.fromstring(svg).iter() if node.tag.endswith(kind)]


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in nodes(svg, "text")]


def test_boxes_lie_at_the_quartiles_of_the_known_numbers() -> None:
    values = [0.1, 0.2, 0.4, 0.5, 0.9, math.nan]
    svg = box_chart({"a & <b>": values, "none": [math.nan]}, title="Dice")
    assert {"Dice", "a & <b> (n = 5)", "none (n = 0)"} <= set(texts(svg))
    axis = {text: float(node.get("x", "nan")) for node in nodes(svg, "text") for text in [node.text]}
    (frame,) = [node for node in nodes(svg, "rect") if node.get("fill") == "none"]

    def number(x: float) -> float:
        return (x - axis["0"]) / (axis["1"] - axis["0"])

    left, width = float(frame.get("x", "nan")), float(frame.get("width", "nan"))
    assert (number(left), number(left + width)) == pytest.approx(tuple(np.quantile(values[:5], (0.25, 0.75))), abs=1e-3)
    assert [number(float(dot.get("cx", "nan"))) for dot in nodes(svg, "circle")] == pytest.approx(values[:5], abs=1e-3)


def test_an_axis_can_end_at_the_largest_number() -> None:
    svg = box_chart({"px": [10.0, 50.0]}, title="Distance", high=None)
    assert "50" in texts(svg) and len(nodes(svg, "circle")) == 2


def test_cells_of_a_confusion_matrix_are_shares_of_their_row() -> None:
    svg = confusion_chart(np.array([[3, 1], [0, 0]]), ["tumor", "stroma"], title="Pixels")
    assert {"75.0%", "25.0%", "tumor (4 px)", "stroma (0 px)"} <= set(texts(svg))
    assert sum(text.endswith("%") for text in texts(svg)) == 2


def test_points_of_a_scatter_chart_and_its_diagonal() -> None:
    svg = scatter_chart([0.0, 1.0], [0.0, 1.0], title="Scores")
    first, last = ((float(d.get("cx", "nan")), float(d.get("cy", "nan"))) for d in nodes(svg, "circle"))
    diagonal = nodes(svg, "line")[0]
    ends = [tuple(float(diagonal.get(f"{axis}{k}", "nan")) for axis in "xy") for k in (1, 2)]
    assert [first, last] == ends
