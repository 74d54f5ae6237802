"""The evidence chart, painted with Qt for the panel and the report: score and shares over the slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import qt

from .card import finding_name
from .i18n import tr as _
from .painting import LESIONS, LOCATION, SCORE, Look, line, pen, text
from .result import Result

LEFT, RIGHT, TITLE, GAP, AXIS = 38.0, 10.0, 22.0, 10.0, 36.0
_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LARGEST_DOTTED = 80


@dataclass(frozen=True)
class Series:
    """Values by slice in [0, `top`]; None where a slice has none."""

    title: str
    color: str
    values: dict[int, float | None]
    top: float
    in_percent: bool


class EvidenceChart:
    """Score, lesion share and location share over the slices, feet at the left and head at the right.

    Parameters
    ----------
    result
        The result.
    strip
        Height of one curve in pixels.
    """

    def __init__(self, result: Result, strip: float = 54.0) -> None:
        self.strip = strip
        self.count = result.study.slice_count
        self.used = sorted(evidence.index for evidence in result.slices)
        self.series = _series(result)
        self.peaks_of, self.peaks = _evidence_peaks(self.series)

    @property
    def height(self) -> float:
        """Height in pixels."""
        return max(1, len(self.series)) * (TITLE + self.strip + GAP) + AXIS

    def center(self, index: int, x: float, width: float) -> float:
        """Return where a slice is in a chart that begins at x."""
        return x + LEFT + (index + 0.5) * (width - LEFT - RIGHT) / self.count

    def slice_at(self, place: float, x: float, width: float) -> int | None:
        """Return the slice at a place; None beside the plot."""
        index = int((place - x - LEFT) // ((width - LEFT - RIGHT) / self.count))
        return index if 0 <= index < self.count else None

    def paint(self, painter: Any, x: float, y: float, width: float, look: Look, current: int | None = None) -> None:
        """Paint it.

        Parameters
        ----------
        painter
            In pixels.
        x, y, width
            Place.
        look
            Colours and letters.
        current
            Slice to mark, None for none.
        """
        top = y
        for series in self.series:
            self._strip(painter, series, (x, top, width), look)
            top += TITLE + self.strip + GAP
        if not self.series:
            painter.setPen(qt.QColor(look.pale))
            painter.setFont(look.font())
            text(painter, x, y, width, TITLE + self.strip, qt.Qt.AlignCenter, _("No slice has evidence."))
            top += TITLE + self.strip + GAP
        self._axis(painter, x, top - GAP, width, look)
        if current is not None:
            self._mark(painter, current, (x, y, width, top - GAP), look)

    def _strip(self, painter: Any, series: Series, place: tuple[float, float, float], look: Look) -> None:
        x, y, width = place
        left, right, top, bottom = x + LEFT, x + width - RIGHT, y + TITLE, y + TITLE + self.strip
        painter.setFont(look.font(bold=True, smaller=1))
        painter.setPen(qt.QColor(series.color))
        text(painter, x, y, width, TITLE - 6, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, series.title)
        if series is self.peaks_of:
            painter.setPen(qt.QColor(look.pale))
            painter.setFont(look.font(smaller=1))
            text(painter, x, y, width - RIGHT, TITLE - 6, qt.Qt.AlignRight | qt.Qt.AlignVCenter, _("▼ peaks"))
        if self.used:
            for begin, end in ((0, self.used[0]), (self.used[-1] + 1, self.count)):
                cells = [x + LEFT + each * (right - left) / self.count for each in (begin, end)]
                unused = qt.QColor(look.grid)
                unused.setAlpha(110)
                painter.fillRect(qt.QRectF(cells[0], top, cells[1] - cells[0], self.strip), unused)
        painter.setFont(look.font(smaller=2))
        for share in (0.0, 0.5, 1.0):
            height = bottom - share * self.strip
            painter.setPen(pen(look.grid))
            line(painter, left, height, right, height)
            painter.setPen(qt.QColor(look.pale))
            value = share * series.top
            words = _tick(100 * value) + " %" if series.in_percent else f"{value:.1f}"
            text(painter, x, height - 7, LEFT - 4, 14, qt.Qt.AlignRight | qt.Qt.AlignVCenter, words)
        self._curve(painter, series, x, width, bottom)
        if series is self.peaks_of:
            self._peaks(painter, x, top, width, look)

    def _peaks(self, painter: Any, x: float, top: float, width: float, look: Look) -> None:
        painter.setBrush(qt.QBrush(qt.QColor(look.ink)))
        painter.setPen(qt.QPen(qt.Qt.NoPen))
        for index in self.peaks:
            middle = self.center(index, x, width)
            mark = qt.QPainterPath()
            mark.moveTo(middle - 4, top - 6)
            mark.lineTo(middle + 4, top - 6)
            mark.lineTo(middle, top)
            mark.closeSubpath()
            painter.drawPath(mark)
        painter.setBrush(qt.QBrush(qt.Qt.NoBrush))

    def _curve(self, painter: Any, series: Series, x: float, width: float, bottom: float) -> None:
        """Draw the values; where a slice has none, the line is broken."""
        before: Any = None
        before_index = -2
        painter.setPen(pen(series.color, 2.0))
        for index in self.used:
            value = series.values.get(index)
            if value is None:
                continue
            point = qt.QPointF(self.center(index, x, width), bottom - self.strip * min(value / series.top, 1.0))
            if before is not None and before_index == index - 1:
                painter.drawLine(before, point)
            if self.count <= _LARGEST_DOTTED or before_index != index - 1:
                painter.setBrush(qt.QBrush(qt.QColor(series.color)))
                painter.drawEllipse(point, 1.4, 1.4)
                painter.setBrush(qt.QBrush(qt.Qt.NoBrush))
            before, before_index = point, index

    def _axis(self, painter: Any, x: float, y: float, width: float, look: Look) -> None:
        painter.setFont(look.font(smaller=2))
        painter.setPen(pen(look.pale))
        step = next(each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if self.count / each <= 10)
        for number in sorted({1, *range(step, self.count + 1, step)}):
            place = self.center(number - 1, x, width)
            line(painter, place, y, place, y + 3)
            text(painter, place - 20, y + 3, 40, 13, qt.Qt.AlignCenter, str(number))
        painter.setPen(qt.QColor(look.ink))
        painter.setFont(look.font(smaller=1))
        left, inside = x + LEFT, width - LEFT - RIGHT
        text(painter, left, y + 18, inside, 16, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, _("◀ feet"))
        text(painter, left, y + 18, inside, 16, qt.Qt.AlignRight | qt.Qt.AlignVCenter, _("head ▶"))
        painter.setPen(qt.QColor(look.pale))
        text(painter, left, y + 18, inside, 16, qt.Qt.AlignCenter, _("slice, counted from the feet"))

    def _mark(self, painter: Any, current: int, place: tuple[float, float, float, float], look: Look) -> None:
        """Draw the line of the slice that the views show, with its number on the axis."""
        x, y, width, bottom = place
        middle = self.center(current, x, width)
        painter.setPen(pen(look.ink, 1.5))
        line(painter, middle, y + TITLE, middle, bottom + 3)
        painter.setBrush(qt.QBrush(qt.QColor(look.ink)))
        box = qt.QRectF(min(max(middle - 14, x), x + width - 28), bottom + 2, 28, 15)
        painter.drawRoundedRect(box, 3, 3)
        painter.setPen(qt.QColor("#ffffff" if qt.QColor(look.ink).lightness() < 128 else "#000000"))
        painter.setFont(look.font(bold=True, smaller=1))
        painter.drawText(box, int(qt.Qt.AlignCenter), str(current + 1))
        painter.setBrush(qt.QBrush(qt.Qt.NoBrush))


def peaks(values: dict[int, float | None]) -> list[int]:
    """Return the slices at which evidence is highest among its neighbours, and at least half as high as anywhere.

    Parameters
    ----------
    values
        By slice.

    Returns
    -------
    Foot to head; the middle of a run of equal values. Empty if all values are the same.
    """
    known = sorted((index, value) for index, value in values.items() if value is not None)
    if not known:
        return []
    lowest, highest = min(value for _index, value in known), max(value for _index, value in known)
    if highest - lowest < 1e-6:
        return []
    found, begin = [], 0
    while begin < len(known):
        end = begin
        while end + 1 < len(known) and known[end + 1] == (known[end][0] + 1, known[begin][1]):
            end += 1
        value = known[begin][1]
        sides = [known[place][1] for place in (begin - 1, end + 1) if 0 <= place < len(known)]
        if all(side < value for side in sides) and value - lowest >= (highest - lowest) / 2:
            found.append(known[(begin + end) // 2][0])
        begin = end + 1
    return found


def _evidence_peaks(series: list[Series]) -> tuple[Series | None, list[int]]:
    """Return the peaks of the score, or where it is the same everywhere, of the location map or the lesions."""
    for color in (SCORE, LOCATION, LESIONS):
        for each in series:
            found = peaks(each.values) if each.color == color else []
            if found:
                return each, found
    return None, []


def _series(result: Result) -> list[Series]:
    """Return what there is to show."""
    found = []
    scores = {evidence.index: evidence.score for evidence in result.slices}
    if any(value is not None for value in scores.values()):
        title = _("Score for {name} (not a probability)").format(name=finding_name(result))
        found.append(Series(title, SCORE, scores, 1.0, False))
    lesions = {evidence.index: evidence.lesion_share for evidence in result.slices}
    if any(value is not None for value in lesions.values()):
        found.append(Series(_("Lesions, share of the slice's lung"), LESIONS, lesions, _top(lesions), True))
    location = {evidence.index: evidence.location_share for evidence in result.slices}
    if any(location.values()):
        found.append(Series(_("Location map, share that lies in the slice"), LOCATION, location, _top(location), True))
    return found


def _top(values: dict[int, float | None]) -> float:
    highest = max((value for value in values.values() if value is not None), default=0.0)
    return next((top for top in _TOPS if highest <= top), 1.0)


def _tick(value: float) -> str:
    return f"{value:.1f}" if value % 1 else f"{value:.0f}"
