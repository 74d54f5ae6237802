"""Paper, letters, tables and the frame of every page of a PDF report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from reportlab import rl_config
from reportlab.lib.colors import HexColor, white
from reportlab.lib.enums import TA_CENTER
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, Table, TableStyle

from covid_bert import RESEARCH_USE_ONLY

REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"
INK, PALE, LINE, BAND = HexColor("#1b1b1b"), HexColor("#5a5f66"), HexColor("#c9ced6"), HexColor("#eef1f5")
NAVY, RED, PALE_RED = HexColor("#17324d"), HexColor("#B00020"), HexColor("#fdecee")
MARGIN = 16 * mm
WIDTH = A4[0] - 2 * MARGIN
HEADER, FOOTER = 16 * mm, 13 * mm


@cache
def register_fonts() -> None:
    """Make the letters known that come with matplotlib: Latin, Greek and Cyrillic, embedded into the document."""
    # Streams as bytes, not as text a quarter larger.
    rl_config.useA85 = 0
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)


def _style(name: str, size: float, **options: Any) -> ParagraphStyle:
    options = {"fontName": REGULAR, "textColor": INK, "leading": size * 1.32, **options}
    return ParagraphStyle(name, fontSize=size, **options)


TITLE = _style("title", 14.5, fontName=BOLD, textColor=NAVY)
SECTION = _style("section", 9.5, fontName=BOLD, textColor=NAVY, spaceBefore=7, spaceAfter=2.5)
BODY = _style("body", 8)
SMALL = _style("small", 7, textColor=PALE)
CELL = _style("cell", 7.4)
HEAD = _style("head", 7, fontName=BOLD)
ALERT = _style("alert", 8.4, fontName=BOLD, textColor=RED)
NUMBER = _style("number", 27, fontName=BOLD, textColor=NAVY, alignment=TA_CENTER)
UNDER_NUMBER = _style("under-number", 7.4, alignment=TA_CENTER)


def text(words: str, style: ParagraphStyle = BODY) -> Paragraph:
    """Return a paragraph of plain text: nothing in it is taken for markup."""
    return Paragraph(escape(words), style)


def alert(lines: Sequence[str]) -> Flowable:
    """Return a box that cannot be overlooked."""
    box = Table([[text(line, ALERT)] for line in lines], colWidths=[WIDTH])
    box.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), PALE_RED),
                ("LINEBEFORE", (0, 0), (0, -1), 3, RED),
                ("LEFTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ]
        )
    )
    return box


def grid(rows: Sequence[Sequence[str]], widths: Sequence[float], *, header: bool = True) -> Flowable:
    """Return a table of plain text with thin lines.

    Parameters
    ----------
    rows
        Cells.
    widths
        Shares of the page's width by column.
    header
        Whether the first row says what the columns are, and is repeated on the next page.
    """
    cells = [
        [text(cell, HEAD if (header and not number) or (not header and not place) else CELL)
         for place, cell in enumerate(row)]
        for number, row in enumerate(rows)
    ]  # fmt: skip
    table = Table(cells, colWidths=[share * WIDTH / sum(widths) for share in widths], repeatRows=int(header))
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
                ("TOPPADDING", (0, 0), (-1, -1), 1.6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
                ("LEFTPADDING", (0, 0), (-1, -1), 4),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                *([("BACKGROUND", (0, 0), (-1, 0), BAND)] if header else []),
            ]
        )
    )
    return table


class PageFrame(Canvas):
    """A canvas that writes head and foot of each page once the number of pages is known."""

    study = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 (reportlab's name)
        """Keep the page for later."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Write all pages."""
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self._frame(number, len(self._pages))
            super().showPage()
        super().save()

    def _frame(self, number: int, count: int) -> None:
        width, height = A4
        self.setFillColor(NAVY)
        self.rect(0, height - 11 * mm, width, 11 * mm, stroke=0, fill=1)
        self.setFillColor(white)
        self.setFont(BOLD, 9)
        self.drawString(MARGIN, height - 7.2 * mm, "covid-bert  |  research report")
        self.setFont(REGULAR, 8)
        self.drawRightString(width - MARGIN, height - 7.2 * mm, f"Study {self.study}")
        self.setStrokeColor(LINE)
        self.line(MARGIN, 12 * mm, width - MARGIN, 12 * mm)
        self.setFillColor(RED)
        self.setFont(BOLD, 8)
        self.drawString(MARGIN, 8 * mm, RESEARCH_USE_ONLY)
        self.setFillColor(PALE)
        self.setFont(REGULAR, 8)
        self.drawRightString(width - MARGIN, 8 * mm, f"Page {number} of {count}")
