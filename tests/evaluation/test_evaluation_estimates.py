"""Intervals: known values, clusters, and what has no interval."""

from __future__ import annotations

import numpy as np
import pytest

from covid_bert.errors import ParameterError
from covid_bert.evaluation.estimates import bootstrap, mean_estimate, neighbouring_blocks, wilson, wilson_of_share


@pytest.mark.parametrize(
    ("successes", "count", "lower", "upper"),
    # Newcombe, Statistics in Medicine 17:857-872, 1998, Table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_that_of_the_literature(successes: int, count: int, lower: float, upper: float) -> None:
    found = wilson(successes, count)
    assert found.value == successes / count
    assert (round(found.lower, 4), round(found.upper, 4)) == (lower, upper)
    assert found.count == count


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, count: int) -> None:
    with pytest.raises(ParameterError):
        wilson(successes, count)


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(80):
        values = generator.normal(3.0, 2.0, 40)
        found = bootstrap(lambda chosen, values=values: values[chosen].mean(), np.arange(40)[:, None], repetitions=200)
        covered += found.lower <= 3.0 <= found.upper
    assert 0.86 <= covered / 80 < 1


def test_bootstrap_is_repeatable_and_its_seed_matters() -> None:
    values = np.random.default_rng(0).normal(size=12)
    units = np.arange(12)[:, None]
    first, again, other = (bootstrap(lambda i: values[i].mean(), units, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.value == other.value


def test_observations_of_a_patient_are_drawn_together() -> None:
    # Five copies of each of four values tell no more than the four values do.
    values = np.repeat([0.2, 0.5, 0.6, 0.9], 5)
    together = mean_estimate(values, np.repeat(list("abcd"), 5).tolist())
    apart = mean_estimate(values, [str(index) for index in range(20)])
    assert together.count == 4
    assert together.value == apart.value
    assert together.upper - together.lower > 1.5 * (apart.upper - apart.lower)


def test_a_single_unit_has_no_interval() -> None:
    found = mean_estimate([0.4, 0.6], ["a", "a"])
    assert (found.value, found.lower, found.upper, found.count) == (0.5, None, None, 1)


def test_too_few_of_a_class_have_no_interval() -> None:
    # The statistic exists only where unit 0 is drawn, in two thirds of the samples.
    found = bootstrap(lambda chosen: 1.0 if 0 in chosen else float("nan"), np.arange(3)[:, None])
    assert found.lower is None
    assert found.value == 1.0


def test_repetitions_that_agree_have_no_interval() -> None:
    # All of 0.1 have means that differ by rounding.
    for values in ([1.0] * 7, [0.1] * 7):
        found = mean_estimate(values, list("abcdefg"))
        assert (found.lower, found.upper, found.count) == (None, None, 7)
        assert found.value == pytest.approx(values[0])


def test_a_share_of_fewer_trials_has_a_wider_interval() -> None:
    assert wilson_of_share(0.25, 20) == wilson(5, 20)
    few, many = wilson_of_share(1.0, 4), wilson_of_share(1.0, 40)
    assert (few.value, few.upper, few.count) == (1.0, 1.0, 4)
    assert few.lower < many.lower < 1
    for share, count in ((0.5, 0), (1.1, 3), (-0.1, 3), (float("nan"), 3)):
        with pytest.raises(ParameterError):
            wilson_of_share(share, count)


def test_nothing_cannot_be_estimated() -> None:
    with pytest.raises(ParameterError):
        bootstrap(lambda chosen: float(chosen.mean()), [])
    with pytest.raises(ParameterError):
        bootstrap(lambda chosen: float("nan") * chosen[0], [np.array([0])])


def test_blocks_hold_every_slice_once_in_order() -> None:
    blocks = neighbouring_blocks(11, 4)
    assert [len(block) for block in blocks] == [4, 4, 3]
    assert np.array_equal(np.concatenate(blocks), np.arange(11))
    with pytest.raises(ParameterError):
        neighbouring_blocks(11, 0)
