"""One picture of a result: lungs with lesions or location map on slices, evidence over the slices, and the card.

Slices are shown the radiological way: the patient's right is on the left of the picture, the front on top.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.files import write_atomically
from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS, LESION_LABELS
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.systems import SYSTEMS, Classification
from covid_bert.systems.result import StudyResult, WeightsState
from covid_bert.volumes import LUNG_WINDOW, Unit, Volume, gray8_slices, to_gray8

# Distinguishable with any colour vision (Okabe and Ito).
RIGHT_COLOUR, LEFT_COLOUR, SCORE_COLOUR, LOCATION_COLOUR = "#56B4E9", "#E69F00", "#0072B2", "#D55E00"
# Also told apart by lightness and by their outlines.
LESION_COLOURS = {GROUND_GLASS: "#CC79A7", CONSOLIDATION: "#F0E442"}
_LESION_OUTLINES = {GROUND_GLASS: "dashed", CONSOLIDATION: "solid"}
INK, PALE = "#1b1b1b", "#6b6b6b"
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
    result = classification.result
    figure = Figure(figsize=(15, 8.6), facecolor="white")
    views = figure.add_gridspec(1, 4, left=0.02, right=0.985, top=0.85, bottom=0.43, wspace=0.05)
    below = figure.add_gridspec(1, 2, left=0.055, right=0.985, top=0.36, bottom=0.1, wspace=0.14)
    slices = _shown_slices(result)
    box = _lung_box(classification.lungs.array)
    for place, index in enumerate(slices):
        _axial(figure.add_subplot(views[0, place]), volume, classification, index, box)
    _coronal(figure.add_subplot(views[0, 3]), volume, classification, box)
    _evidence(figure.add_subplot(below[0, 0]), result, slices)
    _card(figure.add_subplot(below[0, 1]), result)
    title = SYSTEMS[result.provenance.system].title
    figure.text(0.035, 0.95, f"{title}, {result.provenance.configuration} configuration", size=15, color=INK)
    figure.text(0.035, 0.915, f"Study {result.study.identifier}", size=10, color=PALE)
    band = {"facecolor": "#B00020", "edgecolor": "none", "pad": 6}
    for height, line in zip((0.965, 0.925, 0.885), _state_lines(result), strict=False):
        figure.text(0.985, height, line, size=11, color="white", ha="right", weight="bold", bbox=band)
    if classification.lesions is not None:
        patches = [
            Patch(facecolor=LESION_COLOURS[label], edgecolor=INK, label=name) for name, label in LESION_LABELS.items()
        ]
        figure.legend(
            handles=patches, loc="upper right", bbox_to_anchor=(0.99, 0.435), ncols=2, fontsize=9, frameon=False
        )
    figure.text(0.5, 0.02, RESEARCH_USE_ONLY, size=10, color=INK, ha="center", weight="bold")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomically(path, buffer.getvalue())
    return path


def _state_lines(result: StudyResult) -> list[str]:
    """What must be seen before anything else."""
    lines = [_UNTRAINED] if result.weights_state is WeightsState.UNTRAINED else []
    lines += [warning for warning in result.warnings if warning == DEMONSTRATION_MODEL]
    return lines + ([_UNLIKE] if result.is_unlike_training else [])


def _shown_slices(result: StudyResult) -> list[int]:
    """The slice of the location map's maximum, and two that quarter the kept range, from head to foot."""
    first, last = result.provenance.kept_slices
    quarters = [first + round((last - first) * share) for share in (0.25, 0.5, 0.75)]
    peak = result.location_map.peak_slice if result.location_map else None
    if peak is not None:
        nearest = min(range(3), key=lambda place: abs(quarters[place] - peak))
        quarters[nearest] = peak
    return sorted(quarters, reverse=True)


def _lung_box(lungs: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns that hold the lungs of all slices, with a margin of a tenth for chest wall and orientation."""
    seen = np.zeros(lungs.shape[1:], bool)
    for plane in lungs:
        seen |= plane > 0
    box = []
    for axis in (1, 0):
        places = np.flatnonzero(seen.any(axis))
        margin = (places[-1] - places[0]) // 10 + 1
        box.append(slice(max(int(places[0] - margin), 0), int(places[-1] + margin + 1)))
    return box[0], box[1]


def _axial(axes: Axes, volume: Volume, classification: Classification, index: int, box: tuple[slice, slice]) -> None:
    gray = gray8_slices(volume, LUNG_WINDOW, np.array([index]))[0]
    _, row, column = volume.spacing
    _show(axes, gray[box], classification, (index, *box), row / column, "upper")
    peak = classification.result.location_map.peak_slice if classification.result.location_map else None
    note = " (maximum of the location map)" if index == peak else ""
    axes.set_title(f"Slice {index + 1} of {volume.shape[0]}{note}", size=9, color=INK)


def _coronal(axes: Axes, volume: Volume, classification: Classification, box: tuple[slice, slice]) -> None:
    lungs = classification.lungs.array
    areas = np.zeros(volume.shape[1], np.int64)
    for plane in lungs:
        areas += (plane > 0).sum(1)
    row = int(areas.argmax())
    columns = box[1]
    section = np.ascontiguousarray(volume.array[:, row, columns])
    gray = section if volume.unit is Unit.GRAY8 else to_gray8(section, LUNG_WINDOW)
    slice_, _, column = volume.spacing
    aspect = slice_ / column if volume.spacing_known else "auto"
    _show(axes, gray, classification, (slice(None), row, columns), aspect, "lower")
    axes.set_title("Coronal section through most of the lungs", size=9, color=INK)


def _show(
    axes: Axes,
    gray: npt.NDArray[np.uint8],
    classification: Classification,
    section: tuple[Any, Any, Any],
    aspect: Any,
    origin: Any,
) -> None:
    """One section: gray levels, lesions or else the location map, outlines of the lungs."""
    lungs = classification.lungs.array[section]
    axes.imshow(gray, cmap="gray", vmin=0, vmax=255, aspect=aspect, origin=origin, interpolation="nearest")
    if classification.lesions is None:
        # The square root lets weaker places be seen beside the maximum.
        strength = np.sqrt(classification.location[section].astype(np.float32) / 255)
        _tint(axes, LOCATION_COLOUR, 0.6 * strength, aspect, origin)
    else:
        lesions = classification.lesions.array[section]
        for label, colour in LESION_COLOURS.items():
            _tint(axes, colour, 0.3 * (lesions == label), aspect, origin)
            _outline(axes, lesions == label, colour, _LESION_OUTLINES[label])
    for side, colour in ((RIGHT_LUNG, RIGHT_COLOUR), (LEFT_LUNG, LEFT_COLOUR)):
        _outline(axes, lungs == side, colour, "solid")
    for text, place in (("R", 0.03), ("L", 0.97)):
        axes.text(place, 0.5, text, transform=axes.transAxes, color="white", ha="center", va="center", size=12)
    axes.set_anchor("N")
    axes.set_axis_off()


def _tint(axes: Axes, colour: str, strength: npt.NDArray[np.floating], aspect: Any, origin: Any) -> None:
    overlay = np.zeros((*strength.shape, 4), np.float32)
    overlay[..., :3] = to_rgb(colour)
    overlay[..., 3] = strength
    axes.imshow(overlay, aspect=aspect, origin=origin, interpolation="nearest")


def _outline(axes: Axes, mask: npt.NDArray[np.bool_], colour: str, style: str) -> None:
    if mask.any() and not mask.all() and min(mask.shape) > 1:
        axes.contour(mask, levels=[0.5], colors=colour, linewidths=0.9, linestyles=style)


def _evidence(axes: Axes, result: StudyResult, shown: list[int]) -> None:
    index = [item.index + 1 for item in result.slice_evidence]
    score = [np.nan if item.score is None else item.score for item in result.slice_evidence]
    if result.lesions is not None:
        share = np.array([item.lesion_share or 0.0 for item in result.slice_evidence])
        meaning = "lesions, % of the slice's lung"
    else:
        share = np.array([item.location_share for item in result.slice_evidence])
        meaning = "share of location map, %"
    axes.plot(index, score, color=SCORE_COLOUR, marker="o" if len(index) < 80 else "", markersize=3, linewidth=1.4)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("mean COVID-19 score of its clips", color=SCORE_COLOUR, size=9)
    axes.set_xlabel("slice (foot to head)", size=9)
    right = axes.twinx()
    right.fill_between(index, share * 100, color=LOCATION_COLOUR, alpha=0.25, linewidth=0)
    right.set_ylim(0, max(float(share.max(initial=0.0)) * 130, 1.0))
    right.set_ylabel(meaning, color=LOCATION_COLOUR, size=9)
    for slice_ in shown:
        axes.axvline(slice_ + 1, color=PALE, linewidth=0.7, linestyle=":")
    axes.set_title("Evidence over the kept slices (dotted: slices shown above)", size=9, color=INK)
    for each in (axes, right):
        each.tick_params(labelsize=8)
        each.spines["top"].set_visible(False)


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
