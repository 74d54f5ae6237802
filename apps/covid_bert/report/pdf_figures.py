"""Figures of a PDF report."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib.units import inch, mm
from reportlab.platypus import Flowable, Image

from covid_bert.report.pdf_style import BAND, INK, LINE, NAVY, PALE, REGULAR, WIDTH
from covid_bert.report.views import axial, coronal, evidence_chart, lesion_patches, lung_box
from covid_bert.systems import Classification
from covid_bert.systems.result import CalibratedProbability
from covid_bert.volumes.volume import Volume

# Dots for each inch: enough for CT slices and letters on paper.
_DPI = 200
_COLUMNS = 4
# Of R and L, in points.
_LETTERS = 7


def sections_figure(volume: Volume, classification: Classification, slices: list[int]) -> Flowable:
    """Return axial slices and the coronal section in one row.

    Parameters
    ----------
    volume, classification
        The study and its result.
    slices
        Canonical slices, at most three, from head to foot.
    """
    figure = Figure(figsize=(WIDTH / inch, 2.15), dpi=_DPI, facecolor="white")
    box = lung_box(classification.lungs.array)
    places = figure.subplots(1, _COLUMNS)
    for axes in places:
        axes.set_axis_off()
    for axes, index in zip(places, slices, strict=False):
        axial(axes, volume, classification, index, box, letters=_LETTERS)
    coronal(places[-1], volume, classification, box, letters=_LETTERS)
    for axes in places:
        title = axes.get_title()
        axes.set_title(title.replace(" (maximum of the location map)", "\nmaximum of the map"), size=6.5)
    places[-1].set_title("Coronal section\nthrough most of the lungs", size=6.5)
    if classification.lesions is not None:
        figure.legend(handles=lesion_patches(), loc="lower left", ncols=2, fontsize=6.5, frameon=False)
    figure.subplots_adjust(left=0.0, right=1.0, top=0.86, bottom=0.06, wspace=0.03)
    return _image(figure)


def chart_figure(classification: Classification, slices: list[int]) -> Flowable:
    """Return score and lesions, or location map, over the slices; `slices` are marked."""
    figure = Figure(figsize=(WIDTH / inch, 1.75), dpi=_DPI, facecolor="white")
    axes = figure.subplots()
    evidence_chart(axes, classification.result, slices)
    for each in figure.axes:
        each.tick_params(labelsize=6)
        each.yaxis.label.set_fontsize(6)
        each.xaxis.label.set_fontsize(6.5)
        each.set_ylabel(each.get_ylabel().replace(" of its clips", "").replace(" of location map", ""))
    axes.set_title("")
    figure.subplots_adjust(left=0.07, right=0.93, top=0.96, bottom=0.22)
    return _image(figure)


def slices_figure(volume: Volume, classification: Classification, slices: list[int]) -> Flowable:
    """Return larger views of slices, three in a row."""
    rows = -(-len(slices) // 3)
    figure = Figure(figsize=(WIDTH / inch, 2.05 * rows), dpi=_DPI, facecolor="white")
    box = lung_box(classification.lungs.array)
    places = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for number, (axes, index) in enumerate(zip(places, slices, strict=False), start=1):
        axial(axes, volume, classification, index, box, letters=_LETTERS)
        axes.set_title(f"{number}: slice {index + 1}", size=7)
    figure.subplots_adjust(left=0.0, right=1.0, top=1 - 0.09 / rows, bottom=0.0, wspace=0.02, hspace=0.1)
    return _image(figure)


def probability_scale(calibrated: CalibratedProbability) -> Flowable:
    """Return a line from 0 to 1 with the probability and the operating point."""
    width, height, left = 62 * mm, 11 * mm, 3 * mm
    length = width - 2 * left
    drawing = Drawing(width, height)
    drawing.add(Rect(left, 5.2 * mm, length, 2.4 * mm, fillColor=BAND, strokeColor=LINE, strokeWidth=0.5))
    reached = left + length * calibrated.probability
    drawing.add(Rect(left, 5.2 * mm, max(reached - left, 0.4), 2.4 * mm, fillColor=NAVY, strokeColor=None))
    point = left + length * calibrated.threshold
    drawing.add(Line(point, 4.4 * mm, point, 8.6 * mm, strokeColor=INK, strokeWidth=1.2))
    for x, words in ((left, "0"), (left + length, "1")):
        drawing.add(String(x, 1.6 * mm, words, fontName=REGULAR, fontSize=6.5, fillColor=PALE, textAnchor="middle"))
    words = f"operating point {calibrated.threshold:.2f}"
    drawing.add(String(point, 1.6 * mm, words, fontName=REGULAR, fontSize=6.5, fillColor=INK, textAnchor="middle"))
    return drawing


def _image(figure: Figure) -> Image:
    width, height = figure.get_size_inches()
    # JPEG goes into a PDF as it is; the pixels of a PNG would be packed anew, in seconds and megabytes.
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_jpg(buffer, pil_kwargs={"quality": 93, "subsampling": 0})
    return Image(buffer, width * inch, height * inch)
