"""Rules for several readers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from covid_bert.errors import ParameterError
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.readers import ClassOpinion, ReaderRule, majority_class, majority_mask

some_masks = st.lists(arrays.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 2)), min_size=1, max_size=6)


@given(some_masks)
def test_each_voxel_has_a_label_of_most_readers_and_of_these_the_newest(masks: list[np.ndarray]) -> None:
    voted = majority_mask(masks)
    for place in np.ndindex(voted.shape):
        said = [int(mask[place]) for mask in masks]
        most = max(said.count(label) for label in said)
        tied = [label for label in said if said.count(label) == most]
        assert voted[place] == tied[-1]


def test_rules_hear_whom_they_name() -> None:
    opinions = [ClassOpinion(reader, "covid") for reader in ("anna", "bert", "clara")]
    heard = {rule: [one.reader for one in ReaderRule(rule).heard(opinions)] for rule in ("newest", "majority")}
    assert heard == {"newest": ["clara"], "majority": ["anna", "bert", "clara"]}
    assert ReaderRule("expert:bert").heard(opinions) == (opinions[1],)
    assert ReaderRule("expert:nobody").heard(opinions) == ()


@pytest.mark.parametrize("rule", ["", "oldest", "expert:", "expert:a b", "newest ", "expert:../x\n"])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(ParameterError):
        ReaderRule(rule)
    with pytest.raises(ParameterError):
        TrainingParameters.of_request({"readers": rule})


def test_a_majority_is_more_than_any_other() -> None:
    def said(*classes: str) -> list[ClassOpinion]:
        return [ClassOpinion(str(number), name) for number, name in enumerate(classes)]

    assert majority_class(said("covid")) == "covid"
    assert majority_class(said("covid", "normal", "covid")) == "covid"
    assert majority_class(said("covid", "normal")) is None
    assert majority_class(said("covid", "normal", "other", "normal", "covid")) is None
