"""What the card says of each state of a result: no probability without a calibration, and every doubt is named."""

from __future__ import annotations

import pytest
from result_samples import STATES

from CovidBertLib.card import ATTENTION, ERROR, GOOD, Card, card_of, class_name, percent, time_text
from CovidBertLib.result import parse


def card(state: str) -> Card:
    return card_of(parse(STATES[state]()))


@pytest.mark.parametrize("state", STATES)
def test_every_card_has_the_line_for_research(state: str) -> None:
    document, made = STATES[state](), card(state)
    assert made.research_use_only == document["research_use_only"]
    assert [(bar.name, bar.score, bar.highest) for bar in made.bars] == [
        ("COVID-19", document["class_scores"]["covid"], True),
        ("not COVID-19", document["class_scores"]["non-covid"], False),
    ]
    assert "not probabilities" in made.bars_title
    assert len(made.weights) == len(document["provenance"]["weights"])
    assert "0.1.0" in made.origin
    assert "2026-11-21 21:56 UTC" in made.origin


def test_a_probability_comes_with_what_it_rests_on() -> None:
    made = card("calibrated")
    known = STATES["calibrated"]()["calibrated_probability"]
    assert made.heading == "Probability of COVID-19: 76 %"
    assert made.calibration[0] == "At or above the operating point of 42 %: counts as positive."
    assert known["threshold_chosen_on"] in made.calibration[1]
    assert known["calibrated_on"] in made.calibration[2]
    assert made.banner is None
    document = STATES["calibrated"]()
    document["calibrated_probability"]["probability"] = 0.41
    assert "Below" in card_of(parse(document)).calibration[0]


@pytest.mark.parametrize("state", ["uncalibrated", "untrained", "unlike"])
def test_without_a_calibration_no_probability_is_said(state: str) -> None:
    made = card(state)
    assert made.calibrated is None
    assert "Probability of" not in made.heading
    assert len(made.calibration) == 1
    assert "no probability is given" in made.calibration[0].lower()
    assert not any("%" in words for words in (made.heading, *made.calibration, *made.stages))


def test_the_reason_of_the_server_is_not_said_twice() -> None:
    made, document = card("uncalibrated"), STATES["uncalibrated"]()
    assert made.calibration == (document["warnings"][0],)
    assert made.warnings == (document["warnings"][1],)


def test_without_a_reason_of_the_server_the_fields_tell_it() -> None:
    document = STATES["unlike"]()
    document["warnings"] = []
    assert "unlike" in card_of(parse(document)).calibration[0]
    document["out_of_distribution_score"] = 0.5
    assert "without a calibration" in card_of(parse(document)).calibration[0]


def test_weights_that_are_not_trained_on_patients_have_a_banner() -> None:
    untrained, demonstration = card("untrained"), card("demonstration")
    assert untrained.banner is not None
    assert untrained.banner.level == ERROR
    assert "UNTRAINED" in untrained.banner.text
    assert "default-clip-network, default-study-network" in untrained.banner.text
    assert untrained.heading == "No result: the network is not trained"
    assert "UNTRAINED" in untrained.stages[1]
    assert "UNTRAINED" in untrained.weights[0]
    assert demonstration.banner is not None
    assert demonstration.banner.level == ATTENTION
    assert "DEMONSTRATION" in demonstration.banner.text
    assert all("demonstration" in line for line in (*demonstration.weights, *demonstration.stages))


def test_both_stages_and_whether_they_agree() -> None:
    agreeing, disagreeing = card("calibrated"), card("disagreeing")
    assert [stage.rpartition(": ")[2] for stage in agreeing.stages] == [
        "COVID-19 0.72, not COVID-19 0.28",
        "COVID-19 0.88, not COVID-19 0.12",
    ]
    assert agreeing.agreement is not None
    assert agreeing.agreement.level == GOOD
    assert agreeing.agreement.text == "The stages agree: all name COVID-19."
    assert disagreeing.agreement is not None
    assert disagreeing.agreement.level == ATTENTION
    assert "DISAGREE" in disagreeing.agreement.text
    assert card("one_stage").agreement is None
    untrained = card("untrained").agreement
    assert untrained is not None
    assert "not compared" in untrained.text


def test_a_study_unlike_the_training_is_said() -> None:
    assert card("calibrated").likeness.level == GOOD
    assert card("unlike").likeness.level == ERROR
    assert "UNLIKE THE TRAINING STUDIES: distance 2.40" in card("unlike").likeness.text
    assert "not assessed" in card("untrained").likeness.text


def test_networks_with_the_same_training_share_a_line() -> None:
    origins = card("calibrated").weights_origin
    assert len(origins) == 3
    assert origins[0].startswith("default-clip-network, default-study-network, default-s1-density: 600 synthetic")


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "below 1 %"),
        (0.004, "below 1 %"),
        (0.5, "50 %"),
        (0.985, "98 %"),
        (0.995, "above 99 %"),
        (1.0, "above 99 %"),
    ],
)
def test_a_probability_is_never_said_to_be_certain(share: float, words: str) -> None:
    assert percent(share) == words


def test_names_that_are_not_known_are_shown_as_they_are() -> None:
    assert class_name("influenza") == "influenza"
    assert time_text("yesterday") == "yesterday"
    assert time_text("2026-11-21T21:56:45.574861+02:00") == "2026-11-21 21:56"
