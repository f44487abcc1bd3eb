"""Figures of a report, drawn without a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from napari_histoseg.core.errors import ResourceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100
_SIDE_PX, _GAP_PX, _LINE_PX = 320, 8, 20


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Loss in training and validation by step, and below it the other numbers of the validation in 0..1."""
    figure = new_figure(7, 5)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, names in ((upper, ("loss", "val_loss")), (lower, _shares(rows))):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " "))
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend(fontsize=7, ncols=2)
    upper.set_ylabel("loss")
    upper.set_title(title)
    lower.set_xlabel("step")
    save(figure, path)


def _shares(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = {name for row in rows for name in row}
    return sorted(n for n in names if n.startswith(("dice", "mean_", "accuracy", "l1")))


def draw_boxes(values: Mapping[str, NDArray[np.float64]], path: Path, *, title: str, label: str) -> None:
    """One box for each name: median, quartiles, the farthest within 1.5 times their distance, single points beyond."""
    figure = new_figure(max(4.0, 0.9 * len(values) + 2), 4)
    axes = figure.subplots()
    known = [v[np.isfinite(v)] for v in values.values()]
    axes.boxplot(known, tick_labels=[f"{n}\n(n {len(v)})" for n, v in zip(values, known, strict=True)], widths=0.6)
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
    axes.set_ylabel(label)
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    save(figure, path)


def draw_matrix(matrix: NDArray[np.int64], classes: Sequence[str], path: Path, *, title: str) -> None:
    """A confusion matrix: share of each true class (rows) that is predicted as each class, with the pixels below."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    figure = new_figure(1.3 * len(classes) + 2.2, 1.1 * len(classes) + 1.6)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        color = "white" if value > 0.6 else "black"
        text = f"{value:.3f}\n{matrix[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    save(figure, path)


def draw_bars(shares: Mapping[str, Mapping[str, float]], path: Path, *, title: str) -> None:
    """Shares of pixels by class, one panel for each way of grouping, each bar with its percentage."""
    figure = new_figure(7, 1.2 + 0.28 * sum(len(s) for s in shares.values()))
    panels = figure.subplots(len(shares), 1, squeeze=False, height_ratios=[max(2, len(s)) for s in shares.values()])
    for axes, (name, of_class) in zip(panels[:, 0], shares.items(), strict=True):
        bars = axes.barh(list(of_class), [100 * value for value in of_class.values()], color="#0072B2")
        axes.bar_label(bars, fmt="%.1f %%", fontsize=7, padding=2)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_ylabel(name, fontsize=8)
        axes.tick_params(labelsize=8)
    panels[0, 0].set_title(title)
    panels[-1, 0].set_xlabel("% of pixels")
    save(figure, path)


def draw_scores(truth: NDArray[np.float64], found: NDArray[np.float64], path: Path, *, title: str) -> None:
    """Predicted against true scores, with the line of equals."""
    figure = new_figure(4.5, 4.5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(truth, found, s=12, alpha=0.6)
    axes.set(xlabel="true score", ylabel="predicted score", xlim=(0, 1), ylim=(0, 1), title=title)
    save(figure, path)


def draw_sheet(
    panels: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], columns: Sequence[str], path: Path, *, title: str
) -> None:
    """Rows of pictures (H, W, 3) side by side, each row under a line of text, the first under the names of columns."""
    font = ImageFont.load_default(size=13)
    pictures = [[_fitted(image) for image in images] for _, images in panels]
    height = 2 * _LINE_PX + sum(_LINE_PX + row[0].height + _GAP_PX for row in pictures)
    sheet = Image.new("RGB", (len(columns) * (_SIDE_PX + _GAP_PX) + _GAP_PX, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, 2), title, "black", font)
    for k, name in enumerate(columns):
        draw.text((_GAP_PX + k * (_SIDE_PX + _GAP_PX), _LINE_PX), name, "black", font)
    y = 2 * _LINE_PX
    for (text, _), row in zip(panels, pictures, strict=True):
        draw.text((_GAP_PX, y), text, "black", font)
        for k, picture in enumerate(row):
            sheet.paste(picture, (_GAP_PX + k * (_SIDE_PX + _GAP_PX), y + _LINE_PX))
        y += _LINE_PX + row[0].height + _GAP_PX
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _fitted(image: NDArray[np.uint8]) -> Image.Image:
    height = max(1, round(image.shape[0] * _SIDE_PX / image.shape[1]))
    return Image.fromarray(image).resize((_SIDE_PX, height), Image.Resampling.BILINEAR)


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that needs no window.

    Raises
    ------
    ResourceError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ResourceError("Reports need matplotlib; install it with `pip install napari-histoseg[train]`.") from None
    return Figure(figsize=(width_in, height_in), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
