"""What becomes of jobs and results: other users, expiry, sessions that go, stops, a full disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from fake_jobs import ADMIN, ANNA, BERT, FakeRequests, await_that, make_fake, running, submit, wait_for, wait_for_stage

from covid_bert.errors import (
    GoneError,
    InterruptedJobError,
    NotFoundError,
    OutputError,
    ServerError,
)
from covid_bert.server.jobs import dispatcher
from covid_bert.server.jobs import runner as runner_module
from covid_bert.server.jobs.runner import JobRunner


@pytest.fixture
def runner(tmp_path: Path):
    with running(tmp_path, grace_seconds=20) as made:
        yield made


def test_users_see_and_cancel_their_own_jobs_only(runner: JobRunner) -> None:
    mine = submit(runner, "mine", "steps")
    for forbidden in (runner.job, runner.cancel, runner.result):
        with pytest.raises(NotFoundError):
            forbidden(mine, BERT)
    assert runner.jobs(BERT) == []
    assert [job.id for job in runner.jobs(ANNA)] == [job.id for job in runner.jobs(ADMIN)] == [mine]
    assert runner.cancel(mine, ADMIN).state == "cancelled"


def test_completion_is_told_for_every_end(runner: JobRunner) -> None:
    slow = submit(runner, "slow", "steps")
    done, failed = submit(runner, "done"), submit(runner, "failed", "typed")
    futures = [runner.completion(one) for one in (slow, done, failed)]
    abandoned = runner.completion(done)
    abandoned.cancel()
    assert not any(future.done() for future in futures)
    runner.cancel(slow, ANNA)
    for future in futures:
        future.result(60)
    assert [runner.job(one, ANNA).state for one in (slow, done, failed)] == ["cancelled", "done", "failed"]
    runner.completion(done).result(1)


def test_results_are_private_and_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jobs"
    monkeypatch.setattr(dispatcher, "_LONGEST_SWEEP_INTERVAL", 0.1)
    with running(tmp_path, result_hours=24) as runner:
        job = submit(runner, "patient-of-a-kind")
        wait_for(runner, job, "done")
        assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.rglob("*")))
        file = runner.result(job, ANNA).file
        assert file.exists()
        runner._clock._offset += 23 * 3600
        runner.remove_gone()
        assert runner.result(job, ANNA).file.exists()
        runner._clock._offset += 2 * 3600
        expired = wait_for(runner, job, "expired")
        assert expired.error is None
        with pytest.raises(GoneError):
            runner.result(job, ANNA)
        await_that(lambda: not file.parent.exists())
        left = [path for path in folder.rglob("*") if path.is_file() and b"patient-of" in path.read_bytes()]
        assert left == []


def test_results_of_a_session_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_LONGEST_SWEEP_INTERVAL", 0.1)
    upload = tmp_path / "upload.nii"
    upload.touch()
    with running(tmp_path, result_hours=24) as runner:
        job = runner.submit(runner.requests.prepare("fake", {}, session_id=str(upload)), ANNA).id
        wait_for(runner, job, "done")
        upload.unlink()
        wait_for(runner, job, "expired")


def test_stopping_in_order_marks_what_runs_and_keeps_what_waits(tmp_path: Path) -> None:
    with running(tmp_path) as runner:
        hanging, waiting = submit(runner, "hanging", "hang"), submit(runner, "waiting")
        wait_for_stage(runner, hanging)
        worker, future = runner.worker_pid, runner.completion(waiting)
    assert future.done(), "nobody waits for a runner that has closed"
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    with running(tmp_path) as runner:
        assert runner.job(hanging, ANNA).error.code == "interrupted"
        with pytest.raises(InterruptedJobError):
            runner.result(hanging, ANNA)
        wait_for(runner, waiting, "done")


def test_a_full_disk_delays_the_outcome_and_loses_nothing(runner: JobRunner, monkeypatch) -> None:
    full = threading.Event()
    full.set()
    whole, tried = runner._store.finish, []

    def finish(*arguments, **options) -> None:
        tried.append(1)
        if full.is_set():
            raise OutputError("Full.", "Free space.")
        whole(*arguments, **options)

    monkeypatch.setattr(runner._store, "finish", finish)
    monkeypatch.setattr(dispatcher, "_RETRY_SECONDS", 0.1)
    job = submit(runner, "study")
    await_that(lambda: len(tried) > 2)
    assert runner.job(job, ANNA).state == "running"
    full.clear()
    wait_for(runner, job, "done")
    assert runner.requests.computed() == ["study"]


def test_two_servers_cannot_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_LOCK_SECONDS", 0.0)
    with running(tmp_path), pytest.raises(ServerError):
        JobRunner(tmp_path / "jobs", FakeRequests(tmp_path / "journal"), make_fake)
