"""The curve of a training, painted with Qt."""

from __future__ import annotations

import math
from typing import Any

import qt

from ..i18n import tr as _
from .paint import LESIONS, LOCATION, SCORE, Look, line, pen, text

HEIGHT = 170.0
_COLORS = (SCORE, LESIONS, LOCATION, "#2e9e5b", "#8c564b", "#e377c2", "#17a2b8", "#bcbd22")
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 6.0, 22.0
_LEGEND_ROW = 16.0
_DOTTED = 60


def curve_height(series: dict[str, dict[float, float]]) -> float:
    """Return the height that `paint_curve` takes, in pixels."""
    return HEIGHT + _LEGEND_ROW * len(series)


def paint_curve(
    painter: Any, series: dict[str, dict[float, float]], epochs: int | None, width: float, look: Look
) -> None:
    """Paint values by epoch, each series with its last value in the legend.

    Parameters
    ----------
    painter
        In pixels.
    series
        By name: values by epoch.
    epochs
        How many there will be, None where that is not known.
    width
        In pixels.
    look
        Colours and letters.
    """
    points = [(place, value) for values in series.values() for place, value in values.items()]
    if not points:
        return
    last = max(float(epochs or 1), *(place for place, _value in points))
    low, high = _range([value for _place, value in points])
    right, bottom = width - _RIGHT, HEIGHT - _BOTTOM
    _grid(painter, (low, high), last, width, look)
    for (name, values), color, row in zip(series.items(), _COLORS, range(len(series))):
        painter.setPen(pen(color, 2))
        painter.setBrush(qt.QBrush(qt.QColor(color)))
        before = None
        for place in sorted(values):
            x = _LEFT + (right - _LEFT) * place / last
            y = bottom - (bottom - _TOP) * (values[place] - low) / (high - low)
            if before is not None:
                line(painter, before[0], before[1], x, y)
            if len(values) <= _DOTTED:
                painter.drawEllipse(qt.QPointF(x, y), 1.5, 1.5)
            before = (x, y)
        top = HEIGHT + row * _LEGEND_ROW
        painter.fillRect(qt.QRectF(_LEFT, top + 6, 14, 4), qt.QColor(color))
        painter.setPen(qt.QColor(look.ink))
        painter.setFont(look.font(smaller=1))
        words = f"{name}: {values[max(values)]:.4g}"
        text(painter, _LEFT + 20, top, width - _LEFT - 20, _LEGEND_ROW, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, words)
    painter.setBrush(qt.QBrush(qt.Qt.NoBrush))


def _grid(painter: Any, span: tuple[float, float], last: float, width: float, look: Look) -> None:
    right, bottom = width - _RIGHT, HEIGHT - _BOTTOM
    painter.setFont(look.font(smaller=2))
    for share in (0.0, 0.5, 1.0):
        height = bottom - share * (bottom - _TOP)
        painter.setPen(pen(look.grid))
        line(painter, _LEFT, height, right, height)
        painter.setPen(qt.QColor(look.pale))
        words = f"{span[0] + share * (span[1] - span[0]):.3g}"
        text(painter, 0, height - 7, _LEFT - 5, 14, qt.Qt.AlignRight | qt.Qt.AlignVCenter, words)
    middle = qt.Qt.AlignVCenter
    text(painter, _LEFT, bottom + 4, 80, 16, qt.Qt.AlignLeft | middle, "0")
    text(painter, _LEFT, bottom + 4, right - _LEFT, 16, qt.Qt.AlignHCenter | middle, _("epoch"))
    text(painter, right - 80, bottom + 4, 80, 16, qt.Qt.AlignRight | middle, f"{last:g}")


def _range(values: list[float]) -> tuple[float, float]:
    """Return limits of the axis: from zero where that is near."""
    low, high = min(values), max(values)
    if 0 <= low < high / 2:
        low = 0.0
    if math.isclose(low, high):
        low, high = low - 0.5, high + 0.5
    return low, high
