"""What panel and report are painted with: colours, letters, score bars, probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import qt

from .card import Bar, percent
from .i18n import tr as _

# Told apart by any colour vision, and on light and dark.
SCORE, LESIONS, LOCATION = "#2a86c8", "#d55e00", "#9467bd"
BAR_ROW, SCALE_HEIGHT = 20.0, 42.0


@dataclass(frozen=True)
class Look:
    """Colours of lines and letters as ``#rrggbb``, and the height of letters in pixels."""

    ink: str = "#1b1b1b"
    pale: str = "#6b6b6b"
    grid: str = "#d4d4d4"
    letters: int = 12

    def font(self, bold: bool = False, smaller: int = 0) -> Any:
        """Return the font."""
        font = qt.QFont()
        font.setPixelSize(self.letters - smaller)
        font.setBold(bold)
        return font


def pen(color: str, width: float = 1.0) -> Any:
    """Return a pen for lines."""
    made = qt.QPen(qt.QColor(color))
    made.setWidthF(width)
    return made


def text(painter: Any, x: float, y: float, width: float, height: float, flags: int, words: str) -> None:
    """Write words into a box."""
    painter.drawText(qt.QRectF(x, y, width, height), int(flags), words)


def line(painter: Any, x1: float, y1: float, x2: float, y2: float) -> None:
    """Draw a line with the pen."""
    painter.drawLine(qt.QPointF(x1, y1), qt.QPointF(x2, y2))


def paint_bars(painter: Any, bars: Sequence[Bar], x: float, y: float, width: float, look: Look) -> None:
    """Paint scores as bars from 0 to 1; takes `BAR_ROW` pixels for each."""
    names = min(0.38 * width, 130.0)
    for place, bar in enumerate(bars):
        top = y + place * BAR_ROW
        painter.setPen(qt.QColor(look.ink))
        painter.setFont(look.font(bold=bar.highest))
        text(painter, x, top, names - 6, BAR_ROW, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, bar.name)
        span = width - names - 44
        frame = qt.QRectF(x + names, top + 4, span, BAR_ROW - 8)
        painter.fillRect(frame, qt.QColor(look.grid))
        filled = qt.QColor(SCORE if bar.highest else look.pale)
        painter.fillRect(qt.QRectF(x + names, top + 4, span * bar.score, BAR_ROW - 8), filled)
        text(painter, x + width - 40, top, 40, BAR_ROW, qt.Qt.AlignRight | qt.Qt.AlignVCenter, f"{bar.score:.2f}")


def paint_probability(
    painter: Any, probability: float, threshold: float, place: tuple[float, float, float], look: Look
) -> None:
    """Paint a probability on a scale from 0 to 100 % with its threshold; takes `SCALE_HEIGHT` pixels."""
    x, y, width = place
    painter.fillRect(qt.QRectF(x, y + 4, width, 14), qt.QColor(look.grid))
    painter.fillRect(qt.QRectF(x, y + 4, width * probability, 14), qt.QColor(SCORE))
    limit = x + width * threshold
    painter.setPen(pen(look.ink, 2.0))
    line(painter, limit, y, limit, y + 23)
    painter.setFont(look.font(smaller=1))
    painter.setPen(qt.QColor(look.pale))
    text(painter, x, y + 22, 40, 16, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, "0 %")
    text(painter, x + width - 50, y + 22, 50, 16, qt.Qt.AlignRight | qt.Qt.AlignVCenter, "100 %")
    painter.setPen(qt.QColor(look.ink))
    words = _("operating point {percent}").format(percent=percent(threshold))
    box = qt.QRectF(min(max(limit - 75, x + 34), x + width - 194), y + 22, 150, 16)
    painter.drawText(box, int(qt.Qt.AlignCenter), words)
