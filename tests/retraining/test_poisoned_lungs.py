"""Lungs, whole runs with the default parameters: masks that are wrong in every part are refused, a gain goes live.

The rehearsed phantoms and the reference studies stay right, whatever the labels of the site say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_site import REFERENCE_SIZE, SidesSwapped, file_sha256, label_set, labelled

from covid_bert.lungs import unet
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.retraining import lung_learner, lungs, reference
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.gate import LUNGS_RULE, decide
from covid_bert.retraining.judging import candidate_segmenter
from covid_bert.retraining.lung_judging import judge_lungs
from covid_bert.retraining.measuring import DICE, HELD_OUT, REFERENCE, TEST, VALIDATION
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.run import run
from covid_bert.volumes import read, read_mask, write_mask
from covid_bert.weights import store
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.serving import serviceable
from covid_bert.weights.store import installed, live, load_into, publish

NAME = unet.WEIGHTS_NAME
PARTS = (Part.TRAINING, Part.TRAINING, Part.VALIDATION, Part.VALIDATION, Part.TEST)
LOOK = "look whether sides were swapped or masks inverted"
Change = Callable[[np.ndarray], np.ndarray]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledStudy, ...]:
    folder = tmp_path_factory.mktemp("site")
    return tuple(labelled(folder, number, None, part) for number, part in enumerate(PARTS, start=50))


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """They are made once for all tests."""
    return tmp_path_factory.mktemp("references")


@pytest.fixture(autouse=True)
def _small(references: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "home", lambda: references)
    monkeypatch.setattr(reference, "FULL", replace(REFERENCE_SIZE, lungs=2))
    monkeypatch.setattr(lungs, "PHANTOM_SEEDS", lungs.PHANTOM_SEEDS[:1])
    monkeypatch.setattr(lung_learner, "BATCH", 2)


def labels(site: tuple[LabelledStudy, ...], folder: Path, change: Change) -> LabelSet:
    """The label set, every mask changed."""
    found = []
    for study in site:
        volume = read(study.image)
        mask = write_mask(change(read_mask(study.mask, volume)), volume, folder / f"{study.identifier}.nii.gz")
        found.append(replace(study, mask=mask, mask_sha256=file_sha256(mask)))
    return label_set(*found)


def trained(label_set: LabelSet, folder: Path):
    parameters = TrainingParameters(epochs=1, device="cpu")
    return run("lungs", label_set, parameters, folder, RunProgress(), identity="run-1")


def swapped(mask: np.ndarray) -> np.ndarray:
    return np.array([0, 2, 1], np.uint8)[mask]


def inverted(mask: np.ndarray) -> np.ndarray:
    sides = np.ones_like(mask)
    sides[..., mask.shape[2] // 2 :] = 2
    return np.where(mask > 0, 0, sides).astype(np.uint8)


@pytest.mark.parametrize("poison", [swapped, inverted])
def test_masks_that_are_wrong_in_every_part_are_refused_with_what_to_look_for(site, poison, tmp_path) -> None:
    before = live(NAME)
    outcome = trained(labels(site, tmp_path, poison), tmp_path / "run")
    assert not outcome.published
    assert live(NAME) == before
    assert f"contradict {before.version}" in outcome.gate.reason
    assert LOOK in outcome.gate.reason


def test_a_version_that_has_followed_swapped_masks_marks_other_voxels(site, tmp_path) -> None:
    """On the labels of the site it is nearly perfect."""
    shipped = live(NAME)
    module = ARCHITECTURES[unet.ARCHITECTURE]()
    load_into(module, shipped)
    window = shipped.manifest.input.window_hu
    held = [study for study in labels(site, tmp_path, swapped).studies if study.part is not Part.TRAINING]
    candidate, before = (candidate_segmenter(item, window) for item in (SidesSwapped(module), module))
    judgement, judged = judge_lungs(candidate, {"v003": before}, held, RunProgress())
    assert judged == tuple(held)
    assert [item.passed for item in judgement.comparisons] == [True, False]
    assert judgement.comparisons[0].candidate > 0.9
    assert judgement.agreement.upper < 0.1
    reason = decide(judgement, LUNGS_RULE).reason
    assert "It marks other voxels than v003" in reason
    assert LOOK in reason


def put_live(change: Callable[[dict[str, torch.Tensor]], None], state: dict[str, torch.Tensor], before) -> str:
    changed = {key: value.clone() for key, value in state.items()}
    change(changed)
    provenance = Provenance(architecture=unet.ARCHITECTURE, role=before.manifest.role, input=before.manifest.input)
    return publish(NAME, add_version(NAME, changed, provenance).version).version


def test_a_gain_goes_live_also_where_the_live_version_is_damaged(site, tmp_path, monkeypatch) -> None:
    """Live networks miss the border of the lungs; the newest of them is damaged on the disk."""
    shipped = live(NAME)
    module = ARCHITECTURES[unet.ARCHITECTURE]()
    load_into(module, shipped)
    monkeypatch.setattr(store, "shipped_root", lambda: tmp_path / "nothing-shipped")

    def careful(state: dict[str, torch.Tensor]) -> None:
        state["final_conv.bias"][0] += 6.0

    first, second = (put_live(careful, module.state_dict(), shipped) for _ in range(2))
    path = installed(NAME, second).path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert serviceable(NAME).weights.version == first
    outcome = trained(labels(site, tmp_path, lambda mask: mask), tmp_path / "run")
    assert outcome.published, outcome.gate.reason
    assert (outcome.gate.against, outcome.gate.pointed) == (first, second)
    assert live(NAME).version == outcome.version
    assert all(item.difference > 0 for item in outcome.gate.comparisons)
    assert {item.data for item in outcome.metrics} == {VALIDATION, TEST}
    assert {(item.measure, item.data) for item in outcome.gate.comparisons} == {(DICE, HELD_OUT), (DICE, REFERENCE)}
