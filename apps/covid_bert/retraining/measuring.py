"""What versions are measured by: on which data, by which numbers, alone and paired with another version.

A difference gets a 95 % interval by a paired bootstrap over patients: both versions are judged on the same drawn
patients. Studies of one patient are drawn together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.evaluation.estimates import IndexArray, bootstrap, units_by_group
from covid_bert.evaluation.metrics import auc
from covid_bert.retraining.records import Comparison, Measured

# Patients that no training learns from: those who decide when a fit ends and how it is calibrated, those who have no
# say in the fit, and both together, on whom the gate decides.
VALIDATION, TEST, HELD_OUT = "frozen validation set", "frozen test set", "frozen held-out patients"
REFERENCE = "reference studies"
DICE, LOG_LOSS, AUC = "mean Dice of both lungs", "negative log loss of the finding", "area under the ROC curve"
AGREEMENT = "mean Dice between the masks of the candidate and of the live version"
CALIBRATED_LOSS = "negative log loss of the calibrated probability"
BALANCED = "balanced accuracy at the operating point"
# By how much a candidate may be worse, by measure and data. On reference studies the live version is at home, since
# they are made as its training studies were: there only damage is looked for.
MARGINS = {
    (DICE, HELD_OUT): 0.005,
    (DICE, REFERENCE): 0.01,
    (LOG_LOSS, HELD_OUT): 0.05,
    (LOG_LOSS, REFERENCE): 0.3,
    (AUC, HELD_OUT): 0.05,
    (AUC, REFERENCE): 0.2,
}
# Probabilities are clipped there, so that one sure mistake is dear but not without end.
_LEAST_PROBABILITY = 1e-3
_EQUAL = 1e-9

Values = npt.NDArray[np.float64]
Statistic = Callable[[Values, IndexArray], float]


def compare_dice(
    other: Sequence[float], candidate: Sequence[float], patients: Sequence[str], data: str, *, against: str
) -> Comparison:
    """Compare mean Dice.

    Parameters
    ----------
    other, candidate
        Dice of each case in [0, 1]: the mean of both lungs; not a number counts as 0.
    patients
        Whose case it is.
    data
        `HELD_OUT` or `REFERENCE`.
    against
        The other version.

    Raises
    ------
    ParameterError
        If there is no case, or the lengths differ.
    """
    before, after = (_without_gaps(values) for values in (other, candidate))
    return _compare(DICE, data, against, before, after, patients, _mean)


def compare_classifiers(
    other: Sequence[float],
    candidate: Sequence[float],
    positive: Sequence[bool],
    patients: Sequence[str],
    data: str,
    *,
    against: str,
) -> tuple[Comparison, Comparison]:
    """Compare negative log loss and AUC.

    Parameters
    ----------
    other, candidate
        Score of the finding of each study in [0, 1]; not a number counts as sure of what is wrong.
    positive
        Whether the study has the finding; both must occur.
    patients
        Whose study it is.
    data
        `HELD_OUT` or `REFERENCE`.
    against
        The other version.

    Raises
    ------
    ParameterError
        If there is no study of a class, or the lengths differ.
    """
    truth = np.asarray(positive, np.bool_)
    before, after = (_sure_of_what_is_wrong(values, truth) for values in (other, candidate))
    losses = (log_likelihood(before, truth), log_likelihood(after, truth))
    return (
        _compare(LOG_LOSS, data, against, *losses, patients, _mean),
        _compare(AUC, data, against, before, after, patients, functools.partial(_area, truth)),
    )


def log_likelihood(scores: Values, positive: npt.NDArray[np.bool_]) -> Values:
    """Logarithm of the probability of what is true, of each study; at least log(0.001)."""
    return np.asarray(np.log(np.clip(np.where(positive, scores, 1.0 - scores), _LEAST_PROBABILITY, 1.0)))


def measure_dice(
    values: Sequence[float], patients: Sequence[str], data: str, *, without_width: bool = False
) -> Measured:
    """Measure one version alone; parameters and errors as `compare_dice`, `without_width` as for `bootstrap`."""
    return _measure(DICE, data, _without_gaps(values), patients, _mean, without_width=without_width)


def measure_agreement(values: Sequence[float], patients: Sequence[str]) -> Measured:
    """Measure how far two versions mark the same voxels of held-out images; no label is looked at.

    Parameters
    ----------
    values
        Dice between both masks of each study in [0, 1].
    patients
        Whose study it is.

    Raises
    ------
    ParameterError
        If there is no study, or the lengths differ.
    """
    # Equal versions agree, and surely so.
    return _measure(AGREEMENT, HELD_OUT, _without_gaps(values), patients, _mean, without_width=True)


def measure_classifier(
    scores: Sequence[float],
    positive: Sequence[bool],
    patients: Sequence[str],
    data: str,
    *,
    without_width: bool = False,
) -> tuple[Measured, Measured]:
    """Measure one version alone; parameters and errors as `compare_classifiers`, `without_width` as for `bootstrap`."""
    truth = np.asarray(positive, np.bool_)
    values = _sure_of_what_is_wrong(scores, truth)
    losses, area = log_likelihood(values, truth), functools.partial(_area, truth)
    return (
        _measure(LOG_LOSS, data, losses, patients, _mean, without_width=without_width),
        _measure(AUC, data, values, patients, area, without_width=without_width),
    )


def measure_calibrated(
    probability: Sequence[float], threshold: float, positive: Sequence[bool], patients: Sequence[str], data: str
) -> tuple[Measured, Measured]:
    """Measure a calibrated probability and its operating point on studies that neither was chosen on.

    Parameters
    ----------
    probability
        Of the finding, of each study.
    threshold
        From which on it is called.
    positive, patients, data
        As for `compare_classifiers`, and errors too.
    """
    truth = np.asarray(positive, np.bool_)
    values = _sure_of_what_is_wrong(probability, truth)
    right = (values >= threshold) == truth
    return (
        _measure(CALIBRATED_LOSS, data, log_likelihood(values, truth), patients, _mean),
        _measure(BALANCED, data, right.astype(np.float64), patients, functools.partial(_balanced, truth)),
    )


def _mean(values: Values, chosen: IndexArray) -> float:
    return float(values[chosen].mean())


def _area(positive: npt.NDArray[np.bool_], values: Values, chosen: IndexArray) -> float:
    return auc(values[chosen], positive[chosen])


def _balanced(positive: npt.NDArray[np.bool_], right: Values, chosen: IndexArray) -> float:
    truth, drawn = positive[chosen], right[chosen]
    if truth.all() or not truth.any():
        return float("nan")
    return float((drawn[truth].mean() + drawn[~truth].mean()) / 2)


def _without_gaps(values: Sequence[float]) -> Values:
    return np.nan_to_num(np.asarray(values, np.float64), nan=0.0)


def _sure_of_what_is_wrong(values: Sequence[float], positive: npt.NDArray[np.bool_]) -> Values:
    """Scores, where those that are no numbers are as wrong as can be."""
    scores = np.asarray(values, np.float64)
    if scores.shape != positive.shape:
        raise ParameterError("Scores and classes do not belong together.", "Give one class for each score.")
    return np.where(np.isfinite(scores), scores, np.where(positive, 0.0, 1.0))


def _measure(
    measure: str,
    data: str,
    values: Values,
    patients: Sequence[str],
    statistic: Statistic,
    *,
    without_width: bool = False,
) -> Measured:
    _check_lengths(values, patients)
    found = bootstrap(functools.partial(statistic, values), units_by_group(patients), without_width=without_width)
    return Measured(
        measure=measure, value=found.value, lower=found.lower, upper=found.upper, patients=found.count, data=data
    )


def _compare(
    measure: str,
    data: str,
    against: str,
    other: Values,
    candidate: Values,
    patients: Sequence[str],
    statistic: Statistic,
) -> Comparison:
    _check_lengths(other, patients)
    _check_lengths(candidate, patients)

    def difference(chosen: IndexArray) -> float:
        return statistic(candidate, chosen) - statistic(other, chosen)

    margin = MARGINS[measure, data]
    # Equal versions differ by nothing, and surely so.
    found = bootstrap(difference, units_by_group(patients), without_width=True)
    every = np.arange(len(other))
    return Comparison(
        measure=measure,
        data=data,
        against=against,
        other=statistic(other, every),
        candidate=statistic(candidate, every),
        difference=found.value,
        lower=found.lower,
        upper=found.upper,
        margin=margin,
        patients=found.count,
        # Rounding must not decide where the difference is the margin itself.
        passed=found.lower is not None and found.lower >= -margin - _EQUAL,
    )


def _check_lengths(values: Values, patients: Sequence[str]) -> None:
    if len(values) != len(patients):
        raise ParameterError("Values and patients do not belong together.", "Give one patient for each value.")
