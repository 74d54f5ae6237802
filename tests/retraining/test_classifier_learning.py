"""Learning from labels without images: draws of several processes, embeddings that are given, a poisoned label set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.retraining import classifier_judging, classifier_learners, classifiers
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.channel_cache import SeenChannels
from covid_bert.retraining.classifier_embedding import EmbeddingFolder
from covid_bert.retraining.classifier_judging import Scored, calibration_of
from covid_bert.retraining.classifier_learners import ImageLearner
from covid_bert.retraining.classifier_material import ClassifierMaterial, label_of
from covid_bert.retraining.classifier_systems import Embedded
from covid_bert.retraining.classifiers import Pace
from covid_bert.retraining.measuring import BALANCED, CALIBRATED_LOSS, HELD_OUT, REFERENCE, TEST, VALIDATION
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.run import run
from covid_bert.training.studies import COVID, OTHER
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import installed, live, publish
from lesion_networks import install_lesion_weights

HEAD = "default-slice-network"
SIZE = 224


def seen(number: int, label: int) -> SeenChannels:
    channels = np.random.default_rng(number).integers(0, 255, (6, 3, 120, 120), dtype=np.uint8)
    return SeenChannels(f"p{number}", label, channels, np.full(6, 0.1, np.float32), str(number))


@pytest.mark.parametrize("architecture", ["r2plus1d18-narrow-bert", "efficientnet-b0-narrow"])
def test_two_processes_draw_what_one_draws_with_twice_the_batch(small_networks, architecture) -> None:
    studies = [seen(number, number % 2) for number in range(6)]

    def learner(batch: int) -> ImageLearner:
        return ImageLearner(ARCHITECTURES[architecture](), "s2", studies, studies, batch=batch, seed=3)

    whole = learner(4).batches(2, 0, 1)
    halves = [learner(2).batches(2, rank, 2) for rank in (0, 1)]
    for _ in range(2):
        samples, labels = next(whole)
        parts = [next(half) for half in halves]
        assert torch.equal(samples, torch.cat([part[0] for part in parts]))
        assert labels.tolist() == [*parts[0][1].tolist(), *parts[1][1].tolist()]
        assert sorted(labels.tolist()) == [0, 0, 1, 1]
    assert not torch.equal(samples, next(learner(4).batches(3, 0, 1))[0])


def case(number: int, *, flipped: bool, part: Part) -> LabelledStudy:
    """Odd numbers have the finding, whatever the reader says."""
    finding = (number % 2 == 1) != flipped
    return LabelledStudy(
        str(number), f"p{number}", part, Path("nowhere"), f"{number:064d}", study_class="covid" if finding else "normal"
    )


def labels(*, flipped: bool) -> LabelSet:
    parts = [Part.TRAINING] * 12 + [Part.VALIDATION] * 12 + [Part.TEST] * 6
    studies = tuple(case(number, flipped=flipped, part=part) for number, part in enumerate(parts))
    return LabelSet(studies, (), "0" * 64, "newest")


@pytest.fixture
def embedded_site(small_networks, monkeypatch) -> None:
    """The first channel of an embedding has the truth; the live network reads it, with some doubt."""

    def gathered(labels: LabelSet, _cache, _progress) -> ClassifierMaterial:
        parts = (
            tuple(SeenChannels(s.patient, label_of(s), np.zeros(0), np.zeros(0), s.identifier) for s in labels.of(part))
            for part in Part
        )
        return ClassifierMaterial(*parts, labels.studies)

    def embed(_self, _network, studies) -> list[Embedded]:
        found = []
        for study in studies:
            number = int(study.digest)
            values = 0.05 * torch.randn(4, SIZE, generator=torch.Generator().manual_seed(number))
            values[:, 0] = 1.0 if number % 2 else -1.0
            found.append(Embedded(study.source, study.label, values, torch.tensor([0.5, 0.5])))
        return found

    references = tuple(seen(number, COVID if number % 2 else OTHER) for number in range(100, 120))
    monkeypatch.setattr(classifiers, "gather", gathered)
    monkeypatch.setattr(classifiers, "references", lambda _progress: references)
    monkeypatch.setattr(EmbeddingFolder, "embed", embed)
    monkeypatch.setattr(classifiers, "AGGREGATOR_PACES", {"baseline": Pace(8, 3e-2, 0.0)})
    # What holds the weights back is not what is tested.
    monkeypatch.setattr(classifier_learners, "ANCHOR", 0.0)
    lesions = install_lesion_weights()
    state = ARCHITECTURES["efficientnet-b0-narrow"]().state_dict()
    state["classifier.weight"] = torch.zeros(2, SIZE)
    state["classifier.weight"][COVID, 0], state["classifier.weight"][OTHER, 0] = 0.6, -0.6
    state["classifier.bias"] = torch.zeros(2)
    provenance = Provenance(
        architecture="efficientnet-b0-narrow", role=Role.SLICE_NETWORK, fitted_with={lesions.name: lesions.sha256}
    )
    publish(HEAD, add_version(HEAD, state, provenance).version)


def trained(folder: Path, *, flipped: bool, identity: str = "run-1"):
    parameters = TrainingParameters(scope="aggregator", epochs=6, device="cpu", precision="float32")
    return run(
        "covid_baseline", labels(flipped=flipped), parameters, folder, RunProgress(), identity=identity, by="anna"
    )


def test_right_labels_make_a_version_that_goes_live_with_a_calibration(embedded_site, tmp_path) -> None:
    outcome = trained(tmp_path, flipped=False)
    assert outcome.published, outcome.gate.reason
    assert live(HEAD).version == outcome.version == "v002"
    manifest = installed(HEAD, "v002").manifest
    assert manifest.calibration is not None
    assert manifest.operating_point.positive_class == "covid"
    assert "12 labelled studies of 12 patients of the frozen validation set" in manifest.calibration.fitted_on
    assert manifest.calibration.fitted_with == manifest.fitted_with
    assert not manifest.demonstration
    assert not any("calibrated" in note for note in outcome.notes)
    measured = {(item.measure, item.data): item for item in outcome.metrics}
    assert measured[CALIBRATED_LOSS, TEST].patients == measured[BALANCED, TEST].patients == 6
    assert (BALANCED, VALIDATION) not in measured, "it was chosen there"
    assert any(item.data == f"{TEST}, 6 patients" for item in manifest.metrics)
    assert {item.patients for item in outcome.gate.comparisons if item.data == HELD_OUT} == {18}


def test_what_gives_no_probability_does_not_replace_what_gives_one(embedded_site, tmp_path, monkeypatch) -> None:
    assert trained(tmp_path / "first", flipped=False).published
    monkeypatch.setattr(classifier_judging, "LEAST_CALIBRATION", 7)
    outcome = trained(tmp_path / "second", flipped=False, identity="run-2")
    assert not outcome.published
    assert outcome.gate.reason.startswith("It gives no calibrated probability, and v002 does. No probability is")
    assert live(HEAD).version == "v002"


def test_a_poisoned_label_set_is_stopped_by_the_reference_studies(embedded_site, tmp_path) -> None:
    outcome = trained(tmp_path, flipped=True)
    assert not outcome.published
    assert live(HEAD).version == "v001"
    # Its own validation set, poisoned like the rest, finds it better.
    failed = [item for item in outcome.gate.comparisons if not item.passed]
    assert failed
    assert {item.data for item in failed} == {REFERENCE}
    assert REFERENCE in outcome.gate.reason


def test_a_calibration_needs_patients_of_both_classes_and_scores_that_tell_them_apart() -> None:
    def judged(count: int, scores: torch.Tensor, persons: int) -> Scored:
        items = [
            Embedded(f"p{n % persons}-{n % 2}", n % 2, torch.zeros(1, 2), torch.zeros(2)) for n in range(2 * count)
        ]
        return Scored(items, scores)

    right = torch.tensor([[0.8, 0.2], [0.3, 0.7]] * 6)
    assert calibration_of(judged(6, right, 12))[0] is not None
    found, why = calibration_of(judged(6, right, 4))
    assert found is None
    assert "needs 5 patients of each class" in why
    found, why = calibration_of(judged(6, torch.full((12, 2), 0.5), 12))
    assert found is None
    assert "0.50, and 0.7 is the least" in why
