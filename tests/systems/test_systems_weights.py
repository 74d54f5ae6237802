"""Results know their weights: untrained, imported, published anew, damaged."""

from __future__ import annotations

import pytest
import torch

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.errors import WeightsError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.systems import create
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Calibration, OperatingPoint, Role
from covid_bert.weights.store import live, publish

pytestmark = pytest.mark.usefixtures("small_networks")


def install(name: str, architecture: str, role: Role, **facts) -> None:
    torch.manual_seed(facts.pop("seed", 1))
    provenance = Provenance(architecture=architecture, role=role, trained_on="a test", **facts)
    version = add_version(name, ARCHITECTURES[architecture]().state_dict(), provenance)
    publish(name, version.version)


def classify(phantom, system="s1"):
    return create(system, device="cpu").classify(phantom.volume, phantom.lungs).result


def test_installed_weights_are_used_and_named(phantom) -> None:
    before = classify(phantom)
    install("s1-clip-network", "r2plus1d34-bert", Role.CLIP_NETWORK)
    partly = classify(phantom)
    assert partly.weights_state.value == "untrained", "one untrained network is enough"
    assert partly.class_scores != before.class_scores
    install("s1-study-network-corrected", "study-bert-gelu", Role.STUDY_NETWORK)
    trained = classify(phantom)
    assert trained.weights_state.value == "trained"
    assert not any("UNTRAINED" in warning for warning in trained.warnings)
    named = {item.name: item for item in trained.provenance.weights}
    assert named["s1-clip-network"].sha256 == live("s1-clip-network").sha256


def test_a_new_live_version_is_used_without_a_restart(phantom) -> None:
    install("s2-clip-network", "r2plus1d34-bert", Role.CLIP_NETWORK)
    first = classify(phantom, "s2")
    install("s2-clip-network", "r2plus1d34-bert", Role.CLIP_NETWORK, seed=2)
    second = classify(phantom, "s2")
    assert first.class_scores != second.class_scores
    assert {item.version for item in second.provenance.weights if item.name == "s2-clip-network"} == {"v002"}
    publish("s2-clip-network", "v001")
    assert classify(phantom, "s2").class_scores == first.class_scores


def test_demonstration_weights_say_so(phantom) -> None:
    install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK, demonstration=True)
    result = classify(phantom, "baseline")
    assert result.weights_state.value == "demonstration"
    assert result.warnings.count(DEMONSTRATION_MODEL) == 1


def test_a_probability_appears_only_with_its_calibration(phantom) -> None:
    install(
        "baseline-slice-network",
        "efficientnet-b3",
        Role.SLICE_NETWORK,
        calibration=Calibration(temperature=2.0, fitted_on="out-of-fold predictions of a test"),
        operating_point=OperatingPoint(positive_class="covid", threshold=0.0, chosen_by="a test"),
    )
    result = classify(phantom, "baseline")
    calibrated = result.calibrated_probability
    score = result.class_scores["covid"]
    expected = score**0.5 / (score**0.5 + (1 - score) ** 0.5)
    assert calibrated.probability == pytest.approx(expected)
    assert calibrated.calibrated_on == "out-of-fold predictions of a test"
    assert result.predicted_class == "covid", "every probability reaches a threshold of 0"


def test_damaged_weights_are_an_error_and_never_a_silent_fallback(phantom) -> None:
    install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK)
    path = live("baseline-slice-network").path
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        classify(phantom, "baseline")
    assert caught.value.hint
