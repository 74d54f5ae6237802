"""Lungs end to end: real studies, masks that were corrected by hand in one way, and what the next version does."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covid_bert.errors import CancelledError, NotEnoughLabelsError
from covid_bert.lungs import unet
from covid_bert.retraining import lung_learner, lungs, reference
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.judging import mean_dice
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.run import run
from covid_bert.volumes import Volume, read, write_mask
from covid_bert.weights.store import live, publish

CONSOLIDATED = 45.0  # HU
EPOCHS = 3


def part_of_a_real_study(sample_data: Path, folder: Path, name: str, slices: slice) -> Path:
    """Some slices of a sample study in 3.4 mm pixels or so, with the lower back of its right lung made airless."""
    source = read(sample_data / name)
    array = np.asarray(source.array[slices], np.float32)
    step = round(3.0 / source.spacing[1])
    rows, columns = (length // step for length in array.shape[1:])
    array = array[:, : rows * step, : columns * step].reshape(len(array), rows, step, columns, step).mean((2, 4))
    spacing = (source.spacing[0], source.spacing[1] * step, source.spacing[2] * step)
    path = folder / f"{Path(name).name.split('.')[0]}.nii.gz"
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    nibabel.save(nibabel.Nifti1Image(np.rint(array).astype(np.int16).transpose(2, 1, 0), affine), path)
    return path


def consolidate(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fill the back third of the right lung, and return the mask with it and the consolidation."""
    volume = read(path)
    mask = unet.segment(volume).array.copy()
    right = mask == 1
    back = np.zeros_like(right)
    rows = np.flatnonzero(right.any((0, 2)))
    back[:, rows[0] + 2 * (rows[-1] - rows[0]) // 3 :] = True
    dense = right & back
    image = nibabel.load(path)
    array = np.asarray(volume.array).copy()
    array[dense] = CONSOLIDATED + np.random.default_rng(1).normal(0, 15, int(dense.sum()))
    nibabel.save(nibabel.Nifti1Image(array[:, ::1].transpose(2, 1, 0), image.affine), path)
    return mask, dense


@pytest.fixture(scope="module")
def studies(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, np.ndarray, np.ndarray]]:
    folder = tmp_path_factory.mktemp("studies")
    paths = [
        part_of_a_real_study(sample_data, folder, "lung_dx_a0001", slice(16, 40)),
        part_of_a_real_study(sample_data, folder, "lung1_image.nrrd", slice(8, 32)),
        part_of_a_real_study(sample_data, folder, "chest_cta.nii.gz", slice(50, 122, 3)),
    ]
    return [(path, *consolidate(path)) for path in paths]


def labels(studies, folder: Path, change, parts=(Part.TRAINING, Part.TRAINING, Part.VALIDATION)) -> LabelSet:
    """A label set; `change` makes the mask that a reader submits of the right one."""
    found = []
    for number, ((path, mask, _), part) in enumerate(zip(studies, parts, strict=True)):
        file = write_mask(change(mask), read(path), folder / f"mask-{number}.nii.gz")
        hashes = [hashlib.sha256(item.read_bytes()).hexdigest() for item in (path, file)]
        found.append(LabelledStudy(path.stem, f"person-{number}", part, path, hashes[0], file, hashes[1]))
    return LabelSet(tuple(found), (), "0" * 64, "newest")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer slabs and reference studies, so that a run takes seconds."""
    monkeypatch.setattr(lung_learner, "BATCH", 2)
    monkeypatch.setattr(reference, "FULL", reference.ReferenceSize(lungs=3))
    monkeypatch.setattr(lungs, "PHANTOM_SEEDS", lungs.PHANTOM_SEEDS[:1])


def run_lungs(label_set: LabelSet, folder: Path, progress: RunProgress | None = None, **parameters):
    chosen = TrainingParameters(**{"epochs": EPOCHS, "device": "cpu", **parameters})
    return run("lungs", label_set, chosen, folder, progress or RunProgress(), identity="run-1")


def share_found(volume: Volume, dense: np.ndarray) -> float:
    return float((unet.segment(volume).array[dense] > 0).mean())


@pytest.mark.slow
def test_the_next_version_follows_a_systematic_correction(studies, tmp_path, quick) -> None:
    """Readers count consolidated lung as lung: the next version takes in more of it, in a study it has not seen."""
    path, truth, dense = studies[2]
    volume = read(path)
    before, dice_before = share_found(volume, dense), mean_dice(unet.segment(volume).array, truth)
    outcome = run_lungs(labels(studies, tmp_path, lambda mask: mask), tmp_path / "run")
    # One patient is too few to judge on: a person publishes.
    assert not outcome.published
    assert "too few held-out patients with a corrected lung mask: 1, and 3 are needed" in outcome.gate.reason
    publish(outcome.head, outcome.version)
    after, dice_after = share_found(volume, dense), mean_dice(unet.segment(volume).array, truth)
    assert after > before + 0.02
    assert dice_after > dice_before


@pytest.mark.slow
def test_poisoned_masks_do_not_go_live(studies, tmp_path, quick) -> None:
    """All masks inverted, those that are judged on too: the reference studies stop it."""
    before = live(unet.WEIGHTS_NAME)

    def inverted(mask: np.ndarray) -> np.ndarray:
        sides = np.ones_like(mask)
        sides[..., mask.shape[2] // 2 :] = 2
        return np.where(mask > 0, 0, sides)

    outcome = run_lungs(labels(studies, tmp_path, inverted), tmp_path / "run", epochs=1)
    assert not outcome.published
    assert not next(item for item in outcome.gate.comparisons if item.data == "reference studies").passed
    assert live(unet.WEIGHTS_NAME) == before


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_was(studies, tmp_path, quick, monkeypatch) -> None:
    label_set = labels(studies, tmp_path, lambda mask: mask)
    states = []
    progress = RunProgress(states.append, lambda: bool(states and states[-1].fit and states[-1].fit.epoch == 2))
    with pytest.raises(CancelledError):
        run_lungs(label_set, tmp_path / "run", progress)

    def never(*_arguments) -> None:
        raise AssertionError("The studies were read a second time.")

    # Read already, and kept; those to judge on are read again at the end.
    monkeypatch.setattr("covid_bert.retraining.lung_cases.read_case", never)
    lines: list[str] = []
    outcome = run_lungs(label_set, tmp_path / "run", RunProgress(log=lines.append))
    assert [line for line in lines if line.startswith("Epoch[1]")] == []
    assert outcome.version


def test_one_corrupt_study_is_named_and_skipped(studies, tmp_path) -> None:
    good = labels(studies, tmp_path, lambda mask: mask)
    (tmp_path / "bad.nii.gz").write_bytes(b"no mask")
    bad = replace(good.studies[0], identifier="bad-one", mask=tmp_path / "bad.nii.gz", mask_sha256="b" * 64)
    progress = RunProgress()
    training = (*good.of(Part.TRAINING), bad)
    kept, _ = lungs._kept(training, (), tmp_path / "material", progress)
    assert [study.identifier for study in kept] == [study.identifier for study in good.of(Part.TRAINING)]
    assert [item.identifier for item in progress.state.left_out] == ["bad-one"]
    assert progress.state.left_out[0].reason


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_corrected_masks_is_a_sentence(studies, tmp_path, count) -> None:
    parts = [Part.TRAINING] * count + [Part.TEST] * (3 - count)
    with pytest.raises(NotEnoughLabelsError, match="2 are needed"):
        run_lungs(labels(studies, tmp_path, lambda mask: mask, parts), tmp_path / "run")


def test_the_learner_repeats_its_batches(studies, tmp_path) -> None:
    label_set = labels(studies, tmp_path, lambda mask: mask)
    lungs._kept(label_set.studies, (), tmp_path / "material", RunProgress())
    cases = [lungs.kept_case(study, tmp_path / "material") for study in label_set.studies]

    def batch(epoch: int, rank: int = 0):
        module = lungs.ARCHITECTURES[unet.ARCHITECTURE]()
        learner = lung_learner.LungLearner(
            module, cases, cases[:1], cases, window_hu=(-1024.0, 400.0), seed=4, check=lambda: None
        )
        return next(learner.batches(epoch, rank, 2))

    first, again, other, elsewhere = batch(1), batch(1), batch(2), batch(1, rank=1)
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert not (first[0] == other[0]).all()
    assert not (first[0] == elsewhere[0]).all()
