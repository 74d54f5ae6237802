"""Views of a study and its evidence, for pictures and reports.

Slices are shown the radiological way: the patient's right is on the left of the picture, the front on top.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS, LESION_LABELS
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.systems import Classification
from covid_bert.systems.result import StudyResult
from covid_bert.volumes import LUNG_WINDOW, Unit, Volume, gray8_slices, to_gray8

# Distinguishable with any colour vision (Okabe and Ito).
RIGHT_COLOUR, LEFT_COLOUR, SCORE_COLOUR, LOCATION_COLOUR = "#56B4E9", "#E69F00", "#0072B2", "#D55E00"
# Also told apart by lightness and by their outlines.
LESION_COLOURS = {GROUND_GLASS: "#CC79A7", CONSOLIDATION: "#F0E442"}
_LESION_OUTLINES = {GROUND_GLASS: "dashed", CONSOLIDATION: "solid"}
INK, PALE = "#1b1b1b", "#6b6b6b"


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def lesion_patches() -> list[Patch]:
    """Return what a legend shows for each class of lesions."""
    return [Patch(facecolor=LESION_COLOURS[label], edgecolor=INK, label=name) for name, label in LESION_LABELS.items()]


def lung_patches() -> list[Patch]:
    """Return what a legend shows for the outlines of the lungs."""
    sides = ((RIGHT_COLOUR, "right lung"), (LEFT_COLOUR, "left lung"))
    return [Patch(facecolor="none", edgecolor=colour, linewidth=1.5, label=name) for colour, name in sides]


def reading_note(volume: Volume) -> str:
    """Return in sentences how slices are shown and counted."""
    window = (
        f"Lung window, {LUNG_WINDOW.lower:g} to {LUNG_WINDOW.upper:g} HU. " if volume.unit is Unit.HOUNSFIELD else ""
    )
    return f"{window}Slices are counted from the foot; the patient's right is on the left."


def shown_slices(result: StudyResult) -> list[int]:
    """The slice of the location map's maximum, and two that quarter the kept range, from head to foot."""
    first, last = result.provenance.kept_slices
    quarters = [first + round((last - first) * share) for share in (0.25, 0.5, 0.75)]
    peak = result.location_map.peak_slice if result.location_map else None
    if peak is not None:
        nearest = min(range(3), key=lambda place: abs(quarters[place] - peak))
        quarters[nearest] = peak
    return sorted(quarters, reverse=True)


def lung_box(lungs: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
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


def axial(
    axes: Axes,
    volume: Volume,
    classification: Classification,
    index: int,
    box: tuple[slice, slice],
    *,
    letters: float = 12,
) -> None:
    """Draw one slice with the outlines of the lungs, and lesions or else the location map.

    Parameters
    ----------
    axes
        Where to.
    volume, classification
        The study and its result, on one grid.
    index
        Canonical slice, 0 at the foot.
    box
        Rows and columns to show, of `lung_box`.
    letters
        Size of R and L in points.
    """
    gray = gray8_slices(volume, LUNG_WINDOW, np.array([index]))[0]
    _, row, column = volume.spacing
    _show(axes, gray[box], classification, (index, *box), row / column, "upper", letters)
    peak = classification.result.location_map.peak_slice if classification.result.location_map else None
    note = " (maximum of the location map)" if index == peak else ""
    axes.set_title(f"Slice {index + 1} of {volume.shape[0]}{note}", size=9, color=INK)


def coronal(
    axes: Axes, volume: Volume, classification: Classification, box: tuple[slice, slice], *, letters: float = 12
) -> None:
    """Draw the coronal section that holds most lung, see `axial`."""
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
    _show(axes, gray, classification, (slice(None), row, columns), aspect, "lower", letters)
    axes.set_title("Coronal section through most of the lungs", size=9, color=INK)


def _show(
    axes: Axes,
    gray: npt.NDArray[np.uint8],
    classification: Classification,
    section: tuple[Any, Any, Any],
    aspect: Any,
    origin: Any,
    letters: float,
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
        axes.text(place, 0.5, text, transform=axes.transAxes, color="white", ha="center", va="center", size=letters)
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


def evidence_chart(axes: Axes, result: StudyResult, shown: list[int]) -> None:
    """Draw score and lesions, or else location map, over the kept slices.

    Parameters
    ----------
    axes
        Where to.
    result
        The result.
    shown
        Canonical slices to mark.
    """
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
