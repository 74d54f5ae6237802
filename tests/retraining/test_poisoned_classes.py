"""Classifiers that come with the program, whole runs with the default parameters: classes exchanged in every part.

The reference studies stay right, whatever the labels of the site say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from labelled_site import SHAPE, SPACING, label_set, labelled

from covid_bert.errors import ParameterError
from covid_bert.retraining import channel_cache, reference
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.channel_cache import ChannelCache
from covid_bert.retraining.classifier_material import label_of
from covid_bert.retraining.comparing import compare_versions
from covid_bert.retraining.measuring import AUC, HELD_OUT, REFERENCE, TEST, VALIDATION
from covid_bert.retraining.models import MODELS
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.reference import ReferenceSize, classifier_references
from covid_bert.retraining.run import run
from covid_bert.weights.store import installed, live

PARTS = [Part.TRAINING] * 6 + [Part.VALIDATION] * 6 + [Part.TEST] * 4
LOOK = "look whether classes were exchanged in the study labels"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Channels of the site and the reference studies, made once for all tests."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[LabelSet]:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COVID_BERT_HOME", str(folder / "home"))
        patched.setattr(channel_cache, "channels_folder", lambda _image: kept / "channels")
        patched.setattr(reference, "home", lambda: kept)
        patched.setattr(reference, "FULL", ReferenceSize(1, 2, SHAPE, SPACING))
        studies = [
            labelled(folder, number, "covid" if number % 2 else "normal", part)
            for number, part in enumerate(PARTS, start=60)
        ]
        cache = ChannelCache(device="cpu")
        for study in studies:
            cache.labelled(study, label_of(study))
        classifier_references()
        yield label_set(*studies)


def exchanged(study: LabelledStudy) -> LabelledStudy:
    return replace(study, study_class="normal" if study.study_class == "covid" else "covid")


def trained(model: str, labels: LabelSet, folder: Path):
    return run(model, labels, TrainingParameters(device="cpu"), folder, RunProgress(), identity="run-1")


@pytest.mark.parametrize("system", ["s2", "baseline"])
def test_exchanged_classes_are_refused_with_what_to_look_for(system, site, tmp_path) -> None:
    head = MODELS[f"covid_{system}"].head
    before = live(head)
    outcome = trained(f"covid_{system}", label_set(*map(exchanged, site.studies)), tmp_path)
    assert not outcome.published
    assert live(head) == before
    assert f"contradict {before.version}" in outcome.gate.reason
    assert LOOK in outcome.gate.reason


def test_right_labels_of_the_same_site_contradict_nothing(site, tmp_path) -> None:
    """Its validation set is too small for a calibration, which the version that comes with the program has."""
    outcome = trained("covid_baseline", site, tmp_path)
    assert "It gives no calibrated probability" in outcome.gate.reason
    assert LOOK not in outcome.gate.reason
    assert {item.patients for item in outcome.gate.comparisons if item.data == HELD_OUT} == {10}
    assert {item.data for item in outcome.metrics} == {VALIDATION, TEST}
    # The same two versions judged anew say the same.
    model, version = MODELS["covid_baseline"], installed(outcome.head, outcome.version)
    held = [study for study in site.studies if study.part is not Part.TRAINING]
    again = compare_versions(model, live(outcome.head), version, held, RunProgress(), device="cpu")
    for one, other in zip(again.comparisons, outcome.gate.comparisons, strict=True):
        assert (one.measure, one.data, one.against) == (other.measure, other.data, other.against)
        assert (one.candidate, one.other) == pytest.approx((other.candidate, other.other), abs=1e-6)
    assert {(item.measure, item.data) for item in again.comparisons} >= {(AUC, HELD_OUT), (AUC, REFERENCE)}
    training = [study for study in site.studies if study.part is Part.TRAINING]
    with pytest.raises(ParameterError, match="did not learn from"):
        compare_versions(model, version, version, training, RunProgress())
