"""Charts of test numbers as SVG text, which browsers, word processors and drawing programs open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_INK, _PALE, _DOT = "#222222", "#BBBBBB", "#0072B2"
_FONT = 'font-family="sans-serif" font-size="13"'
_LABEL_PX, _PLOT_PX, _ROW_PX, _TOP_PX, _BOTTOM_PX, _RIGHT_PX = 230, 420, 34, 44, 40, 24


def box_chart(values: Mapping[str, Sequence[float]], *, title: str, high: float | None = 1.0) -> str:
    """Boxes of quartiles with median, whiskers of 1.5 interquartile ranges, and every image as a dot.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Numbers of each row, not negative; NaN is left out.
    title : str
    high : float or None
        Right end of the axis, which begins at 0; None ends it at the largest number.
    """
    rows = {name: _known(numbers) for name, numbers in values.items()}
    end = high if high is not None else max((float(row.max()) for row in rows.values() if len(row)), default=1.0) or 1.0
    height = _TOP_PX + _ROW_PX * len(rows)
    parts = [_text(_LABEL_PX, 22, title, bold=True)]
    for k in range(6):
        x = _LABEL_PX + k / 5 * _PLOT_PX
        parts.append(_line(x, _TOP_PX, x, height, _PALE))
        parts.append(_text(x, height + 18, f"{k / 5 * end:.3g}", anchor="middle"))
    for k, (name, row) in enumerate(rows.items()):
        y = _TOP_PX + _ROW_PX * (k + 0.5)
        parts.append(_text(_LABEL_PX - 8, y + 4, f"{name} (n = {len(row)})", anchor="end"))
        if len(row):
            parts += _box(np.clip(row / end, 0, 1), y)
    return _svg(_LABEL_PX + _PLOT_PX + _RIGHT_PX, height + _BOTTOM_PX, parts)


def _box(shares: NDArray[np.float64], y: float) -> list[str]:
    """Dots, box and whiskers at height ``y`` of numbers given as shares of the axis."""
    low, middle, high = np.quantile(shares, (0.25, 0.5, 0.75))
    reach = 1.5 * (high - low)
    inside = shares[(shares >= low - reach) & (shares <= high + reach)]

    def x(share: float) -> float:
        return _LABEL_PX + float(share) * _PLOT_PX

    dots = [_dot(x(share), y + 7 * ((0.618 * k) % 1 - 0.5)) for k, share in enumerate(shares)]
    frame = (
        f'<rect x="{x(low):.1f}" y="{y - 9:.1f}" width="{max(1.0, x(high) - x(low)):.1f}" height="18" fill="none" '
        f'stroke="{_INK}"/>'
    )
    whiskers = [_line(x(inside.min()), y, x(low), y), _line(x(high), y, x(inside.max()), y)]
    return [*dots, frame, _line(x(middle), y - 9, x(middle), y + 9, width=2.5), *whiskers]


def confusion_chart(matrix: NDArray[np.integer], names: Sequence[str], *, title: str) -> str:
    """A confusion matrix as shares of each row of truth, darker where larger; rows without pixels stay empty."""
    side, left, top = 92, _LABEL_PX, 74
    totals = matrix.sum(axis=1)
    parts = [_text(left, 22, title, bold=True), _text(left, 42, "predicted; rows are the truth")]
    for i, name in enumerate(names):
        parts.append(_text(left - 8, top + (i + 0.5) * side + 4, f"{name} ({totals[i]} px)", anchor="end"))
        parts.append(_text(left + (i + 0.5) * side, top - 10, name[:12], anchor="middle"))
        for j in range(len(names)):
            share = matrix[i, j] / totals[i] if totals[i] else 0.0
            shade = f'fill="{_DOT}" fill-opacity="{0.65 * share:.3f}" stroke="{_PALE}"'
            x, y = left + j * side, top + i * side
            parts.append(f'<rect x="{x}" y="{y}" width="{side}" height="{side}" {shade}/>')
            if totals[i]:
                parts.append(_text(x + side / 2, y + side / 2 + 4, f"{share:.1%}", anchor="middle"))
    return _svg(left + side * len(names) + _RIGHT_PX, top + side * len(names) + _RIGHT_PX, parts)


def scatter_chart(truth: Sequence[float], prediction: Sequence[float], *, title: str) -> str:
    """Predicted against true numbers with the diagonal, both axes from 0 to 1 or to the largest number."""
    x, y = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    end = max(1.0, float(max(x.max(initial=0), y.max(initial=0))))
    left, top, side = 70, _TOP_PX, _PLOT_PX
    bottom = top + side
    parts = [_text(left, 22, title, bold=True), _line(left, bottom, left + side, top, _PALE)]
    for k in range(6):
        share = k / 5
        parts.append(_text(left + share * side, bottom + 18, f"{share * end:.3g}", anchor="middle"))
        parts.append(_text(left - 8, bottom - share * side + 4, f"{share * end:.3g}", anchor="end"))
    parts += [_line(left, bottom, left + side, bottom), _line(left, top, left, bottom)]
    parts.append(_text(left + side / 2, bottom + 36, "truth", anchor="middle"))
    parts.append(_text(left + 8, top + 12, "prediction"))
    parts += [_dot(left + a / end * side, bottom - b / end * side) for a, b in zip(x, y, strict=True)]
    return _svg(left + side + _RIGHT_PX, bottom + 48, parts)


def _known(numbers: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(numbers, np.float64)
    return values[np.isfinite(values)]


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" {_FONT}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}"{weight}>{escape(text)}</text>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str = _INK, *, width: float = 1.0) -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{_DOT}" fill-opacity="0.55"/>'
