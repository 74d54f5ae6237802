"""One picture of a result: lungs with lesions or location map on slices, evidence over the slices, and the card.

Slices are shown the radiological way: the patient's right is on the left of the picture, the front on top.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.files import write_atomically
from covid_bert.report.views import (
    INK,
    PALE,
    axial,
    coronal,
    evidence_chart,
    lesion_patches,
    lung_box,
    lung_patches,
    png_of,
    reading_note,
    shown_slices,
)
from covid_bert.systems import SYSTEMS, Classification
from covid_bert.systems.result import StudyResult, WeightsState
from covid_bert.volumes import Volume

# Of the figure's height; and in points.
_RESEARCH_LINE_TOP, _CARD_LETTERS, _SMALLEST_LETTERS = 0.045, 9.0, 5.0
_UNLIKE = "UNLIKE THE TRAINING STUDIES: no probability is given"
_UNTRAINED = "UNTRAINED NETWORK: the scores come from random numbers and mean nothing"


def study_picture(volume: Volume, classification: Classification, path: Path) -> Path:
    """Draw a result.

    Parameters
    ----------
    volume
        The study.
    classification
        Its result with lung mask, location map and, where there are any, lesions, on the study's canonical grid.
    path
        PNG file to write (whole or not at all).
    """
    write_atomically(path, picture_png(volume, classification))
    return path


def picture_png(volume: Volume, classification: Classification) -> bytes:
    """Draw a result as the bytes of a PNG file of 1500 x 860 pixels; see `study_picture`."""
    result = classification.result
    figure = Figure(figsize=(15, 8.6), facecolor="white")
    views = figure.add_gridspec(1, 4, left=0.02, right=0.985, top=0.85, bottom=0.43, wspace=0.05)
    below = figure.add_gridspec(1, 2, left=0.055, right=0.985, top=0.36, bottom=0.1, wspace=0.14)
    slices = shown_slices(result)
    box = lung_box(classification.lungs.array)
    for place, index in enumerate(slices):
        axial(figure.add_subplot(views[0, place]), volume, classification, index, box)
    coronal(figure.add_subplot(views[0, 3]), volume, classification, box)
    evidence_chart(figure.add_subplot(below[0, 0]), result, slices)
    _card(figure.add_subplot(below[0, 1]), result)
    title = SYSTEMS[result.provenance.system].title
    figure.text(0.035, 0.95, f"{title}, {result.provenance.configuration} configuration", size=15, color=INK)
    figure.text(0.035, 0.915, f"Study {result.study.identifier}. {reading_note(volume)}", size=10, color=PALE)
    band = {"facecolor": "#B00020", "edgecolor": "none", "pad": 6}
    for height, line in zip((0.965, 0.925, 0.885), state_lines(result), strict=False):
        figure.text(0.985, height, line, size=11, color="white", ha="right", weight="bold", bbox=band)
    handles = lung_patches() + (lesion_patches() if classification.lesions is not None else [])
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.99, 0.435),
        ncols=len(handles),
        fontsize=9,
        frameon=False,
    )
    figure.text(0.5, 0.02, RESEARCH_USE_ONLY, size=10, color=INK, ha="center", weight="bold")
    return png_of(figure)


def state_lines(result: StudyResult) -> list[str]:
    """What must be seen before anything else."""
    lines = [_UNTRAINED] if result.weights_state is WeightsState.UNTRAINED else []
    lines += [warning for warning in result.warnings if warning == DEMONSTRATION_MODEL]
    return lines + ([_UNLIKE] if result.is_unlike_training else [])


def _card(axes: Axes, result: StudyResult) -> None:
    axes.set_axis_off()
    calibrated = result.calibrated_probability
    if calibrated is not None:
        answer = (
            f"Probability of {calibrated.class_name}: {calibrated.probability:.2f} "
            f"(calibrated on {calibrated.calibrated_on}; positive from {calibrated.threshold:.2f})"
        )
    else:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in result.class_scores.items())
        answer = f"Scores (not calibrated, not probabilities): {scores}"
    lines = [answer]
    for stage in result.stages:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in stage.scores.items())
        tag = "" if stage.weights_state is WeightsState.TRAINED else f" ({stage.weights_state.value})"
        lines.append(f"    {stage.description}: {scores}{tag}")
    if result.stages_agree is not None:
        lines.append(f"    The stages {'agree' if result.stages_agree else 'DISAGREE'}.")
    lungs = result.lungs
    if lungs.total_ml is not None:
        lines.append(
            f"Lungs ({lungs.method}): right {lungs.right_ml:.0f} ml, left {lungs.left_ml:.0f} ml, "
            f"together {lungs.total_ml:.0f} ml"
        )
    else:
        lines.append(f"Lungs ({lungs.method}): no volumes, the voxel size is not known")
    lines += _lesion_lines(result)
    if result.out_of_distribution_score is not None:
        lines.append(f"Distance from the training studies: {result.out_of_distribution_score:.2f} (limit 1)")
    weights = "; ".join(f"{item.name} {item.version}" for item in result.provenance.weights)
    seconds = sum(result.provenance.seconds.values())
    lines.append(f"Weights: {weights}")
    clips = f"{len(result.windows)} clip{'s' if len(result.windows) > 1 else ''}"
    lines.append(f"{clips}, {result.provenance.precision} on {result.provenance.device}, {seconds:.1f} s")
    lines += [f"! {warning}" for warning in result.warnings if warning != DEMONSTRATION_MODEL]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 92, subsequent_indent="      ")]
    style: dict[str, Any] = {"va": "top", "size": _CARD_LETTERS, "color": INK, "linespacing": 1.4}
    text = axes.text(0.03, 0.98, "\n".join(wrapped), transform=axes.transAxes, **style)
    _fit_above(text, _RESEARCH_LINE_TOP)


def _fit_above(text: Text, bottom: float) -> None:
    """Make letters smaller until a text ends above a height of the figure (0 ... 1): many warnings must not be cut."""
    figure = text.get_figure(root=True)
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()
    size = _CARD_LETTERS
    while size > _SMALLEST_LETTERS and text.get_window_extent(renderer).y0 < bottom * figure.bbox.height:
        size -= 0.5
        text.set_fontsize(size)


def _lesion_lines(result: StudyResult) -> list[str]:
    lesions = result.lesions
    if lesions is None or lesions.total_ml is None:
        return []
    sides = (
        ("right", lesions.right_ground_glass_ml, lesions.right_consolidation_ml, lesions.right_share),
        ("left", lesions.left_ground_glass_ml, lesions.left_consolidation_ml, lesions.left_share),
    )
    parts = [
        f"{side} {(glass or 0) + (dense or 0):.0f} ml ({share:.1%} of the lung, {dense or 0:.0f} ml consolidated)"
        for side, glass, dense, share in sides
        if share is not None
    ]
    return [f"Lesions ({lesions.method}): {', '.join(parts)}"]
