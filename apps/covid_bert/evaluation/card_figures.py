"""Figures of the model card, drawn from the measurement alone: no image of a patient is in them."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.evaluation.results import Measurement, StudyRow
from covid_bert.evaluation.studies import Condition
from covid_bert.evaluation.summary import LESION_DICE_AIM, LUNG_DICE_AIM
from covid_bert.files import write_atomically
from covid_bert.report.views import INK, PALE
from covid_bert.weights.identity import demonstration_warnings

# Distinguishable with any colour vision (Okabe and Ito); the markers differ too.
_STYLE = {
    Condition.COVID_19: ("#D55E00", "o"),
    Condition.PNEUMONIA: ("#E69F00", "s"),
    Condition.NO_PNEUMONIA: ("#0072B2", "^"),
    Condition.LUNG_TUMOUR: ("#6b6b6b", "D"),
}


def overview_figure(measurement: Measurement, path: Path) -> Path:
    """Draw the lesion share of each study, and the Dice coefficients of lungs and lesions.

    Parameters
    ----------
    measurement
        With at least one study.
    path
        PNG file to write.
    """
    rows = measurement.studies
    tall = 1.6 + 0.3 * len(rows)
    figure = Figure(figsize=(12, tall), facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.14, right=0.98, top=1 - 0.45 / tall, bottom=0.95 / tall, wspace=0.06)
    for place, row in enumerate(reversed(rows)):
        _share(left, row, place)
        _dice(right, row, place)
    left.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=9)
    left.set_xlim(left=0)
    left.set_xlabel("lesions, % of the lungs (ring: drawn by others)")
    right.axvline(LUNG_DICE_AIM, color=PALE, linewidth=0.8, linestyle=":")
    right.axvline(LESION_DICE_AIM, color=PALE, linewidth=0.8, linestyle="--")
    right.set_xlim(0, 1.02)
    right.set_xlabel(f"Dice: lungs (bar; aim {LUNG_DICE_AIM}, dotted), lesions (marker; aim {LESION_DICE_AIM}, dashed)")
    for axes in (left, right):
        axes.grid(axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [
        left.plot([], [], colour_marker[1], color=colour_marker[0], label=condition.value)[0]
        for condition, colour_marker in _STYLE.items()
    ]
    figure.legend(handles=handles, loc="upper center", ncols=4, fontsize=9, frameon=False)
    _notes(figure, measurement, tall)
    return _write(figure, path)


def slices_figure(measurement: Measurement, path: Path) -> Path | None:
    """Draw the lesion share along the slices of the studies with labels of slices; None without such a study.

    The labels can be read from it: it is not for the documentation of sets that may not be redistributed.
    """
    rows = [row for row in measurement.studies if row.lesions is not None and row.lesions.slices is not None]
    if not rows:
        return None
    tall = 0.8 + 1.9 * len(rows)
    figure = Figure(figsize=(11, tall), facecolor="white")
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.08, right=0.98, top=1 - 0.3 / tall, bottom=0.75 / tall, hspace=0.45)
    for axes, row in zip(panels, rows, strict=True):
        lesions = row.lesions
        assert lesions is not None
        assert lesions.slices is not None
        share = [float("nan") if value is None else value * 100 for value in lesions.share_by_slice]
        top = max((value for value in lesions.share_by_slice if value is not None), default=0.0) * 110 + 0.1
        infected = [top if label else 0.0 for label in lesions.slices.labels]
        axes.fill_between(range(len(infected)), infected, step="mid", color="#56B4E9", alpha=0.35, linewidth=0)
        axes.plot(range(len(share)), share, color="#D55E00", linewidth=1.3)
        axes.set_ylim(0, top)
        axes.set_ylabel("lesion share, %", size=8)
        axes.set_title(f"{row.name} ({row.condition.value}); shaded: labelled infected", size=9, loc="left")
        axes.tick_params(labelsize=8)
    panels[-1].set_xlabel("slice, foot to head", size=8)
    _notes(figure, measurement, tall)
    return _write(figure, path)


def _share(axes: Axes, row: StudyRow, place: int) -> None:
    if row.lesions is None or row.lesions.share is None:
        return
    colour, marker = _STYLE[row.condition]
    axes.plot(row.lesions.share * 100, place, marker, color=colour, markersize=7)
    if row.lesions.true_share is not None:
        axes.plot(row.lesions.true_share * 100, place, "o", mfc="none", mec=INK, markersize=11)


def _dice(axes: Axes, row: StudyRow, place: int) -> None:
    lungs = row.default_lungs
    if lungs is not None and lungs.dice is not None:
        axes.barh(place, lungs.dice, height=0.5, color="#BDBDBD")
    if row.lesions is not None and row.lesions.dice is not None:
        colour, marker = _STYLE[row.condition]
        axes.plot(row.lesions.dice, place, marker, color=colour, markersize=7)


def _notes(figure: Figure, measurement: Measurement, tall: float) -> None:
    """Write at the foot what must stand wherever a result is shown."""
    notes = " ".join([*demonstration_warnings(measurement.weights), RESEARCH_USE_ONLY])
    figure.text(0.5, 0.12 / tall, notes, size=9, color=INK, ha="center", weight="bold")


def _write(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomically(path, buffer.getvalue())
    return path
