"""`covid-bert train` on labels: the outcome in words, stopped and taken up again, one at a time."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest
from command_line import run as command
from filelock import FileLock
from rich.console import Console

from covid_bert.cli_training import MODELS
from covid_bert.commands.retrain import retrain
from covid_bert.datastore.forgetting import RESUMABLE_SECONDS
from covid_bert.errors import BusyError, CancelledError, OutputError, ParameterError
from covid_bert.retraining.cases import LabelledStudy, LabelSet, LeftOut, Part
from covid_bert.retraining.derived import label_cache, marked, retraining_folder
from covid_bert.retraining.parameters import TRAINERS
from covid_bert.retraining.records import GateDecision, Measured
from covid_bert.retraining.run_folder import LOCK_FILE, RunFolder, list_runs
from covid_bert.retraining.run_records import RunResult
from covid_bert.retraining.runs_elsewhere import runs_elsewhere

GATE = GateDecision(passed=True, reason="Not worse on anything.", rule="None.", against="v001")
MEASURED = Measured(measure="mean Dice", value=0.9, lower=0.8, upper=0.95, patients=5, data="validation set")


def read(request, _studies, _cache, _progress) -> LabelSet:
    return LabelSet((), (LeftOut("broken", "No mask."),), "split", request.parameters.readers)


def fit(request, labels, folder, progress) -> RunResult:
    folder.mkdir(exist_ok=True)
    for left in labels.left_out:
        progress.leave_out(left.identifier, left.reason)
    marker = folder / "checkpoint"
    if request.parameters.seed == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGINT)
    progress.check()
    progress.note(f"Went on: {marker.exists()}.")
    return RunResult(name="default-lungs", version="v002", published=True, gate=GATE, metrics=(MEASURED,))


def train(studies: Path, run: Path | None = None, **given: object) -> str:
    studies.mkdir(exist_ok=True)
    printed = io.StringIO()
    retrain("lungs", studies, run, given, Console(file=printed, width=400), read=read, fit=fit)
    return printed.getvalue()


def test_the_outcome_in_words(tmp_path: Path) -> None:
    printed = train(tmp_path / "studies", epochs=3)
    assert "default-lungs v002 is live. Not worse on anything." in printed
    assert "mean Dice: 0.900 (0.800 to 0.950), 5 patients, validation set" in printed
    assert "left out: broken: No mask." in printed
    assert "covid-bert weights compare default-lungs v001 v002" in printed
    ((folder, request),) = list_runs(retraining_folder(tmp_path / "studies") / "runs")
    assert (request.origin, request.parameters.epochs, folder.state().status) == ("command", 3, "done")


def test_what_nobody_needs_is_removed_before_and_after_a_training(tmp_path: Path, monkeypatch) -> None:
    studies, run = tmp_path / "studies", tmp_path / "run"
    with pytest.raises(CancelledError):
        train(studies, run, seed=1)
    assert [found.path for found in runs_elsewhere(retraining_folder(studies))] == [run]
    for path in (run, *run.iterdir()):
        os.utime(path, (path.stat().st_mtime - RESUMABLE_SECONDS - 60,) * 2)
    mask = label_cache(studies) / "consensus" / marked(studies / "gone.nii.gz", "mask.nii.gz")
    mask.parent.mkdir(parents=True)
    mask.touch()
    (studies / "other.nii.gz").touch()
    seen: list[bool] = []
    monkeypatch.setattr(f"{__name__}.fit", lambda *given, fit=fit: seen.append(mask.exists()) or fit(*given))
    assert "Went on: True." in train(studies, run), "what is taken up again is not too old"
    assert seen == [False]
    mask.touch()
    with pytest.raises(ParameterError):
        train(studies, run)
    assert not mask.exists()


def test_stopped_by_a_signal_and_taken_up_again(tmp_path: Path) -> None:
    studies, run = tmp_path / "studies", tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(CancelledError):
        train(studies, run, seed=1)
    assert signal.getsignal(signal.SIGINT) is before
    assert RunFolder(run).state().status == "stopped"
    with pytest.raises(ParameterError, match="was begun with seed = 1"):
        train(studies, run, seed=2)
    assert "Went on: True." in train(studies, run)
    assert RunFolder(run).state().status == "done"
    with pytest.raises(ParameterError, match="has ended well"):
        train(studies, run)


def test_a_run_of_other_studies_is_refused(tmp_path: Path) -> None:
    studies, run = tmp_path / "studies", tmp_path / "run"
    for folder in (run, None):
        with pytest.raises(CancelledError):
            train(studies, folder, seed=1)
    ((own, _),) = list_runs(retraining_folder(studies) / "runs")
    for folder in (run, own.path):
        with pytest.raises(ParameterError, match="is of other studies"):
            train(tmp_path / "others", folder)
        assert RunFolder(folder).state().status == "stopped"
        assert "Went on: True." in train(studies, folder)


def test_a_run_that_was_moved_or_killed_before_it_was_noted_is_noted_again(tmp_path: Path) -> None:
    studies, run = tmp_path / "studies", tmp_path / "run"
    with pytest.raises(CancelledError):
        train(studies, run, seed=1)
    moved = run.rename(tmp_path / "moved")
    assert runs_elsewhere(retraining_folder(studies)) == []
    with pytest.raises(BusyError), FileLock(retraining_folder(studies) / LOCK_FILE):
        train(studies, moved)
    assert [found.path for found in runs_elsewhere(retraining_folder(studies))] == [moved]


def test_a_run_that_cannot_be_noted_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covid_bert.retraining.runs_elsewhere.write_private", full)
    with pytest.raises(OutputError, match="No space"):
        train(tmp_path / "studies", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_learns_from_the_labels_it_began_with(tmp_path: Path) -> None:
    studies, run = tmp_path / "studies", tmp_path / "run"
    studies.mkdir()
    path = studies / "study.nii.gz"
    study = LabelledStudy("study", "patient", Part.TRAINING, path, "0" * 64, path, "1" * 64, "covid", ("anna",))
    seen: list[LabelSet] = []

    def read_now(*_: object) -> LabelSet:
        return LabelSet((study,) * (1 + len(seen)), (LeftOut("broken", "No mask."),), "split", "newest")

    def noting(request, labels, folder, progress) -> RunResult:
        seen.append(labels)
        return fit(request, labels, folder, progress)

    console = Console(quiet=True)
    with pytest.raises(CancelledError):
        retrain("lungs", studies, run, {"seed": 1}, console, read=read_now, fit=noting)
    retrain("lungs", studies, run, {}, console, read=read_now, fit=noting)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0].studies == (study,)


def test_two_at_once(tmp_path: Path) -> None:
    own = retraining_folder(tmp_path / "studies")
    own.mkdir(parents=True)
    with FileLock(own / LOCK_FILE), pytest.raises(BusyError, match="Another training on these studies runs"):
        train(tmp_path / "studies")
    assert "is live" in train(tmp_path / "studies")


def test_no_folder_of_others_is_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ParameterError, match="holds something else"):
        train(tmp_path / "studies", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_command_line(tmp_path: Path) -> None:
    assert tuple(MODELS) == TRAINERS
    code, printed = command("train", "lungs", "--studies", tmp_path / "nowhere")
    assert (code, "There is no folder nowhere." in printed) == (4, True)
    code, printed = command("train", "covid_s1", "--studies", tmp_path, "--epochs", "0")
    assert (code, "epochs is not allowed" in printed) == (2, True)
