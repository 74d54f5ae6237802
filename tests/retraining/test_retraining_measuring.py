"""What versions are measured by: intervals as by brute force, one version alone, what is no number, what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from twelve_patients import PATIENTS, dice_values, scores

from covid_bert.errors import ParameterError
from covid_bert.retraining.measuring import (
    AUC,
    BALANCED,
    CALIBRATED_LOSS,
    DICE,
    HELD_OUT,
    LOG_LOSS,
    MARGINS,
    TEST,
    compare_classifiers,
    compare_dice,
    measure_agreement,
    measure_calibrated,
    measure_classifier,
    measure_dice,
)


def test_the_interval_of_dice_is_that_of_all_resamples() -> None:
    live, candidate = [0.90, 0.95, 0.92, 0.97], [0.93, 0.94, 0.96, 0.97]
    changes = np.array(candidate) - np.array(live)
    every = [changes[list(chosen)].mean() for chosen in itertools.product(range(4), repeat=4)]
    found = compare_dice(live, candidate, PATIENTS[:4], HELD_OUT, against="v003")
    expected = np.percentile(every, [2.5, 97.5])
    assert [found.lower, found.upper] == pytest.approx(expected, abs=0.002)
    assert found.difference == pytest.approx(changes.mean())
    assert (found.other, found.candidate) == pytest.approx((np.mean(live), np.mean(candidate)))


def test_the_interval_of_auc_is_paired() -> None:
    live, positive = scores(0)
    candidate = list(np.clip(np.array(live) + np.random.default_rng(1).normal(0, 0.2, 12), 0, 1))
    truth = np.array(positive)

    def area(values: list[float], chosen: np.ndarray) -> float:
        one, other = np.array(values)[chosen[truth[chosen]]], np.array(values)[chosen[~truth[chosen]]]
        return float(np.mean((one[:, None] > other) + 0.5 * (one[:, None] == other)))

    generator = np.random.default_rng(7)
    drawn = [generator.integers(12, size=12) for _ in range(6000)]
    drawn = [chosen for chosen in drawn if 0 < truth[chosen].sum() < 12]
    expected = np.percentile([area(candidate, chosen) - area(live, chosen) for chosen in drawn], [2.5, 97.5])
    _, found = compare_classifiers(live, candidate, positive, PATIENTS, HELD_OUT, against="v003")
    assert [found.lower, found.upper] == pytest.approx(expected, abs=0.02)


def test_studies_of_one_patient_count_once() -> None:
    live, candidate = dice_values(0), dice_values(1)
    alone = compare_dice(live, candidate, PATIENTS, HELD_OUT, against="v003")
    together = compare_dice(live * 3, candidate * 3, PATIENTS * 3, HELD_OUT, against="v003")
    assert together.patients == alone.patients == 12
    assert (together.lower, together.upper) == pytest.approx((alone.lower, alone.upper))


def test_other_scores_in_the_same_order_pass_on_the_auc() -> None:
    live, positive = scores()
    _, area = compare_classifiers(live, [value * 0.9 for value in live], positive, PATIENTS, HELD_OUT, against="v003")
    assert (area.lower, area.upper, area.passed) == (0.0, 0.0, True)


@pytest.mark.parametrize(("worse", "passed"), [(0.004, True), (0.005, True), (0.006, False)])
def test_the_margin_decides(worse: float, passed: bool) -> None:
    live = dice_values()
    found = compare_dice(live, [value - worse for value in live], PATIENTS, HELD_OUT, against="v003")
    assert MARGINS[DICE, HELD_OUT] == 0.005
    assert found.passed is passed


def test_values_that_are_no_numbers_count_as_wrong() -> None:
    live, positive = scores()
    candidate = [float("nan") if number < 4 else value for number, value in enumerate(live)]
    for item in compare_classifiers(live, candidate, positive, PATIENTS, HELD_OUT, against="v003"):
        assert np.isfinite([item.candidate, item.difference, item.lower, item.upper]).all()
        assert not item.passed
    values = dice_values()
    found = compare_dice(values, [float("nan"), *values[1:]], PATIENTS, HELD_OUT, against="v003")
    assert found.candidate == pytest.approx(sum(values[1:]) / 12)
    assert not found.passed


def test_one_patient_alone_never_passes() -> None:
    found = compare_dice([0.9, 0.9], [0.99, 0.98], ["one", "one"], HELD_OUT, against="v003")
    assert (found.lower, found.passed) == (None, False)


def test_wrong_numbers_of_values_are_refused() -> None:
    with pytest.raises(ParameterError):
        compare_dice([0.9], [0.9, 0.8], ["one", "two"], HELD_OUT, against="v003")
    with pytest.raises(ParameterError):
        compare_classifiers([0.9, 0.1], [0.9, 0.1], [True], ["one", "two"], HELD_OUT, against="v003")


def test_one_version_is_measured_alone() -> None:
    values, (found, positive) = dice_values(), scores()
    measured = measure_dice(values, PATIENTS, HELD_OUT)
    assert measured.lower < measured.value < measured.upper
    loss, area = measure_classifier(found, positive, PATIENTS, HELD_OUT)
    truth = np.where(positive, found, 1 - np.array(found))
    assert loss.value == pytest.approx(np.log(truth).mean())
    assert (loss.measure, area.measure) == (LOG_LOSS, AUC)


def test_equal_masks_agree_surely_and_a_single_patient_says_nothing() -> None:
    found = measure_agreement([1.0] * 12, PATIENTS)
    assert (found.lower, found.value, found.data) == (1.0, 1.0, HELD_OUT)
    assert measure_agreement([1.0], ["one"]).lower is None


def test_a_calibrated_probability_is_measured_at_its_threshold() -> None:
    probability = [0.9, 0.2, 0.4, 0.1] * 3
    positive = [True, False] * 6
    loss, accuracy = measure_calibrated(probability, 0.5, positive, PATIENTS, TEST)
    assert (loss.measure, accuracy.measure, loss.data) == (CALIBRATED_LOSS, BALANCED, TEST)
    assert loss.value == pytest.approx(np.log([0.9, 0.8, 0.4, 0.9]).mean())
    assert accuracy.value == pytest.approx((0.5 + 1.0) / 2)
    assert accuracy.lower < accuracy.value < accuracy.upper
