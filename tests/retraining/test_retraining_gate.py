"""The gate: intervals as by brute force, equal versions pass, worse and poisoned ones do not, too few is said."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from covid_bert.errors import ParameterError
from covid_bert.retraining.gate import (
    AUC,
    CLASSIFIER_RULE,
    DICE,
    LOG_LOSS,
    LUNGS_RULE,
    MARGINS,
    REFERENCE,
    VALIDATION,
    compare_classifiers,
    compare_dice,
    decide,
    measure_classifier,
    measure_dice,
)

PATIENTS = [f"patient-{number}" for number in range(12)]


def dice_values(seed: int = 0, count: int = 12) -> list[float]:
    return list(np.random.default_rng(seed).uniform(0.9, 0.99, count))


def scores(seed: int = 0) -> tuple[list[float], list[bool]]:
    """Scores of a fair classifier on 12 patients, half of them with the finding."""
    generator = np.random.default_rng(seed)
    positive = [number % 2 == 0 for number in range(12)]
    return [
        float(np.clip(0.5 + (0.3 if truth else -0.3) + generator.normal(0, 0.12), 0.02, 0.98)) for truth in positive
    ], positive


def test_the_interval_of_dice_is_that_of_all_resamples() -> None:
    live, candidate = [0.90, 0.95, 0.92, 0.97], [0.93, 0.94, 0.96, 0.97]
    changes = np.array(candidate) - np.array(live)
    every = [changes[list(chosen)].mean() for chosen in itertools.product(range(4), repeat=4)]
    found = compare_dice(live, candidate, PATIENTS[:4], VALIDATION)
    expected = np.percentile(every, [2.5, 97.5])
    assert [found.lower, found.upper] == pytest.approx(expected, abs=0.002)
    assert found.difference == pytest.approx(changes.mean())
    assert (found.live, found.candidate) == pytest.approx((np.mean(live), np.mean(candidate)))


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
    _, found = compare_classifiers(live, candidate, positive, PATIENTS, VALIDATION)
    assert [found.lower, found.upper] == pytest.approx(expected, abs=0.02)


def test_studies_of_one_patient_count_once() -> None:
    live, candidate = dice_values(0), dice_values(1)
    alone = compare_dice(live, candidate, PATIENTS, VALIDATION)
    together = compare_dice(live * 3, candidate * 3, PATIENTS * 3, VALIDATION)
    assert together.patients == alone.patients == 12
    assert (together.lower, together.upper) == pytest.approx((alone.lower, alone.upper))


def test_identical_versions_pass() -> None:
    values, (found, positive) = dice_values(), scores()
    lungs = [compare_dice(values, values, PATIENTS, data) for data in (VALIDATION, REFERENCE)]
    decision = decide(lungs, LUNGS_RULE, [12], against="v003")
    assert decision.passed
    assert decision.against == "v003"
    assert {(item.lower, item.upper) for item in decision.comparisons} == {(0.0, 0.0)}
    systems = [
        item for data in (VALIDATION, REFERENCE) for item in compare_classifiers(found, found, positive, PATIENTS, data)
    ]
    assert decide(systems, CLASSIFIER_RULE, [6, 6], against="v002").passed


def test_other_scores_in_the_same_order_pass_on_the_auc() -> None:
    live, positive = scores()
    _, area = compare_classifiers(live, [value * 0.9 for value in live], positive, PATIENTS, VALIDATION)
    assert (area.lower, area.upper, area.passed) == (0.0, 0.0, True)


@pytest.mark.parametrize(("worse", "passed"), [(0.004, True), (0.005, True), (0.006, False)])
def test_the_margin_decides(worse: float, passed: bool) -> None:
    live = dice_values()
    found = compare_dice(live, [value - worse for value in live], PATIENTS, VALIDATION)
    assert MARGINS[DICE, VALIDATION] == 0.005
    assert found.passed is passed


def test_a_poisoned_validation_set_is_stopped_by_the_reference_studies() -> None:
    """Classes were flipped everywhere: the candidate is perfect on the validation set, and wrong."""
    live, positive = scores()
    flipped = [not value for value in positive]
    candidate = [1 - value for value in live]
    comparisons = [
        *compare_classifiers(live, candidate, flipped, PATIENTS, VALIDATION),
        *compare_classifiers(live, candidate, positive, PATIENTS, REFERENCE),
    ]
    assert [item.passed for item in comparisons] == [True, True, False, False]
    decision = decide(comparisons, CLASSIFIER_RULE, [6, 6], against="v002")
    assert not decision.passed
    assert "reference studies went from" in decision.reason
    assert "0.2 is allowed" in decision.reason


def test_labels_that_contradict_model_and_candidate_do_not_pass() -> None:
    """Classes were flipped everywhere, and the candidate has not followed them yet: it is not worse, but wrong."""
    live, positive = scores()
    flipped = [not value for value in positive]
    same = compare_classifiers(live, live, flipped, PATIENTS, VALIDATION)
    references = compare_classifiers(live, live, positive, PATIENTS, REFERENCE)
    assert all(item.passed for item in (*same, *references))
    decision = decide([*same, *references], CLASSIFIER_RULE, [6, 6], against="v001")
    assert not decision.passed
    assert "worse than chance: look whether classes were exchanged" in decision.reason


def test_too_few_validation_patients_is_a_plain_sentence() -> None:
    values = dice_values()
    reference = compare_dice(values, values, PATIENTS, REFERENCE)
    decision = decide([reference], LUNGS_RULE, [1], against="v003")
    assert not decision.passed
    assert decision.reason == "The frozen validation set has 1 patients with a corrected lung mask; 2 more are needed."
    decision = decide([reference], CLASSIFIER_RULE, [5, 2], against="v003")
    assert "has 2 patients without; 3 more are needed" in decision.reason


def test_what_was_not_compared_does_not_pass() -> None:
    values = dice_values()
    decision = decide([compare_dice(values, values, PATIENTS, VALIDATION)], LUNGS_RULE, [12], against="v003")
    assert not decision.passed
    assert "was not compared on the reference studies" in decision.reason


def test_values_that_are_no_numbers_count_as_wrong() -> None:
    live, positive = scores()
    candidate = [float("nan") if number < 4 else value for number, value in enumerate(live)]
    for item in compare_classifiers(live, candidate, positive, PATIENTS, VALIDATION):
        assert np.isfinite([item.candidate, item.difference, item.lower, item.upper]).all()
        assert not item.passed
    values = dice_values()
    found = compare_dice(values, [float("nan"), *values[1:]], PATIENTS, VALIDATION)
    assert found.candidate == pytest.approx(sum(values[1:]) / 12)
    assert not found.passed


def test_one_patient_alone_never_passes() -> None:
    found = compare_dice([0.9, 0.9], [0.99, 0.98], ["one", "one"], VALIDATION)
    assert (found.lower, found.passed) == (None, False)


def test_wrong_numbers_of_values_are_refused() -> None:
    with pytest.raises(ParameterError):
        compare_dice([0.9], [0.9, 0.8], ["one", "two"], VALIDATION)
    with pytest.raises(ParameterError):
        compare_classifiers([0.9, 0.1], [0.9, 0.1], [True], ["one", "two"], VALIDATION)
    with pytest.raises(ParameterError):
        decide([], LUNGS_RULE, [3, 3], against="v001")


def test_one_version_is_measured_alone() -> None:
    values, (found, positive) = dice_values(), scores()
    measured = measure_dice(values, PATIENTS, VALIDATION)
    assert measured.lower < measured.value < measured.upper
    loss, area = measure_classifier(found, positive, PATIENTS, VALIDATION)
    truth = np.where(positive, found, 1 - np.array(found))
    assert loss.value == pytest.approx(np.log(truth).mean())
    assert (loss.measure, area.measure) == (LOG_LOSS, AUC)


def test_the_rule_names_its_numbers() -> None:
    for number in ("3 patients with a corrected lung mask", "0.005", "0.01"):
        assert number in LUNGS_RULE.text
