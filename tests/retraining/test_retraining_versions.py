"""Who publishes what: the gate's word counts, unless somebody says otherwise; what is known is read back."""

from __future__ import annotations

import pytest

from covid_bert.errors import ConflictError, NotFoundError, WeightsError
from covid_bert.lungs import unet
from covid_bert.retraining.models import MODELS, model_named, model_of_head
from covid_bert.retraining.parameters import TRAINERS
from covid_bert.retraining.versions import needs_word, publish_version, roll_back_version, training_record
from covid_bert.weights.history import history
from covid_bert.weights.registry import entries
from covid_bert.weights.store import live
from made_versions import REASON, install_lungs, record

LUNGS = unet.WEIGHTS_NAME


def test_what_did_not_pass_is_published_only_in_spite_of_it() -> None:
    before = live(LUNGS)
    refused = install_lungs(False)
    with pytest.raises(ConflictError, match="did not pass the gate") as caught:
        publish_version(LUNGS, refused.version, by="anna")
    assert REASON in caught.value.message
    assert live(LUNGS) == before
    publish_version(LUNGS, refused.version, by="anna", despite_gate=True)
    assert live(LUNGS) == refused
    assert [(line.by, line.reason) for line in history(LUNGS)] == [("anna", "Despite the gate.")]
    assert roll_back_version(LUNGS, by="bob") == before


def test_what_passed_and_what_was_not_trained_here_is_published() -> None:
    for weights in (install_lungs(True), install_lungs(None, seed=1)):
        assert needs_word("lungs", weights.version) is None
        publish_version(LUNGS, weights.version, by="anna")
        assert live(LUNGS) == weights


def test_what_passed_against_another_version_than_the_live_one_needs_a_word() -> None:
    shipped = live(LUNGS).version
    first, second = install_lungs(True, against=shipped), install_lungs(True, seed=1, against=shipped)
    publish_version(LUNGS, first.version, by="anna")
    expected = f"{LUNGS} {second.version} was compared with {shipped}, and {first.version} is live now."
    assert needs_word("lungs", second.version) == expected
    with pytest.raises(ConflictError, match="was compared with") as caught:
        publish_version("lungs", second.version, by="anna")
    assert "weights compare" in caught.value.hint
    assert live(LUNGS) == first
    publish_version(LUNGS, second.version, by="anna", despite_gate=True)
    # What was live before needs no word, whatever it was compared with.
    assert needs_word("lungs", first.version) is None
    publish_version(LUNGS, first.version, by="anna")
    assert live(LUNGS) == first


def test_what_was_compared_with_the_one_that_serves_in_place_of_a_damaged_one_needs_no_word() -> None:
    shipped = live(LUNGS).version
    damaged, candidate = install_lungs(True, against=shipped), install_lungs(True, seed=1, against=shipped)
    publish_version(LUNGS, damaged.version, by="anna")
    damaged.path.write_bytes(b"nothing")
    assert needs_word("lungs", candidate.version) is None
    publish_version(LUNGS, candidate.version, by="anna")
    assert live(LUNGS) == candidate


def test_a_record_is_read_back_and_damage_to_it_is_no_leave_to_publish() -> None:
    weights = install_lungs(True)
    assert training_record(weights) == record(True)
    assert training_record(install_lungs(None)) is None
    (weights.path.parent / "training.json").write_text("{}")
    with pytest.raises(WeightsError, match="changed"):
        publish_version(LUNGS, weights.version, by="anna")


def test_models_are_those_of_the_trainers_and_of_the_registry() -> None:
    assert tuple(MODELS) == TRAINERS
    known = {item.name for item in entries()}
    for model in MODELS.values():
        assert known >= set(model.weights)
        assert model_of_head(model.head) is model_named(model.name) is model
    assert model_of_head("default-clip-network") is None
    assert (MODELS["lungs"].system, MODELS["covid_baseline"].system) == (None, "baseline")
    with pytest.raises(NotFoundError):
        model_named("../lungs")
