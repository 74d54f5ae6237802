"""Users take turns, no user fills the queue, and no job runs for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_jobs import ADMIN, ANNA, BERT, await_that, open_gate, running, submit, wait_for, wait_for_stage

from covid_bert.errors import BusyError, OutputError
from covid_bert.server.access import Role
from covid_bert.server.authentication import LOCAL, Caller

CARL = Caller("carl", Role.READER)


def test_no_user_keeps_the_others_waiting_for_all_of_his_jobs(tmp_path: Path) -> None:
    with running(tmp_path) as runner:
        blocking = submit(runner, "blocking", "steps", owner=ADMIN)
        wait_for_stage(runner, blocking)
        for number in range(3):
            submit(runner, f"bert{number}", owner=BERT)
        submit(runner, "anna", owner=ANNA)
        last = submit(runner, "carl", owner=CARL)
        places = {job.id: job.place for job in runner.jobs(ADMIN)}
        assert places[last] == 2, "after one of bert's and one of anna's"
        runner.cancel(blocking, ADMIN)
        wait_for(runner, last, "done")
        wait_for(runner, runner.jobs(BERT)[0].id, "done")
        assert runner.requests.computed() == ["blocking", "bert0", "anna", "carl", "bert1", "bert2"]


def test_one_user_may_have_half_of_the_queue(tmp_path: Path) -> None:
    with running(tmp_path, queue_length=4) as runner:
        slow = submit(runner, "slow", "steps", owner=BERT)
        submit(runner, "second", owner=BERT)
        with pytest.raises(BusyError) as caught:
            submit(runner, "third", owner=BERT)
        assert caught.value.details["retry_after"] >= 1
        submit(runner, "anna", owner=ANNA)
        assert runner.queue_length() == 3
        runner.cancel(slow, BERT)


def test_the_only_user_may_have_all_of_the_queue(tmp_path: Path) -> None:
    with running(tmp_path, queue_length=2) as runner:
        slow = submit(runner, "slow", "steps", owner=LOCAL)
        submit(runner, "second", owner=LOCAL)
        with pytest.raises(BusyError):
            submit(runner, "third", owner=LOCAL)
        runner.cancel(slow, LOCAL)


def test_a_job_that_takes_too_long_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    with running(tmp_path, job_minutes=1 / 60) as runner:
        hanging = submit(runner, "hanging", "hang")
        after = submit(runner, "after", owner=BERT)
        assert wait_for(runner, hanging, "failed").error.code == "too-long"
        # It must not take the second that it has for the start of a process.
        wait_for(runner, after, "done", "failed")


def test_a_study_that_cannot_be_looked_at_any_more_is_not_computed_again_and_again(tmp_path: Path) -> None:
    with running(tmp_path) as runner:
        job = submit(runner, "study", "steps")
        wait_for_stage(runner, job)
        runner.requests.key = _unreadable
        other = submit_known(runner, "other")
        runner.cancel(job, ANNA)
        assert wait_for(runner, other, "done").error is None
        assert runner.requests.computed() == ["study", "other"]


def test_a_moment_without_disk_does_not_end_the_job_that_runs(tmp_path: Path, monkeypatch) -> None:
    with running(tmp_path) as runner:
        job = submit(runner, "study", "gate")
        wait_for_stage(runner, job)
        store, failures = runner._store, []
        wanted = store.wanted

        def sometimes(number: int) -> bool:
            if len(failures) < 3:
                failures.append(number)
                raise OutputError("The list of jobs cannot be read or written.")
            return wanted(number)

        monkeypatch.setattr(store, "wanted", sometimes)
        await_that(lambda: len(failures) == 3)
        open_gate(runner)
        assert wait_for(runner, job, "done").error is None


def test_who_waits_is_told_also_if_that_failed_at_first(tmp_path: Path, monkeypatch) -> None:
    with running(tmp_path) as runner:
        job = submit(runner, "study", "gate")
        ended, failures, known = runner.completion(job), [], runner._store.job

        def sometimes(identifier: str):
            found = known(identifier)
            if found.state == "done" and not failures:
                failures.append(identifier)
                raise OutputError("The list of jobs cannot be read or written.")
            return found

        monkeypatch.setattr(runner._store, "job", sometimes)
        open_gate(runner)
        ended.result(120)
        assert failures == [job]


def test_an_idle_queue_has_a_worker_again_after_it_was_killed(tmp_path: Path) -> None:
    with running(tmp_path) as runner:
        first = submit(runner, "study", "die")
        assert wait_for(runner, first, "failed").error.code == "worker-died"
        await_that(lambda: runner.worker_pid is not None)


def submit_known(runner, image: str) -> str:
    """Submit a job whose key was known before it could no longer be made."""
    from covid_bert.server.jobs.submission import Prepared

    request = {"model": "fake", "image": image, "params": {}, "journal": str(runner.requests.journal)}
    return runner.submit(Prepared("fake", request, "key", borrowed=False), ANNA).id


def _unreadable(_request: object) -> str:
    raise PermissionError("a folder of the study")
