"""Classifiers trained again on labels: installed, used by the systems, resumed, and stopped by the gate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from labelled_site import REFERENCE_SIZE, install_live, label_set, labelled, site

from covid_bert.errors import CancelledError, NotEnoughLabelsError
from covid_bert.lungs import WEIGHTS_BY_METHOD
from covid_bert.lungs.mask import LungMask
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.retraining import channel_cache, classifier_judging, classifiers, reference
from covid_bert.retraining.cases import Part
from covid_bert.retraining.channel_cache import ChannelCache
from covid_bert.retraining.classifiers import Pace, train_classifier
from covid_bert.retraining.measuring import HELD_OUT, REFERENCE, VALIDATION
from covid_bert.retraining.models import MODELS
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.run import run
from covid_bert.systems import SYSTEMS, create
from covid_bert.volumes import read, read_mask
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.store import installed, live, publish

NEW = {
    ("s1", "aggregator"): {"default-study-network"},
    ("s1", "whole"): {"default-clip-network", "default-study-network", "default-s1-density"},
    ("s2", "aggregator"): {"default-clip-network", "default-embedding-mlp", "default-s2-density"},
    ("s2", "whole"): {"default-clip-network", "default-embedding-mlp", "default-s2-density"},
    ("baseline", "aggregator"): {"default-slice-network", "default-baseline-density"},
    ("baseline", "whole"): {"default-slice-network", "default-baseline-density"},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Studies are prepared once for all tests: that takes longer than all else."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(autouse=True)
def _tiny(small_networks, lesions_by_density, monkeypatch, prepared) -> None:
    monkeypatch.setattr(channel_cache, "channels_folder", lambda _image: prepared / "channels")
    monkeypatch.setattr(reference, "home", lambda: prepared)
    monkeypatch.setattr(reference, "FULL", REFERENCE_SIZE)
    monkeypatch.setattr(classifiers, "AGGREGATOR_STEPS", 3)
    monkeypatch.setattr(classifiers, "FEWEST_STEPS", 2)
    monkeypatch.setattr(classifiers, "MOST_STEPS", 2)
    tiny = Pace(2, 1e-3, 0.0)
    monkeypatch.setattr(classifiers, "IMAGE_PACES", dict.fromkeys(SYSTEMS, tiny))
    monkeypatch.setattr(classifiers, "AGGREGATOR_PACES", dict.fromkeys(SYSTEMS, tiny))


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return site(tmp_path_factory.mktemp("site"))


def parameters(scope: str, **others) -> TrainingParameters:
    return TrainingParameters(scope=scope, epochs=2, device="cpu", precision="float32", **others)


@pytest.mark.parametrize(("system", "scope"), NEW)
def test_a_candidate_is_installed_and_used_once_it_is_published(system, scope, labels, tmp_path) -> None:
    before = install_live(system)
    study = labels.studies[-1]
    volume = read(study.image)
    mask = LungMask(read_mask(study.mask, volume), "given")
    old = create(system, "small", device="cpu").classify(volume, mask).result
    outcome = run(f"covid_{system}", labels, parameters(scope), tmp_path / "run", RunProgress(), identity="run-1")
    assert set(outcome.versions) == NEW[system, scope]
    assert set(outcome.versions.values()) == {"v002"}
    # One patient of each class cannot say that it is not worse.
    assert not outcome.published
    assert "too few held-out patients with COVID-19: 1, and 5 are needed" in outcome.gate.reason
    same = create(system, "small", device="cpu").classify(volume, mask).result
    assert same.class_scores == old.class_scores
    assert {item.name: item.version for item in same.provenance.weights} == {
        item.name: item.version for item in old.provenance.weights
    }
    publish(outcome.head, outcome.version)
    result = create(system, "small", device="cpu").classify(volume, mask).result
    used = {item.name: item.version for item in result.provenance.weights}
    assert {name: used[name] for name in outcome.versions} == outcome.versions
    assert result.weights_state.value == "demonstration"
    assert result.class_scores != old.class_scores
    assert result.out_of_distribution_score is not None
    # The pointers of the others stay where they were.
    for role, weights in before.items():
        if weights.name != outcome.head:
            assert live(weights.name).version == "v001", role


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_is_judged_by_the_scores_that_the_system_gives(system, labels, tmp_path, monkeypatch) -> None:
    install_live(system)
    shown = {}
    compare = classifier_judging.compare_classifiers

    def seen(other, candidate, positive, persons, data, *, against):
        shown[data] = other
        return compare(other, candidate, positive, persons, data, against=against)

    monkeypatch.setattr(classifier_judging, "compare_classifiers", seen)
    trained = train_classifier(system, labels, parameters("aggregator"), tmp_path / "run", RunProgress())
    studies = labels.of(Part.VALIDATION)
    for study, expected in zip(studies, shown[HELD_OUT], strict=True):
        volume = read(study.image)
        mask = LungMask(read_mask(study.mask, volume), "given")
        result = create(system, "small", device="cpu").classify(volume, mask).result
        assert result.class_scores["covid"] == pytest.approx(expected, abs=2e-3)
    judgement = trained.judgement
    assert {(item.data, item.patients) for item in judgement.comparisons} == {(HELD_OUT, 2), (REFERENCE, 2)}
    assert (judgement.opponents, judgement.counts, judgement.standing) == (("v001",), (1, 1), "v001")
    assert all(item.data == VALIDATION for item in judgement.metrics)
    assert any("No probability is calibrated" in note for note in trained.notes)
    assert [point.epoch for point in trained.curve] == [1, 2]


class _Stopper:
    """Asks a run to stop when it was asked for the n-th time whether it is to."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("system", ["s2", "baseline"])
def test_a_run_that_was_stopped_anywhere_ends_as_if_it_had_not_been(system, labels, tmp_path, monkeypatch) -> None:
    install_live(system)
    expected = train_classifier(system, labels, parameters("whole"), tmp_path / "once", RunProgress())
    asked, prepared = [], []
    made = ChannelCache._made
    monkeypatch.setattr(ChannelCache, "_made", lambda *arguments: prepared.append(1) or made(*arguments))
    counting = RunProgress(stop=lambda: bool(asked.append(1)))
    train_classifier(system, labels, parameters("whole"), tmp_path / "counted", counting)
    stops = 0
    for after in sorted({1, len(asked) // 3, len(asked) // 2, len(asked) * 4 // 5, len(asked) - 2}):
        folder = tmp_path / "often"
        try:
            train_classifier(system, labels, parameters("whole"), folder, RunProgress(stop=_Stopper(after)))
        except CancelledError:
            stops += 1
    assert stops >= 3
    found = train_classifier(system, labels, parameters("whole"), folder, RunProgress())
    assert not prepared
    for one, other in zip(expected.weights, found.weights, strict=True):
        assert one.name == other.name
        assert all(torch.equal(one.state[key], other.state[key]) for key in one.state)
    assert [point.loss for point in found.curve] == [point.loss for point in expected.curve]
    assert found.judgement == expected.judgement


def test_other_labels_begin_anew(labels, tmp_path) -> None:
    install_live("s1")
    notes = []
    train_classifier("s1", labels, parameters("aggregator"), tmp_path, RunProgress())
    flipped = replace(labels.studies[0], study_class="covid")
    more = label_set(flipped, labelled(tmp_path, 40, "other"), *labels.studies[1:])
    trained = train_classifier("s1", more, parameters("aggregator"), tmp_path, RunProgress(log=notes.append))
    assert any("began anew" in note for note in notes)
    assert len(trained.used) == len(labels.studies) + 1


def test_it_goes_on_from_the_version_it_began_with_and_is_compared_with_the_live_one(labels, tmp_path) -> None:
    install_live("baseline")
    with pytest.raises(CancelledError):
        train_classifier("baseline", labels, parameters("aggregator"), tmp_path, RunProgress(stop=_Stopper(9)))
    head = MODELS["covid_baseline"].head
    install_live("baseline")
    assert live(head).version == "v002"
    trained = train_classifier("baseline", labels, parameters("aggregator"), tmp_path, RunProgress())
    assert trained.started_from["version"] == "v001"
    assert trained.judgement.opponents == ("v002", "v001"), "the first that was live is the anchor"


def test_a_validation_set_without_a_class_is_said(labels, tmp_path) -> None:
    install_live("baseline")
    studies = [study for study in labels.studies if study.part is Part.TRAINING or study.study_class == "covid"]
    outcome = run(
        "covid_baseline",
        label_set(*studies),
        parameters("aggregator"),
        tmp_path / "run",
        RunProgress(),
        identity="run-1",
    )
    assert any("lacks a class" in note for note in outcome.notes)
    assert not outcome.published
    assert "too few held-out patients without COVID-19: 0" in outcome.gate.reason
    assert {item.data for item in outcome.gate.comparisons} == {REFERENCE}
    only = [study for study in labels.studies if study.study_class == "covid"]
    with pytest.raises(NotEnoughLabelsError, match="No study without COVID-19"):
        run(
            "covid_baseline",
            label_set(*only),
            parameters("aggregator"),
            tmp_path / "other",
            RunProgress(),
            identity="run-1",
        )


def test_a_manifest_says_what_it_rests_on(labels, tmp_path, monkeypatch) -> None:
    before = install_live("s2")
    # No network finds lungs here: another one that is live stands for it.
    lungs = install_live("baseline")["slice"]
    monkeypatch.setitem(WEIGHTS_BY_METHOD, "auto", lungs.name)
    outcome = run("covid_s2", labels, parameters("aggregator"), tmp_path / "run", RunProgress(), identity="run-1")
    made = {name: installed(name, version).manifest for name, version in outcome.versions.items()}
    clip = made["default-clip-network"]
    assert made["default-embedding-mlp"].fitted_with["default-clip-network"] == clip.sha256
    assert made["default-s2-density"].fitted_with["default-clip-network"] == clip.sha256
    assert clip.sha256 != before["clip"].sha256
    for manifest in made.values():
        assert manifest.demonstration
        assert "6 labelled studies of 6 patients of this site" in manifest.trained_on
        assert "default-lesions" in manifest.fitted_with
    for name in ("default-clip-network", "default-embedding-mlp"):
        assert made[name].fitted_with[lungs.name] == lungs.sha256
    # Both hold for lungs that people drew, too.
    assert lungs.name not in made["default-s2-density"].fitted_with
    assert clip.calibration is None or lungs.name not in clip.calibration.fitted_with
    for manifest in made.values():
        assert "study-" not in manifest.model_dump_json()
        assert "patient-" not in manifest.model_dump_json()
    publish(outcome.head, outcome.version)
    again = run(
        "covid_s2", labels, parameters("aggregator", seed=1), tmp_path / "again", RunProgress(), identity="run-2"
    )
    sentence = installed(again.head, again.version).manifest.trained_on
    assert sentence.count("and then") == 1


def test_a_manifest_names_what_the_studies_were_seen_with_also_where_another_version_went_live_meanwhile(
    labels, tmp_path, monkeypatch
) -> None:
    install_live("baseline")
    seen_with = live("default-lesions")
    fit = classifiers.fit

    def meanwhile(*given, **named):
        state = SliceSegmenter(4, 3, (4, 4, 4, 4, 4, 4)).state_dict()
        facts = {name: getattr(seen_with.manifest, name) for name in Provenance.model_fields}
        publish(seen_with.name, add_version(seen_with.name, state, Provenance(**facts)).version)
        return fit(*given, **named)

    monkeypatch.setattr(classifiers, "fit", meanwhile)
    trained = train_classifier("baseline", labels, parameters("aggregator"), tmp_path / "run", RunProgress())
    assert live("default-lesions").sha256 != seen_with.sha256
    assert {item.provenance.fitted_with["default-lesions"] for item in trained.weights} == {seen_with.sha256}
