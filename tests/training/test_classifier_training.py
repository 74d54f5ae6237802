"""Training of the small classifiers: draws, learning, folds by person, calibration, installation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covid_bert.errors import NotFoundError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.systems import SYSTEMS
from covid_bert.training import default_classifiers
from covid_bert.training.calibration import OutOfFold, assess, calibrated, folds_by_person, log_loss, youden
from covid_bert.training.classifier import train_clip_network, train_mlp, train_slice_network
from covid_bert.training.clip_samples import StudyDraw, augmented, draw_clip, draw_slice
from covid_bert.training.default_classifiers import Classifiers, ClassifierTraining, train_classifiers
from covid_bert.training.installation import LEAST_AUC, install_classifiers
from covid_bert.training.material import Material
from covid_bert.training.predictions import embed_studies, vote
from covid_bert.training.schedule import Schedule
from covid_bert.training.studies import COVID, OTHER, ClassifierStudy, StudyPlan
from covid_bert.weights.registry import entry
from covid_bert.weights.store import live
from lesion_networks import install_lesion_weights

SOURCES = ("anna", "ben", "cleo", "phantom-1")
TINY = Schedule(3, 2, 1e-3, 1e-2)


def study(number: int, label: int, source: str, slices: int = 12) -> ClassifierStudy:
    """Lesion evidence in the upper slices of a study with the finding; nothing else tells the classes apart."""
    generator = np.random.default_rng(number)
    channels = generator.integers(80, 120, (slices, 3, 120, 120), dtype=np.uint8)
    channels[:, 1] = 0
    share = np.zeros(slices, np.float32)
    if label == COVID:
        share[slices // 2 :] = 0.2
        channels[slices // 2 :, 1, 40:80, 40:80] = 220
    plan = StudyPlan(number, source, "covid-like" if label == COVID else "none", 0.5, number, 2.5)
    return ClassifierStudy(plan, label, channels, share, {})


@pytest.fixture(scope="module")
def studies() -> list[ClassifierStudy]:
    return [study(number, (number // 4) % 2, SOURCES[number % 4]) for number in range(24)]


def test_draws_are_balanced_by_class_and_source() -> None:
    many = [study(0, COVID, "anna", 2), *(study(number, OTHER, "ben", 2) for number in range(1, 9))]
    many.append(study(9, OTHER, "cleo", 2))
    drawn = StudyDraw(many, np.random.default_rng(0)).batch(400)
    assert sum(item.label == COVID for item in drawn) == 200
    assert 60 < sum(item.source == "cleo" for item in drawn) < 140
    with pytest.raises(ValueError, match="both classes"):
        StudyDraw(many[1:], np.random.default_rng(0))


@pytest.mark.parametrize("slices", [5, 32, 33, 90])
def test_clips_are_of_the_study_and_windows_of_the_finding_hold_lesions(slices: int) -> None:
    generator = np.random.default_rng(0)
    item = study(0, COVID, "anna", slices)
    item.lesion_share[:] = 0
    item.lesion_share[-30:] = 0.5
    windows = 0
    for _ in range(200):
        positions = draw_clip(item, generator)
        assert positions.shape == (32,)
        assert positions.min() >= 0
        assert positions.max() < slices
        assert (np.diff(positions) >= 0).all()
        if slices > 60 and (np.diff(positions) == 1).all():
            windows += 1
            assert positions[-1] >= slices - 30 + 2
    assert slices < 60 or windows > 0


def test_slices_are_of_the_central_half_and_show_the_finding() -> None:
    generator = np.random.default_rng(0)
    for label, expected in ((COVID, range(20, 30)), (OTHER, range(10, 30))):
        item = study(0, label, "anna", 40)
        assert {int(draw_slice(item, generator)[0]) for _ in range(400)} == set(expected)


def test_augmentation_keeps_shape_and_lesions_outside_of_which_nothing_is_added() -> None:
    item = study(0, COVID, "anna")
    generator = np.random.default_rng(0)
    samples = [augmented(item.channels, np.arange(12), generator) for _ in range(5)]
    assert all(sample.shape == (3, 12, 96, 96) for sample in samples)
    nothing = (0 - 0.394666) / 0.22145
    for sample in samples:
        assert sample[1, :6].unique().tolist() == pytest.approx([nothing], abs=1e-5)
        assert sample[1, 6:].max() > 0
    assert not torch.equal(samples[0], samples[1])


def test_the_slice_network_learns_what_tells_the_classes_apart(studies) -> None:
    torch.manual_seed(0)
    module = ARCHITECTURES["efficientnet-b0-narrow"]()
    losses: list[float] = []
    module = train_slice_network(
        module, studies, Schedule(50, 4, 3e-3), seed=1, on_step=lambda _step, loss, _seconds: losses.append(loss)
    )
    assert not module.training
    assert losses[-1] < 0.6 * losses[0]
    scores, embeddings = vote(module, studies)
    assert scores.sum(1) == pytest.approx(np.ones(len(studies)), abs=1e-5)
    assert embeddings.shape == (len(studies), module.EMBEDDING_SIZE)


def test_training_repeats_with_its_seed_and_leaves_the_generator_alone(small_networks, studies) -> None:
    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        module = ARCHITECTURES["r2plus1d18-narrow-bert"]()
        before = torch.get_rng_state()
        train_clip_network(module, studies, TINY, seed=seed, precision=torch.float32)
        assert torch.equal(before, torch.get_rng_state())
        return torch.cat([value.flatten() for value in module.parameters()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_embeddings_are_of_all_clips_and_the_mlp_learns_from_them(small_networks, studies) -> None:
    torch.manual_seed(0)
    module = ARCHITECTURES["r2plus1d18-narrow-bert"]()
    many = [*studies, study(99, COVID, "anna", 70)]
    found = embed_studies(module, many)
    assert found[0].sets.shape == found[0].windows.shape == (1, 32)
    assert found[-1].sets.shape == (2, 32)
    assert found[-1].windows.shape == (3, 32)
    assert float(found[-1].set_scores.sum()) == pytest.approx(1, abs=1e-5)
    assert any(isinstance(layer, torch.nn.BatchNorm3d) for layer in module.modules())
    mlp = train_mlp(ARCHITECTURES["embedding-mlp-narrow"](), found, TINY, seed=0)
    assert mlp(found[-1].sets).shape == (2,)


def test_folds_are_by_person() -> None:
    folds = folds_by_person(["a", "b", "a", "c", "d", "e", "b"], 3, seed=0)
    assert sorted(person for fold in folds for person in fold) == ["a", "b", "c", "d", "e"]
    assert sorted(len(fold) for fold in folds) == [1, 2, 2]
    for count in (1, 6):
        with pytest.raises(ValueError, match="folds"):
            folds_by_person(["a", "b", "c", "d", "e"], count, seed=0)


def test_temperature_and_threshold_are_those_of_the_scores() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 4000)
    labels = np.where(generator.random(4000) < 1 / (1 + np.exp(-logits)), COVID, OTHER)
    # Three times too sure of itself.
    shares = 1 / (1 + np.exp(-3 * logits))
    scores = np.stack((shares, 1 - shares), axis=1)
    found = assess(scores, labels)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.threshold == pytest.approx(0.5, abs=0.08)
    assert found.log_loss < log_loss(shares, labels == COVID)
    assert 0.7 < found.balanced_accuracy < found.auc < 0.95
    assert calibrated(scores, found.temperature) == pytest.approx(1 / (1 + np.exp(-3 * logits / found.temperature)))


def test_scores_are_never_sharpened_and_need_both_classes() -> None:
    shares = np.array([0.6, 0.7, 0.3, 0.4])
    scores, labels = np.stack((shares, 1 - shares), axis=1), np.array([COVID, COVID, OTHER, OTHER])
    found = assess(scores, labels)
    assert found.temperature == pytest.approx(1.0)
    assert (found.balanced_accuracy, found.auc, found.threshold) == (1.0, 1.0, pytest.approx(0.5))
    with pytest.raises(ValueError, match="both classes"):
        assess(scores[:2], labels[:2])


def test_youden_takes_the_middle_and_the_best() -> None:
    probability = np.array([0.1, 0.2, 0.6, 0.9])
    assert youden(probability, np.array([False, False, True, True])) == (pytest.approx(0.4), 1.0)
    assert youden(probability, np.array([False, True, False, True]))[1] == pytest.approx(0.75)


def test_from_studies_to_installed_weights(small_networks, studies, monkeypatch, tmp_path) -> None:
    # Of dora one lung is not shown.
    many = [*studies, *(study(100 + number, number % 2, "dora") for number in range(6))]
    monkeypatch.setattr(default_classifiers, "make_studies", lambda *_, **__: many)
    said: list[str] = []
    training = ClassifierTraining(len(many), 3, 0.5, TINY, TINY, TINY, TINY)
    both, one = np.array([[[1, 2]]], np.uint8), np.array([[[1, 0]]], np.uint8)
    nothing = np.zeros(both.shape, np.bool_)
    materials = [
        Material(name, both, one if name == "dora" else both, nothing, (1.0, 1.0, 1.0)) for name in (*SOURCES, "dora")
    ]
    trained = train_classifiers(materials, tmp_path, None, training, seed=0, say=said.append)
    assert (trained.persons, trained.phantoms, trained.studies, trained.held_persons) == (4, 1, 30, 3)
    held = [line.split("without ")[1] for line in said if "without" in line]
    assert sorted(", ".join(held).split(", ")) == ["anna", "ben", "cleo"]
    lesions = install_lesion_weights()
    installed = {item.name: item for item in install_classifiers(trained, lesions)}
    assert len(installed) == 7
    for name, weights in installed.items():
        manifest = weights.manifest
        assert manifest.demonstration
        assert (manifest.architecture, manifest.role) == (entry(name).architecture, entry(name).role)
        assert manifest.licence == entry(name).licence
        assert "30 synthetic studies" in manifest.trained_on
        assert live(name).sha256 == weights.sha256
    clip = installed["default-clip-network"]
    read = {lesions.name: lesions.sha256}
    both = read | {clip.name: clip.sha256}
    study_network = installed["default-study-network"].manifest
    assert study_network.fitted_with == both
    assert clip.manifest.fitted_with == read
    assert installed["default-s1-density"].manifest.fitted_with == both
    for name, manifest, fitted_with in (("s1", study_network, both), ("s2", clip.manifest, read)):
        if trained.out_of_fold[name].auc >= LEAST_AUC:
            assert manifest.calibration.fitted_with == fitted_with
            assert "18 synthetic studies of 3 real persons" in manifest.calibration.fitted_on
            assert manifest.operating_point is not None
        else:
            assert manifest.calibration is None
            assert manifest.operating_point is None
        assert manifest.metrics[0].value == round(trained.out_of_fold[name].auc, 4)
    assert clip.manifest.input.size == (96, 96)
    thresholds = [float(module.threshold) for name, module in trained.modules.items() if "density" in name]
    assert len(set(thresholds)) == 3


@pytest.mark.parametrize(("auc", "given"), [(LEAST_AUC - 0.01, False), (LEAST_AUC, True)])
def test_a_system_that_hardly_beats_chance_gets_no_calibration(small_networks, auc: float, given: bool) -> None:
    names = ("s1", "s2", "baseline")
    modules = {
        part.weights: ARCHITECTURES[part.architecture]()
        for name in names
        for part in SYSTEMS[name].configurations["small"].parts.values()
    }
    found = OutOfFold(temperature=1.5, threshold=0.4, log_loss=0.6, balanced_accuracy=0.6, auc=auc, studies=20)
    trained = Classifiers(modules, dict.fromkeys(names, found), persons=3, phantoms=1, studies=20, held_persons=3)
    installed = {item.name: item.manifest for item in install_classifiers(trained, install_lesion_weights())}
    for name in ("default-study-network", "default-clip-network", "default-slice-network"):
        assert (installed[name].calibration is not None) is given
        assert (installed[name].operating_point is not None) is given
        assert installed[name].metrics[0].value == round(auc, 4)


def test_batch_norms_are_settled_on_the_training_slices(studies) -> None:
    module = ARCHITECTURES["efficientnet-b0-narrow"]()
    torch.manual_seed(0)
    trained = train_slice_network(module, studies, TINY, seed=0)
    norms = [part for part in trained.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    assert {norm.momentum for norm in norms} == {0.01}
    # Three steps alone would leave the variances within a few hundredths of where they began, at one.
    assert float((trained.trunk._bn0.running_var - 1).abs().median()) > 0.2


def test_material_of_too_few_persons_is_refused_before_anything_is_made(tmp_path) -> None:
    both = np.array([[[1, 2]]], np.uint8)
    materials = [
        Material(name, both, both, np.zeros(both.shape, np.bool_), (1.0, 1.0, 1.0)) for name in ("anna", "phantom-1")
    ]
    with pytest.raises(NotFoundError, match="of 3 persons that show both lungs; 1 are there") as caught:
        train_classifiers(materials, tmp_path / "studies", None, seed=0)
    assert "--only" in caught.value.hint
    assert not (tmp_path / "studies").exists()
