"""The gate: whether a trained version may go live in place of the one that is.

Candidate and live version are judged on the same studies: those of the frozen validation set, and reference studies
that no label can change. Of each measure, the difference (candidate minus live) gets a 95 % interval by a paired
bootstrap over patients: both versions are judged on the same drawn patients. A candidate passes if no lower limit is
worse than the margin of its measure. Studies of one patient are drawn together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.evaluation.estimates import IndexArray, bootstrap, units_by_group
from covid_bert.evaluation.metrics import auc
from covid_bert.retraining.records import Comparison, GateDecision, Measured

VALIDATION, REFERENCE = "frozen validation set", "reference studies"
DICE, LOG_LOSS, AUC = "mean Dice of both lungs", "negative log loss of the finding", "area under the ROC curve"
# By how much a candidate may be worse, by measure and data. On reference studies the live version is at home, since
# they are made as its training studies were: there only damage is looked for.
MARGINS = {
    (DICE, VALIDATION): 0.005,
    (DICE, REFERENCE): 0.01,
    (LOG_LOSS, VALIDATION): 0.05,
    (LOG_LOSS, REFERENCE): 0.3,
    (AUC, VALIDATION): 0.05,
    (AUC, REFERENCE): 0.2,
}
# Probabilities are clipped there, so that one sure mistake is dear but not without end.
_LEAST_PROBABILITY = 1e-3
_EQUAL = 1e-9
# On studies that it was not trained on, a model that is worse than chance contradicts the labels, or they it.
_CHANCE = 0.5

Values = npt.NDArray[np.float64]
Statistic = Callable[[Values, IndexArray], float]


@dataclass(frozen=True)
class Rule:
    """The written rule for one kind of model.

    Parameters
    ----------
    groups
        What is counted among the patients of the frozen validation set.
    minimum
        Least patients of each.
    measures
        That must be compared on the validation set and on the reference studies.
    """

    groups: tuple[str, ...]
    minimum: int
    measures: tuple[str, ...]

    @property
    def text(self) -> str:
        """The rule for people."""
        needed = " and ".join(f"{self.minimum} {group}" for group in self.groups)
        margins = "; ".join(
            f"{measure}: {MARGINS[measure, VALIDATION]:g} on the {VALIDATION}, "
            f"{MARGINS[measure, REFERENCE]:g} on the {REFERENCE}"
            for measure in self.measures
        )
        return (
            f"The {VALIDATION} holds at least {needed}; and the lower limit of the 95 % interval of candidate minus "
            f"live version, by a paired bootstrap over patients, is at least minus the margin ({margins})."
            + (f" The {AUC} on the {VALIDATION} is not below {_CHANCE:g}." if AUC in self.measures else "")
        )


LUNGS_RULE = Rule(("patients with a corrected lung mask",), 3, (DICE,))
CLASSIFIER_RULE = Rule(("patients with COVID-19", "patients without"), 5, (LOG_LOSS, AUC))


def decide(comparisons: Sequence[Comparison], rule: Rule, counts: Sequence[int], *, against: str) -> GateDecision:
    """Decide whether a candidate may go live.

    Parameters
    ----------
    comparisons
        All that were made; a measure that the rule asks for and that is missing counts against the candidate.
    rule
        Of the kind of model.
    counts
        Patients of the frozen validation set in each of `Rule.groups`.
    against
        Version that it was compared with.

    Returns
    -------
    GateDecision
        With a reason for people, whatever it is.

    Raises
    ------
    ParameterError
        If `counts` does not fit the rule.
    """
    if len(counts) != len(rule.groups):
        raise ParameterError("The counts do not fit the rule.", f"Count {', '.join(rule.groups)}.")
    sentences = [
        f"The {VALIDATION} has {count} {group}; {rule.minimum - count} more are needed."
        for count, group in zip(counts, rule.groups, strict=True)
        if count < rule.minimum
    ]
    made = {(item.measure, item.data) for item in comparisons}
    # Where there are too few patients, that is the reason.
    needed = (REFERENCE,) if sentences else (VALIDATION, REFERENCE)
    sentences += [
        f"The {measure} was not compared on the {data}."
        for data in needed
        for measure in rule.measures
        if (measure, data) not in made
    ]
    sentences += [_sentence(item) for item in comparisons if not item.passed]
    sentences += [
        f"The {AUC} on the {VALIDATION} is {item.candidate:.3f}, worse than chance: look whether classes were "
        "exchanged in the study labels."
        for item in comparisons
        if (item.measure, item.data) == (AUC, VALIDATION) and item.candidate < _CHANCE
    ]
    passed = not sentences
    reason = f"It is not worse than {against}." if passed else " ".join(sentences)
    return GateDecision(passed=passed, reason=reason, rule=rule.text, against=against, comparisons=tuple(comparisons))


def compare_dice(live: Sequence[float], candidate: Sequence[float], patients: Sequence[str], data: str) -> Comparison:
    """Compare mean Dice.

    Parameters
    ----------
    live, candidate
        Dice of each case in [0, 1]: the mean of both lungs; not a number counts as 0.
    patients
        Whose case it is.
    data
        `VALIDATION` or `REFERENCE`.

    Raises
    ------
    ParameterError
        If there is no case, or the lengths differ.
    """
    before, after = (np.nan_to_num(np.asarray(values, np.float64), nan=0.0) for values in (live, candidate))
    return _compare(DICE, data, before, after, patients, _mean)


def compare_classifiers(
    live: Sequence[float], candidate: Sequence[float], positive: Sequence[bool], patients: Sequence[str], data: str
) -> tuple[Comparison, Comparison]:
    """Compare negative log loss and AUC.

    Parameters
    ----------
    live, candidate
        Score of the finding of each study in [0, 1]; not a number counts as sure of what is wrong.
    positive
        Whether the study has the finding; both must occur.
    patients
        Whose study it is.
    data
        `VALIDATION` or `REFERENCE`.

    Raises
    ------
    ParameterError
        If there is no study of a class, or the lengths differ.
    """
    truth = np.asarray(positive, np.bool_)
    before, after = (_without_gaps(values, truth) for values in (live, candidate))

    losses = (log_likelihood(before, truth), log_likelihood(after, truth))
    return (
        _compare(LOG_LOSS, data, *losses, patients, _mean),
        _compare(AUC, data, before, after, patients, functools.partial(_area, truth)),
    )


def log_likelihood(scores: Values, positive: npt.NDArray[np.bool_]) -> Values:
    """Logarithm of the probability of what is true, of each study; at least log(0.001)."""
    return np.asarray(np.log(np.clip(np.where(positive, scores, 1.0 - scores), _LEAST_PROBABILITY, 1.0)))


def measure_dice(values: Sequence[float], patients: Sequence[str], data: str) -> Measured:
    """Measure one version alone; parameters and errors as `compare_dice`."""
    observed = np.nan_to_num(np.asarray(values, np.float64), nan=0.0)
    return _measure(DICE, data, observed, patients, _mean)


def measure_classifier(
    scores: Sequence[float], positive: Sequence[bool], patients: Sequence[str], data: str
) -> tuple[Measured, Measured]:
    """Measure one version alone; parameters and errors as `compare_classifiers`."""
    truth = np.asarray(positive, np.bool_)
    values = _without_gaps(scores, truth)
    return (
        _measure(LOG_LOSS, data, log_likelihood(values, truth), patients, _mean),
        _measure(AUC, data, values, patients, functools.partial(_area, truth)),
    )


def _mean(values: Values, chosen: IndexArray) -> float:
    return float(values[chosen].mean())


def _area(positive: npt.NDArray[np.bool_], values: Values, chosen: IndexArray) -> float:
    return auc(values[chosen], positive[chosen])


def _without_gaps(values: Sequence[float], positive: npt.NDArray[np.bool_]) -> Values:
    scores = np.asarray(values, np.float64)
    if scores.shape != positive.shape:
        raise ParameterError("Scores and classes do not belong together.", "Give one class for each score.")
    return np.where(np.isfinite(scores), scores, np.where(positive, 0.0, 1.0))


def _measure(measure: str, data: str, values: Values, patients: Sequence[str], statistic: Statistic) -> Measured:
    _check_lengths(values, patients)
    found = bootstrap(functools.partial(statistic, values), units_by_group(patients))
    return Measured(
        measure=measure, value=found.value, lower=found.lower, upper=found.upper, patients=found.count, data=data
    )


def _compare(
    measure: str, data: str, live: Values, candidate: Values, patients: Sequence[str], statistic: Statistic
) -> Comparison:
    _check_lengths(live, patients)
    _check_lengths(candidate, patients)

    def difference(chosen: IndexArray) -> float:
        return statistic(candidate, chosen) - statistic(live, chosen)

    margin = MARGINS[measure, data]
    # Equal versions differ by nothing, and surely so.
    found = bootstrap(difference, units_by_group(patients), without_width=True)
    every = np.arange(len(live))
    return Comparison(
        measure=measure,
        data=data,
        live=statistic(live, every),
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


def _sentence(item: Comparison) -> str:
    if item.lower is None:
        return f"There are too few patients to compare the {item.measure} on the {item.data}."
    return (
        f"The {item.measure} on the {item.data} went from {item.live:.3f} to {item.candidate:.3f}; it may be lower by "
        f"{-item.lower:.3f}, and {item.margin:g} is allowed."
    )
