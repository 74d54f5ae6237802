"""The gate: equal versions pass, worse and poisoned ones do not, small steps down do not add up, too few is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from twelve_patients import PATIENTS, dice_values, scores

from covid_bert.errors import ParameterError
from covid_bert.retraining.gate import CLASSIFIER_RULE, LUNGS_RULE, Judgement, decide
from covid_bert.retraining.measuring import (
    AUC,
    DICE,
    HELD_OUT,
    MARGINS,
    REFERENCE,
    compare_classifiers,
    compare_dice,
    measure_agreement,
    measure_classifier,
    measure_dice,
)

WHY = "No probability is calibrated: that needs 5 patients of each class."


def judged_lungs(
    candidate: list[float], others: dict[str, list[float]], agreement: float = 0.97, references: float = 0.0
) -> Judgement:
    """Dice on the held-out patients; on the reference studies the candidate is better by `references`."""
    phantoms = dice_values(5)
    comparisons = [
        item
        for version, values in others.items()
        for item in (
            compare_dice(values, candidate, PATIENTS, HELD_OUT, against=version),
            compare_dice(phantoms, [value + references for value in phantoms], PATIENTS, REFERENCE, against=version),
        )
    ]
    live = next(iter(others.values()))
    return Judgement(
        opponents=tuple(others),
        counts=(12,),
        comparisons=tuple(comparisons),
        live=(measure_dice(live, PATIENTS, HELD_OUT, without_width=True),),
        agreement=measure_agreement([agreement] * 12, PATIENTS),
        standing=next(iter(others)),
    )


def judged_classifier(live: list[float], candidate: list[float], labels: list[bool]) -> Judgement:
    """Scores on the held-out patients with their labels, and on reference studies, whose classes are right."""
    positive = scores()[1]
    return Judgement(
        opponents=("v002",),
        counts=(6, 6),
        comparisons=(
            *compare_classifiers(live, candidate, labels, PATIENTS, HELD_OUT, against="v002"),
            *compare_classifiers(live, candidate, positive, PATIENTS, REFERENCE, against="v002"),
        ),
        live=measure_classifier(live, labels, PATIENTS, HELD_OUT, without_width=True),
    )


def test_identical_versions_pass() -> None:
    values, (found, positive) = dice_values(), scores()
    decision = decide(judged_lungs(values, {"v003": values}, agreement=1.0), LUNGS_RULE)
    assert decision.passed
    assert (decision.against, decision.pointed, decision.replaces) == ("v003", None, "v003")
    assert decision.reason == "It is not worse than v003."
    assert {(item.lower, item.upper) for item in decision.comparisons} == {(0.0, 0.0)}
    assert decide(judged_classifier(found, found, positive), CLASSIFIER_RULE).passed


def test_a_gain_passes_beside_the_anchor() -> None:
    live, anchor = dice_values(), [value - 0.02 for value in dice_values()]
    decision = decide(judged_lungs([value + 0.01 for value in live], {"v007": live, "v003": anchor}), LUNGS_RULE)
    assert decision.passed
    assert decision.reason == "It is not worse than v007 and v003."


def test_many_small_steps_down_are_stopped_by_the_anchor() -> None:
    """Ten versions, each a little worse than the last by less than the margin."""
    step = 0.8 * MARGINS[DICE, HELD_OUT]
    anchor = live = dice_values()
    passed = []
    for number in range(4, 14):
        candidate = [value - step for value in live]
        against = {f"v{number - 1:03d}": live} if live is anchor else {f"v{number - 1:03d}": live, "v003": anchor}
        decision = decide(judged_lungs(candidate, against), LUNGS_RULE)
        if decision.passed:
            passed.append(number)
            live = candidate
        else:
            assert "(v003) to" in decision.reason
            assert all(item.passed for item in decision.comparisons if item.against != "v003")
    assert passed == [4], "the second step is more than one margin below the anchor"
    assert np.mean(anchor) - np.mean(live) <= MARGINS[DICE, HELD_OUT]


def test_a_poisoned_label_set_is_stopped_by_the_reference_studies() -> None:
    """Classes were flipped everywhere: the candidate is perfect on the held-out patients, and wrong."""
    live, positive = scores()
    judgement = judged_classifier(live, [1 - value for value in live], [not value for value in positive])
    assert [item.passed for item in judgement.comparisons] == [True, True, False, False]
    decision = decide(judgement, CLASSIFIER_RULE)
    assert not decision.passed
    assert "reference studies went from" in decision.reason
    assert "0.2 is allowed" in decision.reason
    assert "contradict v002: its area under the ROC curve" in decision.reason


def test_labels_that_contradict_model_and_candidate_do_not_pass() -> None:
    """Classes were flipped everywhere, and the candidate has not followed them: it is not worse, but wrong."""
    live, positive = scores()
    judgement = judged_classifier(live, live, [not value for value in positive])
    assert all(item.passed for item in judgement.comparisons)
    decision = decide(judgement, CLASSIFIER_RULE)
    assert not decision.passed
    assert "surely below 0.5; look whether classes were exchanged" in decision.reason
    # Not sure of the live version: what the candidate does is looked at.
    decision = decide(replace(judgement, live=()), CLASSIFIER_RULE)
    assert "worse than chance: look whether classes were exchanged" in decision.reason


def test_a_candidate_that_learned_of_exchanged_classes_is_refused_where_the_references_hide_it() -> None:
    """The rehearsed reference studies stay right while the site's own do not."""
    live, positive = scores()
    flipped = [not value for value in positive]
    judgement = judged_classifier(live, [1 - value for value in live], flipped)
    same = compare_classifiers(live, live, positive, PATIENTS, REFERENCE, against="v002")
    judgement = replace(judgement, comparisons=(*judgement.comparisons[:2], *same))
    assert all(item.passed for item in judgement.comparisons)
    decision = decide(judgement, CLASSIFIER_RULE)
    assert not decision.passed
    assert decision.reason.startswith("The labels of the frozen held-out patients contradict v002")


def test_swapped_masks_that_the_phantoms_hide_are_refused() -> None:
    """Held-out labels are swapped too, and the candidate follows them: it looks better on all that has labels."""
    live = [0.03] * 12
    decision = decide(judged_lungs([0.95] * 12, {"v003": live}, agreement=0.02), LUNGS_RULE)
    assert all(item.passed for item in decision.comparisons)
    assert not decision.passed
    assert "contradict v003" in decision.reason
    assert "sides were swapped or masks inverted" in decision.reason
    assert "It marks other voxels than v003" in decision.reason
    assert decision.agreement.value == pytest.approx(0.02)


@pytest.mark.parametrize(("agreement", "passed"), [(0.79, False), (0.81, True)])
def test_masks_must_agree_whatever_the_labels_say(agreement: float, passed: bool) -> None:
    values = dice_values()
    decision = decide(judged_lungs(values, {"v003": values}, agreement), LUNGS_RULE)
    assert decision.passed is passed
    judgement = replace(judged_lungs(values, {"v003": values}), agreement=None)
    assert "masks were not compared" in decide(judgement, LUNGS_RULE).reason


def test_what_gives_no_probability_does_not_replace_what_gives_one() -> None:
    live, positive = scores()
    judgement = replace(judged_classifier(live, live, positive), uncalibrated=WHY)
    decision = decide(judgement, CLASSIFIER_RULE)
    assert decision.reason == f"It gives no calibrated probability, and v002 does. {WHY}"


def test_too_few_held_out_patients_is_a_plain_sentence() -> None:
    values = dice_values()
    reference = compare_dice(values, values, PATIENTS, REFERENCE, against="v003")
    decision = decide(Judgement(("v003",), (1,), (reference,)), LUNGS_RULE)
    assert not decision.passed
    expected = "There are too few held-out patients with a corrected lung mask: 1, and 3 are needed."
    assert decision.reason == expected
    decision = decide(Judgement(("v003",), (5, 2), (reference,)), CLASSIFIER_RULE)
    assert "patients without COVID-19: 2, and 5 are needed" in decision.reason


def test_what_was_not_compared_does_not_pass() -> None:
    values = dice_values()
    judgement = judged_lungs(values, {"v005": values, "v003": values})
    for version in ("v005", "v003"):
        kept = [item for item in judgement.comparisons if (item.data, item.against) != (REFERENCE, version)]
        decision = decide(replace(judgement, comparisons=tuple(kept)), LUNGS_RULE)
        assert decision.reason == f"The {DICE} was not compared with {version} on the reference studies."


def test_what_the_pointer_said_is_kept_where_it_was_another_version() -> None:
    values = dice_values()
    judgement = replace(judged_lungs(values, {"v003": values}), standing="v004")
    decision = decide(judgement, LUNGS_RULE)
    assert (decision.against, decision.pointed, decision.replaces) == ("v003", "v004", "v004")


def test_counts_that_do_not_fit_the_rule_are_refused() -> None:
    with pytest.raises(ParameterError):
        decide(Judgement(("v001",), (3, 3), ()), LUNGS_RULE)


def test_the_rule_names_its_numbers() -> None:
    for number in ("3 patients with a corrected lung mask", "0.005", "0.01", "anchor", "at least 0.8"):
        assert number in LUNGS_RULE.text
    for words in ("5 patients with COVID-19 and 5 patients without COVID-19", AUC, "calibrated probability"):
        assert words in CLASSIFIER_RULE.text
    assert "masks" not in CLASSIFIER_RULE.text
