"""What was derived from a study goes with it, and what of trainings nobody needs any more goes by itself."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from lung_labels import add_studies, lungs, save_lungs, say

from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.active_learning.scores import StudyScores
from covid_bert.datastore import forgetting
from covid_bert.datastore.forgetting import REMEMBERED_RUNS, RESUMABLE_SECONDS, forget
from covid_bert.datastore.index import INDEX_NAME
from covid_bert.datastore.label_set import read_label_set
from covid_bert.datastore.store import StudyDatastore
from covid_bert.retraining.derived import (
    KEPT_SECONDS,
    LABELS_FILE,
    label_cache,
    mark_of,
    marks_in,
    retraining_folder,
)
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.run_folder import LOCK_FILE, REQUEST_FILE, RunFolder, list_runs, new_run
from covid_bert.retraining.runs_elsewhere import note_elsewhere, runs_elsewhere
from covid_bert.weights.location import home

NAMES = ("first", "second")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two studies, each with masks of two readers who do not agree, and what was found in them."""
    folder = tmp_path / "studies"
    folder.mkdir()
    add_studies(folder, *NAMES)
    store = StudyDatastore(str(folder))
    for name in NAMES:
        save_lungs(store, tmp_path, name, "anna")
        save_lungs(store, tmp_path, name, "berta", lungs(1))
        say(store, name, "anna", "covid")
    found = read_label_set(folder, "majority", masks=True, cache=label_cache(folder))
    assert len(found.studies) == len(NAMES)
    assert found.left_out == ()
    return folder


def cached(studies: Path, name: str) -> list[Path]:
    return [path for path in label_cache(studies).rglob(f"{mark_of(f'{name}.nii.gz')}-*") if path.is_file()]


def run_of(studies: Path, *names: str, origin: str = "command", path: Path | None = None, **state: object) -> RunFolder:
    """A run that has learned from some studies and stands somehow."""
    runs = retraining_folder(studies) / "runs"
    run = new_run(runs, "lungs", TrainingParameters(), origin=origin, path=path)
    if path is not None:
        note_elsewhere(studies, run)
    run.work.mkdir()
    (run.work / "material.npy").write_bytes(b"voxels of a patient")
    used = [{"image": str(studies / f"{name}.nii.gz")} for name in names]
    (run.work / LABELS_FILE).write_text(json.dumps({"studies": used}))
    run.write_state(run.state().changed(**state))
    return run


def age(run: RunFolder, seconds: float) -> None:
    for path in (run.path, *run.path.iterdir()):
        os.utime(path, (time.time() - seconds,) * 2)


def test_a_removed_study_leaves_nothing_behind(studies: Path) -> None:
    before = {name: cached(studies, name) for name in NAMES}
    assert {path.parent.name for path in before["first"]} == {"images", "good-masks", "consensus"}
    scores = ScoreStore(retraining_folder(studies))
    for name in NAMES:
        scores.knows(name, "state", f"content of {name}", "w1")
        scores.keep(f"content of {name}", "w1", StudyScores(0.1, 0.1, 0.1, np.ones(4)))
    StudyDatastore(str(studies)).remove_image("first")
    assert cached(studies, "first") == []
    assert cached(studies, "second") == before["second"]
    assert list(scores.scores("w1")) == ["second"]
    scores.close()
    left = [path.read_bytes() for path in retraining_folder(studies).rglob("*") if path.is_file()]
    assert not any(b"first" in content for content in left)


def test_a_study_that_was_taken_away_by_hand_is_noticed(studies: Path) -> None:
    (studies / "first.nii.gz").unlink()
    forget(studies)
    assert cached(studies, "first") == []
    assert cached(studies, "second")


def test_a_folder_that_cannot_be_reached_has_lost_nothing(studies: Path) -> None:
    run = run_of(studies, *NAMES, status="failed")
    before = cached(studies, "first")
    away = studies.rename(studies.with_name("away"))
    forget(studies)
    studies.mkdir()
    forget(studies)
    # A server that starts on the place of a disk that is away makes its index there.
    StudyDatastore(str(studies)).close()
    assert (studies / INDEX_NAME).exists()
    forget(studies)
    assert [path.exists() for path in before] == [True] * len(before)
    assert run.work.exists()
    shutil.rmtree(studies)
    away.rename(studies)


def test_the_last_study_that_is_removed_leaves_nothing_behind_either(studies: Path) -> None:
    for name in NAMES:
        StudyDatastore(str(studies)).remove_image(name)
    assert [cached(studies, name) for name in NAMES] == [[], []]


def test_a_study_that_is_not_offered_is_not_gone(studies: Path) -> None:
    run = run_of(studies, "first", status="failed")
    before = cached(studies, "first")
    # Which of both is meant cannot be told.
    (studies / "first.nii").touch()
    forget(studies)
    assert cached(studies, "first") == before
    assert run.work.exists()


def test_what_a_run_that_can_go_on_needs_does_not_get_too_old(studies: Path) -> None:
    run = run_of(studies, "first", status="failed")
    before = {name: cached(studies, name) for name in NAMES}
    for path in (*before["first"], *before["second"]):
        os.utime(path, (time.time() - KEPT_SECONDS - 60,) * 2)
    forget(studies)
    assert {name: cached(studies, name) for name in NAMES} == {**before, "second": []}
    run.write_state(run.state().changed(status="done"))
    forget(studies)
    assert cached(studies, "first") == []


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_an_interrupted_run_learned_from_goes_with_the_study(
    studies: Path, tmp_path: Path, status: str, elsewhere: bool
) -> None:
    run = run_of(studies, "first", path=tmp_path / "mine" if elsewhere else None, status=status)
    other = run_of(studies, "second", status=status)
    StudyDatastore(str(studies)).remove_image("first")
    assert not run.work.exists()
    assert run.request().model == "lungs", "what was asked stays"
    assert other.work.exists()


@pytest.mark.parametrize(("origin", "status"), [("command", "running"), ("server", "waiting"), ("server", "running")])
def test_a_training_under_way_keeps_its_studies_until_it_ends(studies: Path, origin: str, status: str) -> None:
    run = run_of(studies, "first", origin=origin, status=status)
    with FileLock(retraining_folder(studies) / LOCK_FILE):
        StudyDatastore(str(studies)).remove_image("first")
        assert run.work.exists()
        assert cached(studies, "first"), "its masks are being read"
    run.write_state(run.state().changed(status="stopped"))
    forget(studies)
    assert not run.work.exists()
    assert cached(studies, "first") == []


def test_what_can_be_taken_up_again_stays_for_a_week(studies: Path) -> None:
    young, old, taken_up, waiting = (
        run_of(studies, "first", origin=origin, status=status)
        for origin, status in (
            ("command", "failed"),
            ("command", "running"),
            ("command", "stopped"),
            ("server", "waiting"),
        )
    )
    done = run_of(studies, "first", status="done")
    for run in (old, taken_up, waiting):
        age(run, RESUMABLE_SECONDS + 60)
    forget(studies, taken_up=taken_up.path)
    assert [run.work.exists() for run in (young, old, taken_up, waiting, done)] == [True, False, True, True, False]
    forget(studies)
    assert not taken_up.work.exists()


def test_runs_of_other_folders_of_studies_get_old_too(studies: Path, tmp_path: Path) -> None:
    young, old = (run_of(studies, "first", status="failed") for _ in range(2))
    age(old, RESUMABLE_SECONDS + 60)
    forget(tmp_path / "others")
    assert (young.work.exists(), old.work.exists()) == (True, False)


def test_only_the_newest_runs_and_no_damaged_ones_are_remembered(studies: Path, tmp_path: Path) -> None:
    for _ in range(REMEMBERED_RUNS + 3):
        run_of(studies, "first", status="done")
    damaged, half_made = (run_of(studies, "first", status="failed") for _ in range(2))
    for run in (damaged, half_made):
        (run.path / REQUEST_FILE).write_text("{")
    age(damaged, RESUMABLE_SECONDS + 60)
    forget(studies)
    assert len(list_runs(retraining_folder(studies) / "runs")) == REMEMBERED_RUNS
    assert not damaged.path.exists()
    assert half_made.path.exists()


def test_what_is_taken_up_again_is_not_forgotten_with_the_oldest(studies: Path) -> None:
    oldest = run_of(studies, "first", status="failed")
    for _ in range(REMEMBERED_RUNS):
        run_of(studies, "first", status="done")
    forget(studies, taken_up=oldest.path)
    assert oldest.work.exists()
    assert oldest.request().model == "lungs"
    forget(studies)
    assert not oldest.path.exists()


def test_a_run_elsewhere_is_forgotten_when_its_folder_is_gone(studies: Path, tmp_path: Path) -> None:
    run = run_of(studies, "first", path=tmp_path / "mine", status="failed")
    own = retraining_folder(studies)
    assert [found.path for found in runs_elsewhere(own)] == [run.path]
    run.remove()
    assert runs_elsewhere(own) == []
    assert list((own / "elsewhere").iterdir()) == []


def test_what_earlier_versions_kept_without_marks_is_removed(studies: Path) -> None:
    for name in ("cache/labels/consensus", "retraining/channels"):
        (home() / name).mkdir(parents=True)
        (home() / name / f"{'0' * 64}.nii.gz").write_bytes(b"mask of a patient")
    unmarked = label_cache(studies) / "consensus" / f"{'0' * 64}.nii.gz"
    unmarked.write_bytes(b"mask of a patient")
    forget(studies)
    assert not (home() / "cache" / "labels").exists()
    assert not (home() / "retraining" / "channels").exists()
    assert not unmarked.exists()


def test_what_cannot_be_removed_does_not_keep_a_study_from_being_removed(studies: Path, monkeypatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system", "/data/first")

    monkeypatch.setattr(forgetting, "derived_files", fail)
    StudyDatastore(str(studies)).remove_image("first")
    assert not (studies / "first.nii.gz").exists()
    assert "could not be removed now" in caplog.text
    assert "first" not in caplog.text


def test_marks_do_not_tell_the_name(studies: Path) -> None:
    run = run_of(studies, "first", "second")
    assert marks_in(run.work) == {mark_of("first.nii.gz"), mark_of("second.nii.gz")}
    assert marks_in(run.path) == set()
    names = [str(path.relative_to(label_cache(studies))) for path in label_cache(studies).rglob("*")]
    assert not any("first" in name for name in names)
