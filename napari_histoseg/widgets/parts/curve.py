"""A light plot of the training loss."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_SMOOTH = 0.9
_MARGIN_PX = 4


class LossCurve(QWidget):
    """Loss by step: each value as a faint line, their running mean as a strong one."""

    def __init__(self) -> None:
        super().__init__()
        self._points: list[tuple[int, float]] = []
        self._total = 0
        self.setMinimumHeight(110)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Training loss by step: lower means closer to your corrections")

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(200, 110)

    def clear(self) -> None:
        """Start an empty curve."""
        self._points.clear()
        self._total = 0
        self.update()

    def set_total(self, steps: int) -> None:
        """Length of the horizontal axis; 0 is ignored."""
        self._total = steps or self._total

    def add(self, step: int, loss: float) -> None:
        """Append one value."""
        self._points.append((step, loss))
        self.update()

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        return tuple(self._points)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        metrics = self.fontMetrics()
        top = max((loss for _, loss in self._points), default=1.0) or 1.0
        left = metrics.horizontalAdvance("0.00") + 2 * _MARGIN_PX
        area = QRectF(
            left,
            metrics.height() / 2 + _MARGIN_PX,
            self.width() - left - 2 * _MARGIN_PX,
            self.height() - 2 * metrics.height() - 2 * _MARGIN_PX,
        )
        self._draw_axes(painter, area, top, text)
        if self._points:
            last = max(self._total, self._points[-1][0], 1)
            values = [loss for _, loss in self._points]
            faint, strong = QColor(text), QColor("#56B4E9")
            faint.setAlpha(70)
            for series, pen in ((values, QPen(faint, 1)), (_running_mean(values), QPen(strong, 2))):
                painter.setPen(pen)
                painter.drawPolyline(
                    QPolygonF(
                        [
                            QPointF(area.left() + area.width() * step / last, area.bottom() - area.height() * y / top)
                            for (step, _), y in zip(self._points, series, strict=True)
                        ]
                    )
                )
        painter.end()

    def _draw_axes(self, painter: QPainter, area: QRectF, top: float, text: QColor) -> None:
        quiet = QColor(text)
        quiet.setAlpha(110)
        painter.setPen(QPen(quiet, 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.bottomLeft(), area.topLeft())
        painter.setPen(text)
        height = self.fontMetrics().height()
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value, y in ((top, area.top()), (0.0, area.bottom())):
            painter.drawText(
                QRectF(0, y - height / 2, area.left() - _MARGIN_PX, height),
                int(right),
                f"{value:.2f}" if value else "0",
            )
        painter.drawText(
            QRectF(area.left(), area.bottom() + 1, area.width(), height), int(Qt.AlignmentFlag.AlignCenter), "step"
        )
        if self._total:
            painter.drawText(QRectF(area.left(), area.bottom() + 1, area.width(), height), int(right), str(self._total))


def _running_mean(values: list[float]) -> list[float]:
    mean, out = values[0], []
    for value in values:
        mean = _SMOOTH * mean + (1 - _SMOOTH) * value
        out.append(mean)
    return out
