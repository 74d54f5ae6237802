"""`Estimate`: a number with its interval and what it was counted over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError

IndexArray = npt.NDArray[np.intp]

CONFIDENCE = 0.95
REPETITIONS = 2000
# Of the bootstrap samples, this share must allow the statistic (both classes drawn), or no interval is given.
_USABLE_SHARE = 0.9
_NORMAL_QUANTILE = 1.959963984540054  # of 0.975
# Repetitions that differ by less are equal: the rest is rounding.
_EQUAL = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A measured value.

    Parameters
    ----------
    value
        The statistic on all units.
    lower, upper
        Limits of its 95 % interval; None where there is a single unit, too few of a class, or a bootstrap whose
        repetitions all agree.
    count
        Independent units behind it: patients, studies, or blocks of neighbouring slices.
    """

    value: float
    lower: float | None
    upper: float | None
    count: int


def bootstrap(
    statistic: Callable[[IndexArray], float],
    units: Sequence[IndexArray],
    *,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    without_width: bool = False,
) -> Estimate:
    """Estimate a statistic with a percentile bootstrap interval over independent units.

    Parameters
    ----------
    statistic
        Gets indices of observations, returns a number; NaN where it does not exist (a class is missing).
    units
        Indices of the observations of each unit. Observations of one unit (studies of one patient, slices of one
        block) are drawn together, because they are not independent.
    repetitions, seed
        Of the resampling.
    without_width
        Give an interval also where all repetitions are equal: for differences, which may be none at all.

    Returns
    -------
    Estimate
        With few units the interval is too narrow: read it together with `Estimate.count`. Where all repetitions are
        equal there is no interval: an interval without width would claim certainty.

    Raises
    ------
    ParameterError
        If there is no unit, or the statistic does not exist on all of them.
    """
    if len(units) == 0:
        raise ParameterError("There is nothing to estimate from.", "Give at least one observation.")
    value = float(statistic(np.concatenate(units)))
    if np.isnan(value):
        raise ParameterError("The statistic does not exist on these observations.", "Both classes are needed.")
    if len(units) < 2:
        return Estimate(value, None, None, len(units))
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(len(units), size=len(units)) for _ in range(repetitions))
    values = np.array([statistic(np.concatenate([units[unit] for unit in chosen])) for chosen in drawn])
    usable = values[~np.isnan(values)]
    if usable.size < _USABLE_SHARE * repetitions or (np.ptp(usable) < _EQUAL and not without_width):
        return Estimate(value, None, None, len(units))
    lower, upper = np.percentile(usable, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return Estimate(value, float(lower), float(upper), len(units))


def mean_estimate(values: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Estimate:
    """Mean of values whose bootstrap draws whole groups, for example the studies of a patient.

    Raises
    ------
    ParameterError
        If there are no values.
    """
    observed = np.asarray(values, np.float64)
    return bootstrap(lambda chosen: float(observed[chosen].mean()), units_by_group(groups), seed=seed)


def units_by_group(groups: Sequence[str]) -> list[IndexArray]:
    """Indices of the observations of each group, groups in the order of their first observation."""
    names = np.asarray(groups)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]


def neighbouring_blocks(count: int, length: int) -> list[IndexArray]:
    """Cut `count` neighbouring observations into blocks of `length`, the last one shorter.

    Raises
    ------
    ParameterError
        If the length is not positive.
    """
    if length < 1:
        raise ParameterError(f"A block of {length} slices is empty.", "Give a length of at least 1.")
    return [np.arange(first, min(first + length, count)) for first in range(0, count, length)]


def wilson(successes: int, count: int) -> Estimate:
    """Proportion with Wilson's 95 % score interval (Wilson, J Am Stat Assoc 22:209-212, 1927).

    Raises
    ------
    ParameterError
        If there are no trials, or more successes than trials.
    """
    if count < 1 or not 0 <= successes <= count:
        raise ParameterError(f"{successes} of {count} is not a proportion.", "Count again.")
    return wilson_of_share(successes / count, count)


def wilson_of_share(share: float, count: int) -> Estimate:
    """Wilson's 95 % score interval of a share that was counted over fewer independent trials than observations.

    Parameters
    ----------
    share
        In [0, 1].
    count
        Independent trials, for example blocks of neighbouring slices.

    Raises
    ------
    ParameterError
        If there are no trials, or the share is none.
    """
    if count < 1 or not 0 <= share <= 1:
        raise ParameterError(f"{share} of {count} trials is not a share.", "Count again.")
    square = _NORMAL_QUANTILE**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = _NORMAL_QUANTILE / (1 + square / count) * np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return Estimate(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)), count)
