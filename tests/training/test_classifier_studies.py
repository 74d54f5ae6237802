"""Synthetic studies for the classifiers: drawn from a seed, kept on disk, and as the systems see a study."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from covid_bert.lesions import LesionMask
from covid_bert.lungs.mask import LungMask
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.phantom import Phantom
from covid_bert.progress import Progress
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.systems.configuration import S2_CONFIGURATIONS
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.systems.slices import prepare_slices
from covid_bert.training.lesion_evidence import LesionEvidence
from covid_bert.training.material import Material
from covid_bert.training.slabs import WorkingMaterial
from covid_bert.training.studies import (
    COVID,
    OTHER,
    StudyPlan,
    as_volume,
    load_study,
    make_classifier_study,
    make_studies,
    plan_studies,
)
from covid_bert.weights.identity import WeightsIdentity


@dataclass(frozen=True)
class DenseIsLesion:
    """Stands for the lesion network: what is denser than air, blurred; must travel to another process."""

    calls: Path | None = None

    def __call__(self, hounsfield: np.ndarray, lungs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:  # noqa: ARG002
        if self.calls is not None:
            (self.calls / f"{np.random.default_rng().integers(2**62)}").touch()
        dense = gaussian_filter(((hounsfield > -650) & (lungs > 0)).astype(np.float32), (0, 1, 1))
        return np.where(lungs > 0, np.rint(255 * dense), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def material(phantom: Phantom) -> Material:
    lungs = phantom.lungs.array.copy()
    return Material(
        "one", np.asarray(phantom.volume.array), lungs, np.zeros(lungs.shape, np.bool_), phantom.volume.spacing
    )


@pytest.fixture(scope="module")
def working(material: Material) -> WorkingMaterial:
    return WorkingMaterial.of(material, 3.6, around_lungs=False)


def plan(**changes: object) -> StudyPlan:
    return replace(StudyPlan(0, "one", "covid-like", 0.8, 5, 2.5), **changes)


def test_plans_spread_over_sources_patterns_and_severities() -> None:
    plans = plan_studies(["a", "b", "c", "d"], 400, 3)
    assert set(Counter(item.source for item in plans).values()) == {100}
    patterns = Counter(item.pattern for item in plans)
    assert 160 < patterns["covid-like"] < 240
    assert min(patterns["bacterial-like"], patterns["none"]) > 50
    severities = np.array([item.severity for item in plans])
    assert 0.05 <= severities.min() < 0.1
    assert 0.95 < severities.max() <= 1
    assert 150 < sum(item.thickness > 2.5 for item in plans) < 250
    assert len({item.seed for item in plans}) == 400
    assert plans == plan_studies(["a", "b", "c", "d"], 400, 3)
    assert plans != plan_studies(["a", "b", "c", "d"], 400, 4)


@pytest.mark.parametrize(("pattern", "label"), [("covid-like", COVID), ("bacterial-like", OTHER), ("none", OTHER)])
def test_a_study_has_its_label_and_lesions_where_they_were_planted(working, pattern: str, label: int) -> None:
    study = make_classifier_study(plan(pattern=pattern), working, DenseIsLesion())
    assert study.label == label
    assert study.channels.shape[1:] == (3, 120, 120)
    assert len(study.lesion_share) == len(study.channels)
    assert bool(study.lesion_share.any()) == (pattern != "none")
    assert study.recipe["pattern"] == pattern
    # What is lung in the third channel is raw there.
    raw, _, lung = study.channels.transpose(1, 0, 2, 3)
    assert np.count_nonzero(lung) > 0
    assert np.abs(raw[lung > 60].astype(int) - lung[lung > 60]).mean() < 12


def test_thick_slices_are_fewer(working) -> None:
    thin, thick = (make_classifier_study(plan(thickness=it), working, DenseIsLesion()) for it in (4.0, 8.1))
    assert len(thick.channels) == pytest.approx(len(thin.channels) / 2, abs=2)


def test_training_sees_what_the_systems_see(working) -> None:
    """The composition is that of the configuration, on the same volume, lungs and lesion probability."""
    kept = {}

    def remember(hounsfield: np.ndarray, lungs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
        kept.update(hounsfield=hounsfield, lungs=lungs, spacing=spacing)
        kept["probability"] = DenseIsLesion()(hounsfield, lungs, spacing)
        return kept["probability"]

    made = make_classifier_study(plan(), working, remember)
    volume = as_volume(kept["hounsfield"], kept["spacing"])
    assert volume.spacing == pytest.approx(kept["spacing"])
    lesions = LesionMask((kept["probability"] > 127).astype(np.uint8), kept["probability"], "given")
    study = SegmentedStudy(volume, LungMask(kept["lungs"], "given"), lesions, None)
    stack = prepare_slices(study, S2_CONFIGURATIONS["small"], Progress())
    assert np.array_equal(stack.channels.numpy(), made.channels)


def test_studies_are_kept_and_only_missing_ones_are_made(material, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.training.studies.PIXEL_MILLIMETERS", 3.6)
    folder, calls = tmp_path / "studies", tmp_path / "calls"
    calls.mkdir()
    counts: list[int] = []
    evidence = DenseIsLesion(calls)
    first = make_studies([material], folder, evidence, count=3, seed=1, workers=0, on_study=counts.append)
    assert counts == [1, 2, 3]
    assert len(list(calls.iterdir())) == 3
    (folder / "study-00001.npz").unlink()
    again = make_studies([material], folder, evidence, count=3, seed=1, workers=2, on_study=counts.append)
    assert counts[3:] == [3]
    assert len(list(calls.iterdir())) == 4
    for one, other in zip(first, again, strict=True):
        assert one.plan == other.plan
        assert one.label == other.label
        assert one.recipe == other.recipe
        assert np.array_equal(one.channels, other.channels)
        assert np.array_equal(one.lesion_share, other.lesion_share)
    # Studies of another version of the generator are made again.
    with monkeypatch.context() as patch:
        patch.setattr("covid_bert.training.studies.generator_digest", lambda: "another")
        make_studies([material], folder, evidence, count=3, seed=1, workers=0)
    assert len(list(calls.iterdir())) == 7
    # Another seed is another set of studies, whatever lies in the folder.
    make_studies([material], folder, evidence, count=1, seed=2, workers=0)
    assert load_study(folder / "study-00000.npz").plan == plan_studies(["one"], 1, 2)[0]


def test_the_lesion_networks_evidence_stays_inside_the_lungs(phantom) -> None:
    torch.manual_seed(0)
    module = ARCHITECTURES["lesion-segmenter"]()
    identity = WeightsIdentity.of_untrained("hand-made", 0, {})
    evidence = LesionEvidence(LoadedSegmenter(module.eval(), identity, (-1000.0, 200.0), torch.device("cpu")))
    lungs = phantom.lungs.array
    hounsfield = np.asarray(phantom.volume.array).astype(np.int16)
    found = evidence(hounsfield[:20], lungs[:20], phantom.volume.spacing)
    assert found.dtype == np.uint8
    assert found.shape == (20, *hounsfield.shape[1:])
    assert found.any()
    assert not found[lungs[:20] == 0].any()
