"""Pictures of a measured study: slices through the lungs, and those where it went wrong.

Slices are shown the radiological way: the patient's right is on the left of the picture, the front on top.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.evaluation.studies import Condition, ExternalStudy
from covid_bert.evaluation.study_measurement import MeasuredStudy
from covid_bert.files import write_atomically
from covid_bert.lesions import LESION_LABELS, LesionMask
from covid_bert.lungs import LungMask
from covid_bert.report.views import INK, LESION_COLOURS, PALE
from covid_bert.volumes import LUNG_WINDOW, gray8_slices
from covid_bert.weights.identity import demonstration_warnings

SHOWN_SLICES = 6
# Slices with errors that are shown lie at least this far apart, so that they show different places.
_APART_MILLIMETERS = 10.0
# Told apart from the colours of the lesions by lightness and hue with any colour vision (Okabe and Ito).
TRUTH_COLOUR, LUNG_COLOUR = "#56B4E9", "#FFFFFF"
_TINT = 0.35

Box = tuple[slice, slice]


def write_pictures(study: ExternalStudy, measured: MeasuredStudy, folder: Path) -> list[Path]:
    """Draw a study: an overview, and the slices with the largest errors, or marked areas, of a study without pneumonia.

    Parameters
    ----------
    study
        With true lesions where its source gives them.
    measured
        Its record and masks.
    folder
        Gets ``NAME.png`` and ``NAME.errors.png``.

    Returns
    -------
    list of Path
        What was written; empty for a study without lungs.
    """
    if measured.lungs is None:
        return []
    overview = folder / f"{study.name}.png"
    _draw(study, measured, measured.lungs, spread_slices(measured.lungs), "Slices through the lungs", overview)
    written = [overview]
    wrong = wrong_slices(study, measured.lesions)
    if wrong:
        title = wrong_title(study)
        errors = folder / f"{study.name}.errors.png"
        _draw(study, measured, measured.lungs, wrong, title, errors)
        written.append(errors)
    return written


def spread_slices(lungs: LungMask) -> list[int]:
    """Slices spread evenly through the lungs without their tips, from head to foot."""
    held = np.flatnonzero(lungs.array.any(axis=(1, 2)))
    places = np.linspace(0.08, 0.92, SHOWN_SLICES) * (held.size - 1)
    return sorted({int(held[round(place)]) for place in places}, reverse=True)


def wrong_slices(study: ExternalStudy, lesions: LesionMask | None) -> list[int]:
    """Slices with the largest area that is, or may be, wrongly marked or missed, from head to foot.

    Parameters
    ----------
    study
        With true lesions, or without pneumonia: whatever is marked is then wrong, if the source states the condition.
    lesions
        Of the default method.

    Returns
    -------
    list of int
        At most `SHOWN_SLICES`; empty where nothing can be called wrong.
    """
    if lesions is None:
        return []
    if study.lesions is not None:
        wrong = [np.count_nonzero((a > 0) != (b > 0)) for a, b in zip(lesions.array, study.lesions, strict=True)]
    elif study.facts.condition is Condition.NO_PNEUMONIA:
        wrong = [np.count_nonzero(plane) for plane in lesions.array]
    else:
        return []
    apart = max(1, round(_APART_MILLIMETERS / study.volume.spacing[0]))
    chosen: list[int] = []
    for index in np.argsort(wrong)[::-1]:
        if wrong[index] == 0 or len(chosen) == SHOWN_SLICES:
            break
        if all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    return sorted(chosen, reverse=True)


def wrong_title(study: ExternalStudy) -> str:
    """What the slices of `wrong_slices` show."""
    if study.lesions is not None:
        return "Largest errors of the lesions"
    # Nobody looked for lesions in a study that is only assumed to hold none.
    return "Largest false positives" if study.facts.condition_stated else "Largest marked areas"


def _draw(
    study: ExternalStudy, measured: MeasuredStudy, lungs: LungMask, slices: list[int], title: str, path: Path
) -> None:
    columns = min(3, len(slices))
    lines = -(-len(slices) // columns)
    box = lung_box(lungs.array)
    height = (box[0].stop - box[0].start) * study.volume.spacing[1]
    width = (box[1].stop - box[1].start) * study.volume.spacing[2]
    # 4 inches for each panel, and 1.5 for title and legend.
    tall = 4.0 * height / width * lines + 1.5
    figure = Figure(figsize=(max(4.0 * columns, 8.0), tall), facecolor="white")
    grid = figure.add_gridspec(
        lines, columns, left=0.01, right=0.99, top=1 - 0.85 / tall, bottom=0.6 / tall, wspace=0.02, hspace=0.08
    )
    for place, index in enumerate(slices):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        _panel(axes, study, lungs, measured.lesions, index, box)
    facts = study.facts
    stated = "" if facts.condition_stated else ", assumed"
    heading = f"{facts.source}: {facts.name} ({facts.condition.value}{stated})"
    figure.text(0.012, 1 - 0.3 / tall, heading, size=13, color=INK)
    figure.text(0.012, 1 - 0.55 / tall, f"{title}. {_numbers(measured)}", size=9.5, color=PALE)
    _legend(figure, study, measured)
    notes = [*demonstration_warnings(measured.weights), RESEARCH_USE_ONLY]
    figure.text(0.5, 0.1 / tall, " ".join(notes), size=9.5, color=INK, ha="center", weight="bold")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # A palette makes the file a third as large; 255 colours are more than gray levels and overlays need.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(255, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def _panel(axes: Axes, study: ExternalStudy, lungs: LungMask, lesions: LesionMask | None, index: int, box: Box) -> None:
    gray = gray8_slices(study.volume, LUNG_WINDOW, np.array([index]))[0][box]
    _, row, column = study.volume.spacing
    axes.imshow(gray, cmap="gray", vmin=0, vmax=255, aspect=row / column, interpolation="nearest")
    _outline(axes, lungs.array[index][box] > 0, LUNG_COLOUR, 0.5)
    if lesions is not None:
        labels = lesions.array[index][box]
        tint = np.zeros((*labels.shape, 4), np.float32)
        for label, colour in LESION_COLOURS.items():
            tint[labels == label] = (*to_rgb(colour), _TINT)
        axes.imshow(tint, aspect=row / column, interpolation="nearest")
        for label, colour in LESION_COLOURS.items():
            _outline(axes, labels == label, colour, 0.7)
    if study.lesions is not None:
        _outline(axes, study.lesions[index][box] > 0, TRUTH_COLOUR, 1.2)
    axes.text(0.02, 0.5, "R", transform=axes.transAxes, color="white", va="center", size=10)
    axes.text(0.98, 0.5, "L", transform=axes.transAxes, color="white", va="center", ha="right", size=10)
    note = ""
    if study.slice_labels is not None:
        note = ", labelled infected" if study.slice_labels[index] else ", labelled not infected"
    axes.set_title(f"Slice {index + 1} of {study.volume.shape[0]}{note}", size=8.5, color=INK, pad=2)
    axes.set_axis_off()


def _outline(axes: Axes, mask: npt.NDArray[np.bool_], colour: str, width: float) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=colour, linewidths=width)


def lung_box(lungs: npt.NDArray[np.uint8]) -> Box:
    """Rows and columns that hold the lungs of all slices, with a margin of a tenth."""
    seen = np.zeros(lungs.shape[1:], bool)
    for plane in lungs:
        seen |= plane > 0
    box = []
    for axis, size in ((1, seen.shape[0]), (0, seen.shape[1])):
        places = np.flatnonzero(seen.any(axis))
        margin = int(places[-1] - places[0]) // 10 + 1
        box.append(slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + margin + 1, size)))
    return box[0], box[1]


def _numbers(measured: MeasuredStudy) -> str:
    lesions = measured.row.lesions
    if lesions is None or lesions.share is None:
        return "No lesions were segmented."
    said = f"Lesions {lesions.share:.1%} of the lungs"
    if lesions.true_share is not None:
        said += f" (drawn by others: {lesions.true_share:.1%})"
    return said + (f", Dice {lesions.dice:.2f}." if lesions.dice is not None else ".")


def _legend(figure: Figure, study: ExternalStudy, measured: MeasuredStudy) -> None:
    handles: list[Patch | Line2D] = [Line2D([], [], color="#9a9a9a", linewidth=1, label="lungs (white outline)")]
    if measured.lesions is not None:
        handles += [
            Patch(facecolor=LESION_COLOURS[label], edgecolor=INK, label=name) for name, label in LESION_LABELS.items()
        ]
    if study.lesions is not None:
        handles.append(Line2D([], [], color=TRUTH_COLOUR, linewidth=1.5, label="lesions drawn by others"))
    tall = figure.get_figheight()
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.25 / tall), ncols=4, fontsize=8.5, frameon=False
    )
