"""How far readers agree: Dice of their masks, kappa of their classes, with intervals over patients.

Cohen's kappa is for two readers (Cohen, Educ Psychol Meas 20:37-46, 1960), Fleiss' for all of them together (Fleiss,
Psychol Bull 76:378-382, 1971), here also where cases have different numbers of readers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.evaluation.estimates import Estimate, IndexArray, bootstrap, mean_estimate, units_by_group
from covid_bert.evaluation.metrics import dice


@dataclass(frozen=True)
class ReadCase:
    """What the readers say of one case.

    Parameters
    ----------
    patient
        Key of the person.
    classes
        Class by reader.
    dices
        Dice of both lungs by pair of readers, each pair in the order of the alphabet.
    """

    patient: str
    classes: Mapping[str, str]
    dices: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class PairAgreement:
    """How far two readers agree.

    Parameters
    ----------
    first, second
        Their names, in the order of the alphabet.
    cases
        That both have labelled.
    estimate
        Mean Dice in [0, 1], or kappa in [-1, 1]; None where kappa does not exist because both said one class only.
    """

    first: str
    second: str
    cases: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Agreement:
    """How far all readers agree.

    Parameters
    ----------
    masks
        Mean Dice of each pair with common masks.
    classes
        Cohen's kappa of each pair with common cases.
    fleiss
        Fleiss' kappa of all; None without cases of several readers, or where all said one class.
    fleiss_cases
        Cases of several readers.
    """

    masks: tuple[PairAgreement, ...]
    classes: tuple[PairAgreement, ...]
    fleiss: Estimate | None
    fleiss_cases: int


def lungs_dice(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Mean of the Dice of the right and of the left lung, in [0, 1]; swapped sides count as wrong.

    Raises
    ------
    ParameterError
        If the shapes differ, or a lung is empty in both.
    """
    sides = [dice(first == side, second == side) for side in (1, 2)]
    found = [side for side in sides if side is not None]
    if len(found) < len(sides):
        raise ParameterError("A lung is missing in both masks.", "Compare masks of two lungs.")
    return float(np.mean(found))


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa of two readers; NaN where both said one and the same class of all cases.

    Parameters
    ----------
    first, second
        Their classes of the same cases, at least one.
    """
    count = len(first)
    observed = sum(one == other for one, other in zip(first, second, strict=True)) / count
    often, also = Counter(first), Counter(second)
    expected = sum(often[name] * also[name] for name in often) / count**2
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def fleiss_kappa(cases: Sequence[Sequence[str]]) -> float:
    """Fleiss' kappa; NaN where only one class was said.

    Parameters
    ----------
    cases
        Classes that the readers of each case said, at least two readers each, in any order.
    """
    counts = [Counter(classes) for classes in cases]
    agreeing = [
        sum(number * (number - 1) for number in count.values()) / (count.total() * (count.total() - 1))
        for count in counts
    ]
    total = sum(counts, Counter())
    expected = sum((number / total.total()) ** 2 for number in total.values())
    return float((np.mean(agreeing) - expected) / (1 - expected)) if len(total) > 1 else float("nan")


def measure_agreement(cases: Sequence[ReadCase]) -> Agreement:
    """Compare all readers on the cases that they have in common."""
    names = {name for case in cases for name in (*case.classes, *(one for pair in case.dices for one in pair))}
    pairs = list(combinations(sorted(names), 2))
    several = [case for case in cases if len(case.classes) > 1]
    said = [list(case.classes.values()) for case in several]
    fleiss = _estimate(several, lambda chosen: fleiss_kappa([said[index] for index in chosen]))
    masks = (_masks_of(pair, [case for case in cases if pair in case.dices]) for pair in pairs)
    classes = (_classes_of(pair, [case for case in cases if {*pair} <= {*case.classes}]) for pair in pairs)
    return Agreement(
        tuple(one for one in masks if one.cases), tuple(one for one in classes if one.cases), fleiss, len(several)
    )


def _masks_of(pair: tuple[str, str], cases: Sequence[ReadCase]) -> PairAgreement:
    values = [case.dices[pair] for case in cases]
    return PairAgreement(*pair, len(cases), mean_estimate(values, [case.patient for case in cases]) if cases else None)


def _classes_of(pair: tuple[str, str], cases: Sequence[ReadCase]) -> PairAgreement:
    first, second = ([case.classes[reader] for case in cases] for reader in pair)

    def kappa(chosen: IndexArray) -> float:
        return cohen_kappa([first[index] for index in chosen], [second[index] for index in chosen])

    return PairAgreement(*pair, len(cases), _estimate(cases, kappa))


def _estimate(cases: Sequence[ReadCase], statistic: Callable[[IndexArray], float]) -> Estimate | None:
    if not cases or np.isnan(statistic(np.arange(len(cases)))):
        return None
    return bootstrap(statistic, units_by_group([case.patient for case in cases]))
