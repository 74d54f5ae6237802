"""Metrics of masks, maps and scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.stats import rankdata

from covid_bert.errors import ParameterError
from covid_bert.evaluation.estimates import Estimate, IndexArray, bootstrap, units_by_group, wilson
from covid_bert.lungs.distance import distance_inside

Mask = npt.NDArray[np.generic]
Spacing = tuple[float, float, float]


def dice(first: Mask, second: Mask) -> float | None:
    """Dice coefficient of two masks (non-zero is inside); None where both are empty.

    Raises
    ------
    ParameterError
        If the shapes differ.
    """
    _same_shape(first, second)
    # A slice at a time: comparing whole studies at once would take several more arrays.
    both = total = 0
    for one, other in zip(first, second, strict=True):
        inside, also = one != 0, other != 0
        both += int(np.count_nonzero(inside & also))
        total += int(np.count_nonzero(inside)) + int(np.count_nonzero(also))
    return 2 * both / total if total else None


def share_inside(inner: Mask, outer: Mask) -> float | None:
    """Share of the voxels of one mask that lie inside another (non-zero is inside); None where the first is empty.

    Raises
    ------
    ParameterError
        If the shapes differ.
    """
    _same_shape(inner, outer)
    both = total = 0
    for one, other in zip(inner, outer, strict=True):
        total += int(np.count_nonzero(one))
        both += int(np.count_nonzero((one != 0) & (other != 0)))
    return both / total if total else None


def mean_surface_distance(first: Mask, second: Mask, spacing: Spacing) -> float | None:
    """Symmetric mean distance in mm between the surfaces of two masks, over the surface voxels of both.

    Parameters
    ----------
    first, second
        (slices, rows, columns), non-zero is inside.
    spacing
        mm between slices, rows and columns.

    Returns
    -------
    float or None
        None where a mask is empty.

    Raises
    ------
    ParameterError
        If the shapes differ.
    """
    _same_shape(first, second)
    if not first.any() or not second.any():
        return None
    # A margin of one voxel, so that a surface at the border of the box is one.
    box = _common_box(first, second)
    surfaces = [_surface(np.pad(mask[box] != 0, 1)) for mask in (first, second)]
    distances = [
        distance_inside(~surface, spacing)[other] for surface, other in zip(surfaces, reversed(surfaces), strict=True)
    ]
    return float(np.concatenate(distances).mean())


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties counted by half.

    Parameters
    ----------
    scores
        (n), larger for positives.
    labels
        (n), true for positives.

    Returns
    -------
    float
        In [0, 1]; NaN where a class is missing.

    Raises
    ------
    ParameterError
        If the lengths differ or a score is not a number.
    """
    values, positive = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if values.shape != positive.shape or values.ndim != 1:
        raise ParameterError("Scores and labels do not belong together.", "Give one label for each score.")
    if np.isnan(values).any():
        raise ParameterError("A score is not a number.", "Leave out what has no score.")
    positives = int(np.count_nonzero(positive))
    negatives = positive.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = float(rankdata(values)[positive].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def auc_estimate(
    scores: npt.ArrayLike, labels: npt.ArrayLike, units: Sequence[IndexArray], *, seed: int = 0
) -> Estimate | None:
    """AUC with its bootstrap interval over units; None where a class is missing."""
    values, positive = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if np.isnan(auc(values, positive)):
        return None
    return bootstrap(lambda chosen: auc(values[chosen], positive[chosen]), units, seed=seed)


def grouped_auc(
    scores: npt.ArrayLike, labels: npt.ArrayLike, groups: Sequence[str], *, seed: int = 0
) -> Estimate | None:
    """AUC with its bootstrap interval over groups of studies, for example patients; None where a class is missing."""
    return auc_estimate(scores, labels, units_by_group(groups), seed=seed)


def sensitivity_specificity(decisions: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Estimate | None, Estimate | None]:
    """Sensitivity and specificity of decisions, each with Wilson's interval; None for a class that is missing.

    Parameters
    ----------
    decisions, labels
        (n), true for positive. Each must be of an independent unit: the interval knows of no groups.

    Raises
    ------
    ParameterError
        If the lengths differ.
    """
    decided, positive = np.asarray(decisions, bool), np.asarray(labels, bool)
    if decided.shape != positive.shape:
        raise ParameterError("Decisions and labels do not belong together.", "Give one label for each decision.")
    found = []
    for right, members in ((decided, positive), (~decided, ~positive)):
        count = int(np.count_nonzero(members))
        found.append(wilson(int(np.count_nonzero(right & members)), count) if count else None)
    return found[0], found[1]


def pointing_game(strength: npt.NDArray[np.generic], lesions: Mask) -> float | None:
    """Whether the maximum of a map lies in a true lesion (Zhang et al., Int J Comput Vis 126:1084-1102, 2018).

    Parameters
    ----------
    strength
        (slices, rows, columns): the map.
    lesions
        True lesions on the same grid, non-zero is inside.

    Returns
    -------
    float or None
        0 or 1; where several voxels share the maximum, the share of them that lies in a lesion. None for a map
        without a maximum (constant) or a study without lesions.

    Raises
    ------
    ParameterError
        If the shapes differ.
    """
    _same_shape(strength, lesions)
    highest = strength.max()
    if not lesions.any() or strength.min() == highest:
        return None
    hits = total = 0
    for plane, lesion in zip(strength, lesions, strict=True):
        top = plane == highest
        total += int(np.count_nonzero(top))
        hits += int(np.count_nonzero(top & (lesion != 0)))
    return hits / total


def _same_shape(first: Mask, second: Mask) -> None:
    if first.shape != second.shape:
        raise ParameterError(
            f"The masks lie on different grids: {first.shape} and {second.shape}.", "Bring them onto one grid."
        )


def _common_box(first: Mask, second: Mask) -> tuple[slice, ...]:
    box = []
    for axis in range(first.ndim):
        others = tuple(other for other in range(first.ndim) if other != axis)
        places = np.flatnonzero(first.any(axis=others) | second.any(axis=others))
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)


def _surface(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Voxels of the mask with a face to the outside."""
    return mask & ~ndimage.binary_erosion(mask)
