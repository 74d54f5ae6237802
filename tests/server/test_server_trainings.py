"""The list of trainings: one at a time, stopped cleanly, with their reasons, and safe from full disks and deaths."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from fake_training import (
    EPOCHS,
    HELD,
    asked,
    await_end,
    await_epoch,
    await_that,
    chained,
    computed,
    parameters,
    training,
)

from covid_bert.errors import BusyError, NotReadyError, OutputError
from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.run_folder import STATE_FILE, RunFolder, list_runs
from covid_bert.retraining.run_records import MOST_DEATHS_WITHOUT_AN_EPOCH, Standing
from covid_bert.server.access import Role
from covid_bert.server.authentication import Caller
from covid_bert.server.training.jobs import TrainingJobs
from covid_bert.server.training.runs import MOST_WAITING, Run
from covid_bert.server.training.shown import as_task

ANNA, BERT, ROOT = Caller("anna", Role.READER), Caller("bert", Role.READER), Caller("root", Role.ADMIN)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    (tmp_path / "studies").mkdir()
    return tmp_path / "studies"


def test_a_training_tells_what_it_does_and_ends_with_a_version(studies: Path) -> None:
    ended: list[Run] = []
    asked(studies, "hold")
    with training(studies, on_end=ended.append) as trainings:
        run = trainings.submit("lungs", parameters(seed=7), "anna", enqueue=False)
        await_epoch(run)
        task = as_task(run)
        assert (task.status, task.epochs, task.stage) == ("RUNNING", EPOCHS, "training")
        assert task.request["model"] == "lungs"
        assert task.request["seed"] == 7
        assert [point.validation["dice"] for point in task.curve] == [chained(run.request, 1), chained(run.request, 2)]
        assert 0 < task.fraction < 1
        assert task.seconds_left is not None
        assert any("train_loss" in line for line in task.details)
        assert any(line.startswith("Epoch[2] Metrics -- dice: ") for line in task.details)
        assert [item.identifier for item in task.left_out] == ["broken"]
        asked(studies)
        await_end(run)
        await_that(lambda: ended)
    task = as_task(run)
    assert (task.status, task.fraction) == ("DONE", 1.0)
    assert task.result is not None
    assert task.result.published
    assert task.result.gate.passed
    assert len(task.curve) == EPOCHS
    table = (run.folder.path / "curve.csv").read_text().splitlines()
    assert table[0] == "epoch,loss,learning_rate,seconds,dice"
    assert len(table) == EPOCHS + 1
    assert not run.folder.work.exists(), "a checkpoint holds what nobody needs any more"
    assert ended == [run]


def test_one_at_a_time_and_whoever_asks_may_wait(studies: Path) -> None:
    asked(studies, "hold")
    with training(studies) as trainings:
        first = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(first)
        with pytest.raises(BusyError, match="A training of lungs runs already, epoch 2 of 6") as refused:
            trainings.submit("covid_s1", parameters(), "anna", enqueue=False)
        assert "enqueue=true" in refused.value.hint
        assert refused.value.details["retry_after"] > 0
        second = trainings.submit("covid_s1", parameters(), "bert", enqueue=True)
        others = [trainings.submit("covid_s2", parameters(), "bert", enqueue=True) for _ in range(MOST_WAITING - 1)]
        with pytest.raises(BusyError, match="run or wait already"):
            trainings.submit("lungs", parameters(), "anna", enqueue=True)
        assert as_task(second).status == "SUBMITTED"
        assert [job.place for job in TrainingJobs(trainings).jobs(BERT)] == [3, 2, 1, 0]
        for other in others:
            trainings.stop(other.request.id)
            assert other.standing.status == "stopped", "what waits ends at once"
        assert {line.split()[0] for line in computed(studies)} == {"lungs"}
        asked(studies)
        await_end(second)
    order = computed(studies)
    assert order[:EPOCHS] == [f"lungs {epoch}" for epoch in range(1, EPOCHS + 1)]
    assert order[EPOCHS:] == [f"covid_s1 {epoch}" for epoch in range(1, EPOCHS + 1)]


def test_a_stop_is_clean_and_leaves_room_for_the_next(studies: Path) -> None:
    asked(studies, "hold")
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(run)
        trainings.stop(run.request.id)
        await_end(run)
        assert run.standing.status == "stopped"
        assert run.standing.error is None
        await_that(lambda: not run.folder.work.exists())
        asked(studies)
        again = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(again)
        assert again.standing.status == "done"
        assert trainings.stop(again.request.id) is again, "what has ended stays as it is"
        assert trainings.stop("0" * 32) is None


def test_a_training_that_does_not_hear_is_killed(studies: Path) -> None:
    asked(studies, "deaf")
    with training(studies, grace_seconds=0.5) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(run)
        pid = trainings.pid
        trainings.stop(run.request.id)
        await_end(run)
        assert run.standing.status == "stopped"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("action", "code", "words", "kept"),
    [
        ("few", "not-enough-labels", "There are 1 corrected masks to learn from.", False),
        ("full", "cannot-write", "The checkpoint cannot be written.", True),
        ("surprise", "internal", "An unexpected error (ValueError).", False),
    ],
)
def test_a_failure_has_a_plain_sentence(studies: Path, action: str, code: str, words: str, kept: bool) -> None:
    asked(studies, action)
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(run)
        task = as_task(run)
        assert task.status == "ERROR"
        assert task.error is not None
        assert (task.error.code, task.error.message) == (code, words)
        assert "secret-patient" not in task.model_dump_json()
    assert run.folder.work.exists() is kept, "what a full disk ended can be taken up again"


def test_a_process_that_dies_is_begun_again_but_not_for_ever(studies: Path) -> None:
    asked(studies, "die")
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(run)
    assert run.standing.status == "failed"
    assert run.standing.error["code"] == "worker-died"
    # What it told before its first end, and before those after that, are two places.
    times = len(run.standing.deaths)
    assert times in {3, 4}
    assert f"{times} times" in run.standing.error["message"]
    assert "epoch 2" in run.standing.error["message"]
    assert computed(studies) == ["lungs 1", "lungs 2", *["lungs 3"] * times]


def test_a_death_counts_also_where_the_disk_is_full(studies: Path, monkeypatch) -> None:
    asked(studies, "die")
    with training(studies) as trainings:
        write, refused = RunFolder.write_state, []

        def full(folder: RunFolder, standing: Standing) -> None:
            # Its process has filled the disk, until it is cleared away.
            if standing.deaths and trainings.pid is not None:
                refused.append(standing.deaths)
                raise OutputError("No space left on device.", "Free disk space.")
            write(folder, standing)

        monkeypatch.setattr(RunFolder, "write_state", full)
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_that(lambda: run.ended or len(refused) > MOST_DEATHS_WITHOUT_AN_EPOCH)
    assert refused
    assert run.standing.status == "failed"
    assert run.standing.error["code"] == "worker-died"
    assert run.folder.state() == run.standing


def test_what_is_damaged_is_not_begun_again_by_the_next_server(studies: Path) -> None:
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(run)
        await_that(lambda: not run.folder.work.exists())
    before = computed(studies)
    (run.folder.path / STATE_FILE).write_bytes((run.folder.path / STATE_FILE).read_bytes()[:-9])
    with training(studies) as trainings:
        (found,) = trainings.runs()
        assert as_task(found).status == "ERROR"
        assert "cannot be read" in as_task(found).error.message
        await_end(trainings.submit("covid_s1", parameters(epochs=1), "anna", enqueue=False))
    assert computed(studies) == [*before, "covid_s1 1"]


def test_a_process_that_is_killed_once_goes_on_from_its_checkpoint(studies: Path) -> None:
    asked(studies, "hold")
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(run)
        await_that(lambda: f"lungs {HELD}" in computed(studies))
        os.kill(trainings.pid, signal.SIGKILL)
        await_that(lambda: computed(studies).count(f"lungs {HELD}") == 2)
        assert as_task(run).status == "RUNNING"
        assert len(as_task(run).curve) == HELD - 1, "the curve is there all the time"
        asked(studies)
        await_end(run)
    assert run.standing.status == "done"
    assert computed(studies).count("lungs 1") == 1


def test_a_training_that_cannot_be_noted_is_refused_and_leaves_nothing(studies: Path, monkeypatch) -> None:
    with training(studies) as trainings:
        with monkeypatch.context() as full:
            full.setattr("covid_bert.retraining.run_folder.write_private", _no_space)
            with pytest.raises(OutputError, match="No space left"):
                trainings.submit("lungs", parameters(), "anna", enqueue=False)
        assert trainings.runs() == []
        assert list_runs(retraining_folder(studies) / "runs") == []
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(run)
    assert run.standing.status == "done"


def test_an_outcome_is_kept_once_the_disk_takes_it(studies: Path, monkeypatch) -> None:
    asked(studies, "hold")
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(run)
        refused: list[str] = []

        def full(folder: RunFolder, _standing: object) -> None:
            refused.append(folder.path.name)
            raise OutputError("No space left on device.", "Free disk space.")

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "write_state", full)
            asked(studies)
            await_that(lambda: refused)
            assert not run.ended
        await_end(run)
    assert RunFolder(run.folder.path).state().status == "done"


def test_trainings_are_jobs_of_those_who_asked(studies: Path) -> None:
    asked(studies, "hold")
    with training(studies) as trainings:
        jobs = TrainingJobs(trainings)
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(run)
        identifier = run.request.id
        assert jobs.job(identifier, ANNA).model == "train/lungs"
        assert jobs.job(identifier, ROOT).state == "running"
        assert [jobs.job(identifier, BERT), jobs.cancel(identifier, BERT), jobs.result(identifier, BERT)] == [None] * 3
        assert jobs.jobs(BERT) == []
        with pytest.raises(NotReadyError):
            jobs.result(identifier, ANNA)
        asked(studies)
        await_end(run)
        assert jobs.result(identifier, ROOT)["published"] is True
        assert jobs.job(identifier, ANNA).state == "done"


def test_only_the_newest_runs_are_remembered(studies: Path, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.server.training.trainings.REMEMBERED_RUNS", 2)
    with training(studies) as trainings:
        runs = []
        asked(studies, "hold")
        first = trainings.submit("lungs", parameters(), "anna", enqueue=True)
        for _ in range(3):
            runs.append(trainings.submit("lungs", parameters(), "anna", enqueue=True))
        for run in runs:
            trainings.stop(run.request.id)
        await_epoch(first)
        await_that(lambda: not runs[0].folder.path.exists())
        assert [run.request.id for run in trainings.runs()] == [run.request.id for run in (first, *runs[1:])]
        # Others forget too, for example a training at the command line.
        runs[1].folder.remove()
        assert [run.request.id for run in trainings.runs()] == [run.request.id for run in (first, runs[2])]


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
