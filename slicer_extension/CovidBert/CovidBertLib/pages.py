"""A4 pages that fill from top to bottom: titles, sentences, tables, pictures. Each says "research use only"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from .card import ATTENTION, ERROR, GOOD, Card, Notice
from .i18n import tr as _
from .painting import Look, line, pen, text
from .pictures import Picture

WIDTH, HEIGHT = 793.7, 1122.5  # A4 in pixels of 1/96 inch
_MARGIN, _FOOT, _GAP = 46.0, 38.0, 5.0
_LETTERS, _SMALL = 12, 10
_BEYOND = 100000.0
_COLORS = {GOOD: "#2e9e5b", ATTENTION: "#d08a00", ERROR: "#c62828"}
_NUMBERS = 74.0  # width of a column of the table


class Pages:
    """Paints one thing below the other and goes to a new page where one is full.

    Parameters
    ----------
    painter
        In pixels of 1/96 inch.
    new_page
        Called when a page is full.
    name
        Of the study, for the head of every page.
    card
        Its research-use-only line goes to the foot of every page, its banner to the head.
    """

    def __init__(self, painter: Any, new_page: Callable[[], Any], name: str, card: Card) -> None:
        self.painter, self.look = painter, Look(letters=_LETTERS)
        self.left, self.width = _MARGIN, WIDTH - 2 * _MARGIN
        self.number = 0
        self._new_page, self._name, self._card = new_page, name, card
        self._y = 0.0
        self._bottom = HEIGHT - _MARGIN - _FOOT

    def begin(self) -> None:
        """Begin the first or the next page, with its head and foot."""
        if self.number:
            self._new_page()
        self.number += 1
        painter, look = self.painter, self.look
        painter.setFont(look.font(smaller=2))
        painter.setPen(qt.QColor(look.pale))
        right = qt.Qt.AlignRight | qt.Qt.AlignVCenter
        page = _("page {number}").format(number=self.number)
        text(
            painter,
            self.left,
            _MARGIN - 16,
            self.width,
            16,
            qt.Qt.AlignLeft | qt.Qt.AlignVCenter,
            f"COVID-BERT · {self._name}",
        )
        text(painter, self.left, _MARGIN - 16, self.width, 16, right, page)
        painter.setPen(pen(look.grid))
        line(painter, self.left, _MARGIN + 2, self.left + self.width, _MARGIN + 2)
        line(painter, self.left, self._bottom + 12, self.left + self.width, self._bottom + 12)
        painter.setPen(qt.QColor(_COLORS[ERROR]))
        painter.setFont(look.font(bold=True))
        text(painter, self.left, self._bottom + 14, self.width, 20, qt.Qt.AlignCenter, self._card.research_use_only)
        if self._card.banner is not None:
            painter.setFont(look.font(smaller=2))
            text(painter, self.left, self._bottom + 32, self.width, 16, qt.Qt.AlignCenter, self._card.banner.text)
        self._y = _MARGIN + 12

    def take(self, height: float) -> float:
        """Return where a block of a height in pixels begins, on a new page if this one is full."""
        if self._y + height > self._bottom and self._y > _MARGIN + 12:
            self.begin()
        y = self._y
        self._y += height + _GAP
        return y

    def titled_block(self, title: str, height: float) -> float:
        """Write a title and return where a block below it begins; both are on one page."""
        if self._y + height + 28 > self._bottom:
            self.begin()
        self.title(title)
        return self.take(height)

    def heading(self, words: str) -> None:
        """Write a large line."""
        self._write(words, Look(letters=18).font(bold=True), self.look.ink)

    def title(self, words: str) -> None:
        """Write the title of a part, never as the last line of a page."""
        if self._y + 60 > self._bottom:
            self.begin()
        self._y += 6
        self._write(words, Look(letters=13).font(bold=True), self.look.ink)

    def words(self, words: str, pale: bool = False, small: bool = False) -> None:
        """Write a sentence."""
        letters = Look(letters=_SMALL if small else _LETTERS)
        self._write(words, letters.font(), self.look.pale if pale else self.look.ink)

    def notice(self, notice: Notice) -> None:
        """Write a sentence behind a bar of its colour."""
        self._write(notice.text, self.look.font(bold=True), self.look.ink, _COLORS[notice.level])

    def warnings(self, sentences: Sequence[str]) -> None:
        """Write the server's warnings."""
        for sentence in sentences:
            self._write(sentence, self.look.font(), self.look.ink, _COLORS[ATTENTION])

    def table(self, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        """Write a table: names at the left, numbers in columns at the right."""
        for place, cells in enumerate((head, *lines)):
            y = self.take(12) - 1
            self.painter.setFont(self.look.font(bold=place == 0))
            self.painter.setPen(qt.QColor(self.look.ink))
            names = self.width - _NUMBERS * (len(cells) - 1)
            text(self.painter, self.left, y, names, 16, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, cells[0])
            for column, words in enumerate(cells[1:]):
                x = self.left + names + column * _NUMBERS
                text(self.painter, x, y, _NUMBERS, 16, qt.Qt.AlignRight | qt.Qt.AlignVCenter, words)
            self.painter.setPen(pen(self.look.grid))
            line(self.painter, self.left, y + 16.5, self.left + self.width, y + 16.5)

    def pictures(self, pictures: Sequence[Picture]) -> None:
        """Show pictures three in a row, with the patient's sides at their edges."""
        side = (self.width - 2 * 8) / 3
        for begin in range(0, len(pictures), 3):
            those = pictures[begin : begin + 3]
            sizes = [_fitted(picture.image, side) for picture in those]
            y = self.take(max(height for _width, height in sizes) + 18)
            for place, (picture, (width, height)) in enumerate(zip(those, sizes)):
                self._picture(picture, self.left + place * (side + 8), y, width, height)

    def key(self, entries: Sequence[tuple[str, str]]) -> None:
        """Write what colours mean, in one line: names with their colours."""
        y, x = self.take(15), self.left
        self.painter.setFont(self.look.font(smaller=1))
        self.painter.setPen(qt.QColor(self.look.ink))
        for name, color in entries:
            self.painter.fillRect(qt.QRectF(x, y + 3, 10, 10), qt.QColor(color))
            box = qt.QRectF(x + 14, y, self.width, 16)
            flags = int(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
            width = self.painter.boundingRect(box, flags, name).width()
            text(self.painter, x + 14, y, width + 4, 16, flags, name)
            x += width + 32

    def _picture(self, picture: Picture, x: float, y: float, width: float, height: float) -> None:
        painter = self.painter
        painter.drawImage(qt.QRectF(x, y, width, height), picture.image)
        painter.setFont(self.look.font(bold=True))
        inner = qt.QRectF(x + 5, y + 3, width - 10, height - 6)
        middle_h, middle_v = qt.Qt.AlignHCenter, qt.Qt.AlignVCenter
        for flags, letter in (
            (qt.Qt.AlignLeft | middle_v, picture.left),
            (qt.Qt.AlignRight | middle_v, picture.right),
            (qt.Qt.AlignTop | middle_h, picture.top),
            (qt.Qt.AlignBottom | middle_h, picture.bottom),
        ):
            painter.setPen(qt.QColor("#000000"))  # a dark rim: tissue is as white as the letters
            for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                painter.drawText(inner.translated(right, down), int(flags), letter)
            painter.setPen(qt.QColor("#ffffff"))
            painter.drawText(inner, int(flags), letter)
        painter.setFont(self.look.font(smaller=1))
        painter.setPen(qt.QColor(self.look.ink))
        text(painter, x, y + height + 1, width, 16, qt.Qt.AlignLeft | qt.Qt.AlignVCenter, picture.title)

    def _write(self, words: str, font: Any, color: str, bar: str | None = None) -> None:
        """Write words over as many lines as they need."""
        inset = 10.0 if bar is not None else 0.0
        flags = int(qt.Qt.TextWordWrap | qt.Qt.AlignLeft | qt.Qt.AlignTop)
        self.painter.setFont(font)
        box = qt.QRectF(0.0, 0.0, self.width - inset, _BEYOND)
        height = self.painter.boundingRect(box, flags, words).height()
        y = self.take(height)
        self.painter.setFont(font)  # a new page has written with others
        if bar is not None:
            self.painter.fillRect(qt.QRectF(self.left, y, 4.0, height), qt.QColor(bar))
        self.painter.setPen(qt.QColor(color))
        self.painter.drawText(qt.QRectF(self.left + inset, y, self.width - inset, height + 2), flags, words)


def _fitted(image: Any, side: float) -> tuple[float, float]:
    """Return width and height of a picture that fits into a square."""
    scale = side / max(image.width(), image.height(), 1)
    return image.width() * scale, image.height() * scale
