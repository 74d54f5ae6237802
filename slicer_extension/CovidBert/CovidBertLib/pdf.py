"""The report as PDF, painted with Qt on A4 pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from .card import Card, card_of
from .chart import EvidenceChart
from .i18n import tr as _
from .measurements import rows
from .overlay import HIGHEST, THRESHOLD, map_colour
from .pages import Pages
from .painting import BAR_ROW, SCALE_HEIGHT, paint_bars, paint_probability
from .pictures import Picture
from .result import Result
from .segments import KINDS, LESIONS, LUNGS

RESOLUTION = 300
_PIXELS_PER_INCH = 96.0


def write_pdf(path: Path, result: Result, pictures: list[Picture]) -> None:
    """Write the report of a result.

    Parameters
    ----------
    path
        PDF file to write; one that is there is replaced.
    result
        The result.
    pictures
        Views to show, three in a row.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    writer = qt.QPdfWriter(str(path))
    writer.setPageSize(qt.QPageSize(qt.QPageSize.A4))
    writer.setPageMargins(qt.QMarginsF(0.0, 0.0, 0.0, 0.0))
    writer.setResolution(RESOLUTION)
    writer.setTitle(f"{result.provenance.system} {result.study.identifier}")
    writer.setCreator("COVID-BERT")
    painter = qt.QPainter()
    if not painter.begin(writer):
        raise OSError(None, _("the file cannot be opened"))
    try:
        painter.scale(RESOLUTION / _PIXELS_PER_INCH, RESOLUTION / _PIXELS_PER_INCH)
        paint_report(painter, writer.newPage, result, pictures)
    finally:
        finished = painter.end()
    if not finished or not path.is_file() or b"%%EOF" not in path.read_bytes()[-16:]:
        raise OSError(None, _("the file could not be written to its end"))


def paint_report(painter: Any, new_page: Callable[[], Any], result: Result, pictures: list[Picture]) -> None:
    """Paint all pages.

    Parameters
    ----------
    painter
        In pixels of 1/96 inch from the corner of an A4 page.
    new_page
        Called when a page is full.
    result, pictures
        What to show.
    """
    card = card_of(result)
    pages = Pages(painter, new_page, _("Study {identifier}").format(identifier=result.study.identifier), card)
    pages.begin()
    _study(pages, result)
    _card(pages, card)
    _views(pages, result, pictures)
    _evidence(pages, result)
    pages.title(_("Measurements"))
    pages.table(
        (_("Measurement"), _("Right"), _("Left"), _("Both")), [(row.name, *row.texts()) for row in rows(result)]
    )
    pages.words(_("By the masks as the networks made them; corrections by hand are not in these numbers."), pale=True)
    _origin(pages, result, card)


def hex_color(parts: tuple[float, float, float]) -> str:
    """Return ``#rrggbb`` of red, green and blue in [0, 1]."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _study(pages: Pages, result: Result) -> None:
    study = result.study
    pages.heading(_("Chest CT: automatic classification"))
    size = _("{slices} slices of {rows} x {columns}").format(
        slices=study.slice_count, rows=study.row_count, columns=study.column_count
    )
    if study.spacing_mm is not None:
        size += _(", voxels of {voxel} mm").format(voxel=" x ".join(f"{value:.2f}" for value in study.spacing_mm))
    else:
        size += _(", voxel size not known")
    pages.words(_("Study {identifier} (pseudonym): {size}").format(identifier=study.identifier, size=size))


def _card(pages: Pages, card: Card) -> None:
    if card.banner is not None:
        pages.notice(card.banner)
    pages.heading(card.heading)
    if card.calibrated is not None:
        known = card.calibrated
        y = pages.take(SCALE_HEIGHT)
        place = (pages.left, y, pages.width)
        paint_probability(pages.painter, known.probability, known.threshold, place, pages.look)
    for place, sentence in enumerate(card.calibration):
        pages.words(sentence, small=place > 0)
    pages.title(card.bars_title)
    y = pages.take(BAR_ROW * len(card.bars))
    paint_bars(pages.painter, card.bars, pages.left, y, pages.width, pages.look)
    for stage in card.stages:
        pages.words(f"• {stage}")
    for notice in (card.agreement, card.likeness):
        if notice is not None:
            pages.notice(notice)
    pages.warnings(card.warnings)


def _views(pages: Pages, result: Result, pictures: list[Picture]) -> None:
    pages.title(_("Views"))
    if not pictures:
        pages.words(_("No slice view showed the study when the report was made."))
        return
    pages.pictures(pictures)
    kinds = [*KINDS[LUNGS], *(KINDS[LESIONS] if result.lesions is not None else ())]
    key = [(kind.name, hex_color(kind.colour)) for kind in kinds]
    if result.location is not None:
        low, high = hex_color(map_colour(THRESHOLD)), hex_color(map_colour(HIGHEST))
        key += [(_("location map: low"), low), (_("high"), high)]
    pages.key(key)
    pages.words(
        _("As shown when the report was made. R right, L left, A front, P back, S head, I feet of the patient."),
        pale=True,
        small=True,
    )


def _evidence(pages: Pages, result: Result) -> None:
    chart = EvidenceChart(result, strip=33.0)
    y = pages.titled_block(_("Evidence over the slices"), chart.height)
    chart.paint(pages.painter, pages.left, y, pages.width, pages.look)


def _origin(pages: Pages, result: Result, card: Card) -> None:
    pages.title(_("Origin"))
    pages.words(card.origin)
    methods = [_("lungs: {method}").format(method=result.lungs.method)]
    if result.lesions is not None:
        methods.append(_("lesions: {method}").format(method=result.lesions.method))
    if result.location is not None:
        methods.append(_("location map: {method}").format(method=result.location.method))
    pages.words(
        _("Methods: {methods}; slices: {choice}").format(
            methods=", ".join(methods), choice=result.provenance.slice_choice
        )
    )
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result.provenance.seconds.items())
    pages.words(_("Seconds: {seconds}").format(seconds=seconds))
    for weights in result.weights:
        state = _("demonstration") if weights.demonstration else _("trained")
        state = state if weights.trained else _("UNTRAINED")
        pages.words(f"• {weights.name} {weights.version}, {state}, SHA-256 {weights.sha256}", small=True)
    for origin in card.weights_origin:
        pages.words(_("Trained on: {origin}").format(origin=origin), small=True)
