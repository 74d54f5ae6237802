"""The queue with a real worker process and a model that does what it is told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from fake_jobs import ADMIN, ANNA, BERT, await_that, open_gate, running, submit, wait_for, wait_for_stage

from covid_bert.errors import (
    BusyError,
    CancelledError,
    MixedSeriesError,
    NotReadyError,
    OutOfMemoryError,
    WorkerDiedError,
)
from covid_bert.server.jobs.runner import JobRunner


@pytest.fixture
def runner(tmp_path: Path):
    with running(tmp_path, grace_seconds=20) as made:
        yield made


def test_a_job_is_computed_and_says_how_far_it_is(runner: JobRunner) -> None:
    slow = submit(runner, "slow", "steps")
    job = wait_for_stage(runner, slow)
    while job.fraction != 0.25:
        job = runner.job(slow, ANNA)
    assert (job.state, job.place, job.seconds_left, job.error) == ("running", 0, None, None)
    first, second = submit(runner, "a"), submit(runner, "b")
    assert [runner.job(one, ANNA).place for one in (first, second)] == [0, 1]
    with pytest.raises(NotReadyError):
        runner.result(first, ANNA)
    runner.cancel(slow, ANNA)
    done = wait_for(runner, second, "done")
    assert (done.fraction, done.place) == (1.0, 0)
    assert done.created <= done.started <= done.ended
    assert done.ended.endswith("Z")
    result = runner.result(second, ANNA)
    assert result.params == {"study": "b"}
    assert result.file.read_bytes() == b"mask of b"
    assert runner.requests.computed() == ["slow", "a", "b"]


def test_seconds_left_come_from_earlier_jobs(runner: JobRunner) -> None:
    first = submit(runner, "first", "gate")
    wait_for_stage(runner, first)
    runner._clock._offset += 3600
    open_gate(runner)
    wait_for(runner, first, "done")
    running_job = submit(runner, "again", "steps")
    wait_for_stage(runner, running_job)
    waiting = submit(runner, "third")
    runner._clock._offset += 600
    left, later = (runner.job(one, ANNA).seconds_left for one in (running_job, waiting))
    assert 2000 < left <= 3600 - 600 + 120, "as long as the first one took, less the time since its start"
    assert later == pytest.approx(left + 3600, abs=300)


def test_a_killed_worker_fails_its_own_job_only(runner: JobRunner) -> None:
    hanging, after = submit(runner, "victim", "hang"), submit(runner, "after")
    wait_for_stage(runner, hanging)
    os.kill(runner.worker_pid, signal.SIGKILL)
    job = wait_for(runner, hanging, "failed")
    assert job.error.code == "worker-died"
    assert job.error.hint
    with pytest.raises(WorkerDiedError):
        runner.result(hanging, ANNA)
    wait_for(runner, after, "done")


def test_a_worker_that_dies_of_its_job_is_started_again(runner: JobRunner) -> None:
    for _ in range(2):
        assert wait_for(runner, submit(runner, "fatal", "die"), "failed").error.code == "worker-died"
    assert wait_for(runner, submit(runner, "sound"), "done")


def test_a_worker_killed_while_it_is_idle_harms_no_job(runner: JobRunner) -> None:
    wait_for(runner, submit(runner, "one"), "done")
    killed = runner.worker_pid
    os.kill(killed, signal.SIGKILL)
    await_that(lambda: runner.worker_pid not in {None, killed})
    wait_for(runner, submit(runner, "two"), "done")


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("typed", "mixed-series"),
        ("allocate", "out-of-memory"),
        ("surprise", "internal"),
        ("json", "internal"),
        ("elsewhere", "internal"),
    ],
)
def test_errors_are_typed_and_the_next_job_runs(runner: JobRunner, action: str, code: str, capfd) -> None:
    failing, after = submit(runner, "bad", action), submit(runner, "good")
    job = wait_for(runner, failing, "failed")
    assert job.error.code == code
    assert "secret" not in job.model_dump_json()
    wait_for(runner, after, "done")
    assert "secret" not in capfd.readouterr().err
    kinds = {"mixed-series": MixedSeriesError, "out-of-memory": OutOfMemoryError}
    if code in kinds:
        with pytest.raises(kinds[code]) as caught:
            runner.result(failing, ANNA)
        assert caught.value.details == ({"series": ["first", "second"]} if code == "mixed-series" else {})


def test_cancelled_while_queued(runner: JobRunner) -> None:
    slow, waiting = submit(runner, "slow", "steps"), submit(runner, "waiting")
    assert runner.cancel(waiting, ANNA).state == "cancelled"
    runner.cancel(slow, ANNA)
    wait_for(runner, submit(runner, "last"), "done")
    assert "waiting" not in runner.requests.computed()
    with pytest.raises(CancelledError):
        runner.result(waiting, ANNA)


def test_cancelled_while_running_keeps_the_worker(runner: JobRunner) -> None:
    slow = submit(runner, "slow", "steps")
    wait_for_stage(runner, slow)
    worker = runner.worker_pid
    assert runner.cancel(slow, ANNA).state == "cancelled"
    wait_for(runner, submit(runner, "next"), "done")
    assert runner.worker_pid == worker
    assert runner.cancel(slow, ANNA).state == "cancelled", "cancelling twice is no error"


def test_a_job_that_hangs_is_killed_after_the_grace(tmp_path: Path) -> None:
    with running(tmp_path, grace_seconds=0.5) as runner:
        hanging = submit(runner, "hanging", "hang")
        wait_for_stage(runner, hanging)
        worker = runner.worker_pid
        runner.cancel(hanging, ANNA)
        wait_for(runner, submit(runner, "next"), "done")
        assert runner.worker_pid != worker
        assert runner.job(hanging, ANNA).state == "cancelled"


def test_a_full_queue_refuses_and_says_when_to_try_again(tmp_path: Path) -> None:
    with running(tmp_path, queue_length=2) as runner:
        slow = submit(runner, "slow", "steps")
        submit(runner, "waiting", owner=BERT)
        with pytest.raises(BusyError) as caught:
            submit(runner, "too many", owner=ADMIN)
        assert 1 <= caught.value.details["retry_after"] <= 600
        with pytest.raises(BusyError):
            submit(runner, "waiting", owner=ADMIN)
        runner.cancel(slow, ANNA)
        submit(runner, "now", owner=ADMIN)


def test_equal_requests_are_computed_once(runner: JobRunner) -> None:
    slow = submit(runner, "slow", "steps")
    wait_for_stage(runner, slow)
    first, second = submit(runner, "study"), submit(runner, "study", owner=BERT)
    assert runner.job(second, BERT).place == runner.job(first, ANNA).place == 0
    runner.cancel(first, ANNA)
    runner.cancel(slow, ANNA)
    wait_for(runner, second, "done")
    assert runner.job(first, ANNA).state == "cancelled"
    third = submit(runner, "study")
    assert runner.job(third, ANNA).state == "done", "a result that lies there is given at once"
    assert runner.result(third, ANNA).file == runner.result(second, BERT).file
    assert runner.requests.computed() == ["slow", "study"]


def test_a_running_job_goes_on_for_the_other_submitter(runner: JobRunner) -> None:
    first = submit(runner, "study", "gate")
    wait_for_stage(runner, first)
    second = submit(runner, "study", "gate", owner=BERT)
    assert runner.cancel(first, ANNA).state == "cancelled"
    open_gate(runner)
    assert wait_for(runner, second, "done").error is None
    assert runner.requests.computed() == ["study"]


def test_a_cancelled_computation_takes_no_new_job(tmp_path: Path) -> None:
    with running(tmp_path, grace_seconds=2) as runner:
        first = submit(runner, "study", "hang")
        wait_for_stage(runner, first)
        runner.cancel(first, ANNA)
        second = submit(runner, "study", "hang")
        assert runner.job(second, ANNA).state in {"queued", "running"}
        wait_for_stage(runner, second)
        assert runner.requests.computed() == ["study", "study"]
        runner.cancel(second, ANNA)


def test_other_weights_or_parameters_are_computed_anew(runner: JobRunner) -> None:
    wait_for(runner, submit(runner, "study"), "done")
    wait_for(runner, submit(runner, "study", lungs="unet"), "done")
    runner.requests.weights = "v002"
    wait_for(runner, submit(runner, "study"), "done")
    assert runner.requests.computed() == ["study"] * 3


def test_weights_changed_during_a_job_make_its_result_nobody_elses(runner: JobRunner) -> None:
    first = submit(runner, "study", "gate")
    wait_for_stage(runner, first)
    runner.requests.weights = "v002"
    open_gate(runner)
    wait_for(runner, first, "done")
    runner.requests.weights = "v001"
    wait_for(runner, submit(runner, "study", "gate"), "done")
    assert runner.requests.computed() == ["study", "study"]
