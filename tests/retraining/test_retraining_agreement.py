"""Agreement of readers: published examples, and numbers that must come out whatever is compared."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_bert.errors import ParameterError
from covid_bert.retraining.agreement import (
    ReadCase,
    cohen_kappa,
    fleiss_kappa,
    lungs_dice,
    measure_agreement,
)

# The table of the article on Fleiss' kappa in Wikipedia: 10 cases, 14 readers, 5 classes; kappa is 0.210.
FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def test_the_kappas_are_those_of_known_examples() -> None:
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    cases = [[str(kind) for kind, count in enumerate(row) for _ in range(count)] for row in FLEISS]
    assert fleiss_kappa(cases) == pytest.approx(0.210, abs=5e-4)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_is_one_for_equal_readers_and_never_above(pairs: list[tuple[str, str]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    kappa = cohen_kappa(first, second)
    assert math.isnan(kappa) or kappa <= 1 + 1e-12
    assert cohen_kappa(second, first) == pytest.approx(kappa, nan_ok=True)
    same = cohen_kappa(first, first)
    assert same == pytest.approx(1) if len(set(first)) > 1 else math.isnan(same)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=5), min_size=1, max_size=20))
def test_fleiss_kappa_exists_unless_one_class_was_said(cases: list[list[str]]) -> None:
    kappa = fleiss_kappa(cases)
    assert math.isnan(kappa) == (len(Counter(name for case in cases for name in case)) == 1)
    assert math.isnan(kappa) or kappa <= 1 + 1e-12


def test_swapped_sides_are_no_agreement() -> None:
    mask = np.zeros((4, 6, 6), np.uint8)
    mask[:, :, :2], mask[:, :, 4:] = 1, 2
    swapped = np.select([mask == 1, mask == 2], [2, 1]).astype(np.uint8)
    assert lungs_dice(mask, mask) == 1
    assert lungs_dice(mask, swapped) == 0
    half = mask.copy()
    half[2:] = 0
    assert lungs_dice(mask, half) == pytest.approx(2 / 3)
    with pytest.raises(ParameterError):
        lungs_dice(mask * (mask == 1), mask * (mask == 1))


def test_readers_are_compared_on_what_both_have_labelled() -> None:
    classes = ["covid", "normal", "other"]
    cases = [
        ReadCase(
            f"patient {number}",
            {"anna": classes[number % 3], "bert": classes[number % 3 if number % 5 else 0]},
            {("anna", "bert"): 0.9 + number / 1000},
        )
        for number in range(30)
    ]
    cases.append(ReadCase("patient 0", {"clara": "covid"}, {}))
    found = measure_agreement(cases)
    (masks,), (kappa,) = found.masks, found.classes
    assert (masks.first, masks.second, masks.cases, kappa.cases, found.fleiss_cases) == ("anna", "bert", 30, 30, 30)
    assert masks.estimate is not None
    assert masks.estimate.value == pytest.approx(0.9145)
    assert kappa.estimate is not None
    assert kappa.estimate.lower is not None
    assert kappa.estimate.upper is not None
    assert kappa.estimate.lower < kappa.estimate.value < kappa.estimate.upper <= 1
    assert found.fleiss is not None
    assert found.fleiss.value == pytest.approx(kappa.estimate.value, abs=0.05)


def test_intervals_are_over_patients_and_are_missing_for_one() -> None:
    cases = [ReadCase("one", {"anna": name, "bert": "b"}, {("anna", "bert"): 0.5}) for name in "abab"]
    found = measure_agreement(cases)
    for estimate in (found.masks[0].estimate, found.classes[0].estimate, found.fleiss):
        assert estimate is not None
        assert (estimate.count, estimate.lower) == (1, None)


def test_where_nothing_can_be_said_nothing_is() -> None:
    assert measure_agreement([]).fleiss is None
    alone = measure_agreement([ReadCase("one", {"anna": "a"}, {})])
    assert (alone.masks, alone.classes, alone.fleiss, alone.fleiss_cases) == ((), (), None, 0)
    same = measure_agreement([ReadCase(str(number), {"anna": "a", "bert": "a"}, {}) for number in range(5)])
    assert (same.classes[0].estimate, same.classes[0].cases, same.fleiss) == (None, 5, None)
