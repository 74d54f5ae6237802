"""Which slices show open lungs: the range that goes into the clips.

Two published rules and a corrected one. The text of Tan and Liu (arXiv 2106.14403, section 3.3) filters: it drops
every slice below 0.7 of the largest lung share, and lowers the factor by 0.1 until 8 slices remain. Their code
(preprocess/generate-BERT-train-val-list-lungmask.ipynb) keeps everything between the first and the last slice above
the factor, until the two are 8 apart, and has no way out when that never happens. At test time their code takes the
first factor at which two slices pass; their second system (arXiv 2206.14861) is content with two apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.lungs.mask import LungMask

FloatVector = npt.NDArray[np.float64]
IndexVector = npt.NDArray[np.intp]


@dataclass(frozen=True)
class SelectionRule:
    """How slices are chosen from their lung areas.

    Parameters
    ----------
    contiguous
        Keep all slices between the first and the last one that passes, not only those that pass.
    minimum
        With `contiguous`, slices that the range must hold; else slices that must pass. The factor is lowered by 0.1
        until that is so.
    lowest_tenths
        Lowest factor in tenths; 0 lets every slice pass.
    all_if_short
        Take all slices if `minimum` is not reached at the lowest factor.
    start_tenths
        First factor in tenths.
    """

    contiguous: bool
    minimum: int
    lowest_tenths: int
    all_if_short: bool
    start_tenths: int = 7


SELECTION_RULES = {
    "corrected": SelectionRule(contiguous=True, minimum=8, lowest_tenths=1, all_if_short=True),
    # "last - first >= 8" in the authors' code: nine slices.
    "published": SelectionRule(contiguous=True, minimum=9, lowest_tenths=1, all_if_short=False),
    "published_test": SelectionRule(contiguous=True, minimum=2, lowest_tenths=1, all_if_short=False),
    "published_two_stage": SelectionRule(contiguous=True, minimum=3, lowest_tenths=1, all_if_short=False),
    "published_paper": SelectionRule(contiguous=False, minimum=8, lowest_tenths=0, all_if_short=False),
}


def lung_area(lungs: LungMask, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> FloatVector:
    """Lung area of each slice.

    Parameters
    ----------
    lungs
        Mask of (slices, rows, columns).
    spacing
        `Volume.spacing` in mm for areas in mm2; without it the areas are in pixels.
    """
    pixels = np.array([np.count_nonzero(plane) for plane in lungs.array], np.float64)
    return pixels * spacing[1] * spacing[2]


def lung_share(lungs: LungMask) -> FloatVector:
    """Share of lung among the pixels of each slice, in [0, 1]."""
    return lung_area(lungs) / (lungs.array.shape[1] * lungs.array.shape[2])


def open_lung_slices(lungs: LungMask | FloatVector, *, rule: str = "corrected") -> IndexVector:
    """Choose the slices with open lungs.

    Parameters
    ----------
    lungs
        A lung mask, or any measure of lung for each slice: `lung_area`, `lung_share`, or for the published rules the
        authors' own `covid_bert.lungs.gray_level.published_dark_share`.
    rule
        Key of `SELECTION_RULES`.

    Returns
    -------
    index array
        Sorted indices of at least one slice.

    Raises
    ------
    ParameterError
        If there is no such rule, or no slice.
    """
    if rule not in SELECTION_RULES:
        raise ParameterError(f"There is no slice rule '{rule}'.", f"Choose one of {', '.join(SELECTION_RULES)}.")
    return _choose(_areas(lungs), SELECTION_RULES[rule])


def open_lung_range(lungs: LungMask | FloatVector, *, minimum_slices: int = 8, start: float = 0.7) -> tuple[int, int]:
    """Return first and last slice (both included) of the corrected rule, with other limits if wanted.

    Parameters
    ----------
    lungs
        A lung mask, or a measure of lung for each slice.
    minimum_slices
        Slices that the range must hold; all slices are taken if it cannot.
    start
        First factor, in tenths of the largest area: 0.1 to 1.
    """
    tenths = round(start * 10)
    if not 1 <= tenths <= 10 or abs(tenths - start * 10) > 1e-6 or minimum_slices < 1:
        raise ParameterError(
            "The limits of the open-lung range are not allowed.",
            "Start at 0.1, 0.2, ... 1.0 of the largest area and ask for at least one slice.",
        )
    rule = SelectionRule(
        contiguous=True, minimum=minimum_slices, lowest_tenths=1, all_if_short=True, start_tenths=tenths
    )
    chosen = _choose(_areas(lungs), rule)
    return int(chosen[0]), int(chosen[-1])


def _areas(lungs: LungMask | FloatVector) -> FloatVector:
    areas = lung_area(lungs) if isinstance(lungs, LungMask) else np.asarray(lungs, np.float64)
    if areas.ndim != 1 or areas.size == 0 or not np.isfinite(areas).all():
        raise ParameterError("Slices cannot be chosen from these lung areas.", "Give one finite number for each slice.")
    return areas


def _choose(areas: FloatVector, rule: SelectionRule) -> IndexVector:
    everything = np.arange(areas.size)
    chosen = everything
    for tenths in range(rule.start_tenths, rule.lowest_tenths - 1, -1):
        passing = np.flatnonzero(areas >= areas.max() * (tenths / 10))
        chosen = np.arange(passing[0], passing[-1] + 1) if rule.contiguous else passing
        if chosen.size >= rule.minimum:
            return chosen
    return everything if rule.all_if_short else chosen
