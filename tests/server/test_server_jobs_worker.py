"""The worker process beside signals, scarce memory, several threads and a server that ends in disorder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_jobs import await_that, make_fake, open_gate, running, submit, wait_for, wait_for_stage

from covid_bert import workers as module
from covid_bert.server.jobs.runner import JobRunner

_ENDS_WITHOUT_STOPPING_IT = """
import sys
from fake_jobs import make_fake
from covid_bert.workers import Worker

if __name__ == "__main__":
    worker = Worker(make_fake)
    worker.run({"image": "a", "params": {"action": "hang"}, "journal": sys.argv[1]}, sys.argv[2])
    while worker.receive(0.1) is None:
        pass
    print(worker.pid, flush=True)
    sys.exit(0)
"""


@pytest.fixture
def runner(tmp_path: Path):
    with running(tmp_path) as made:
        yield made


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_stop_of_all_processes_at_once_fails_no_job(runner: JobRunner) -> None:
    job = submit(runner, "study", "gate")
    wait_for_stage(runner, job)
    worker = runner.worker_pid
    for name in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker, name)
    open_gate(runner)
    assert wait_for(runner, job, "done", "failed").error is None
    assert runner.worker_pid == worker


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux")
def test_where_memory_runs_out_the_worker_goes_before_the_server(runner: JobRunner) -> None:
    wait_for(runner, submit(runner, "study"), "done")
    own, its = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", runner.worker_pid))
    assert its > own


def test_messages_of_several_threads_stay_whole() -> None:
    ours, theirs = multiprocessing.Pipe()
    texts = [json.dumps({"text": letter * 50_000}) for letter in "abcd"]

    def send(text: str) -> None:
        for _ in range(50):
            module._send_bytes(theirs, text)

    received: list[str] = []

    def receive() -> None:
        received.extend(ours.recv_bytes().decode() for _ in range(50 * len(texts)))

    # On a thread too: a length that is not one would be waited for in vain.
    threads = [threading.Thread(target=send, args=(text,), daemon=True) for text in texts]
    threads.append(threading.Thread(target=receive, daemon=True))
    for thread in threads:
        thread.start()
    threads[-1].join(120)
    assert sorted({*received}) == texts


def test_it_ends_with_a_server_that_does_not_stop_it(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(_ENDS_WITHOUT_STOPPING_IT)
    command = [sys.executable, str(script), str(tmp_path / "journal"), str(tmp_path)]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path}, check=True
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_worker_that_cannot_be_killed_stops_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_END_SECONDS", 0.1)
    worker = module.Worker(make_fake)
    end = worker._process.kill
    monkeypatch.setattr(worker._process, "kill", lambda: None)
    killing = threading.Thread(target=worker.kill, daemon=True)
    killing.start()
    killing.join(60)
    waits = killing.is_alive()
    end()
    assert not waits
    assert f"does not end: process {worker.pid}" in caplog.text


def test_a_worker_that_ends_just_before_a_job_costs_nobody_the_job(
    runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(runner, submit(runner, "first"), "done")
    found = runner._dispatcher._worker
    # As where it ends after the dispatcher has looked.
    monkeypatch.setattr(module.Worker, "alive", True)
    os.kill(found.pid, signal.SIGKILL)
    await_that(lambda: not found._process.is_alive())
    assert wait_for(runner, submit(runner, "second"), "done", "failed").error is None
    assert runner.worker_pid != found.pid


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from covid_bert.server.jobs import dispatcher

    failed = []

    def scarce(make_compute: module.MakeCompute) -> module.Worker:
        if len(failed) < 2:
            failed.append(1)
            raise OSError("no memory")
        return module.Worker(make_compute)

    monkeypatch.setattr(dispatcher, "Worker", scarce)
    with running(tmp_path) as runner:
        wait_for(runner, submit(runner, "study"), "done")
        assert runner.alive
        assert len(failed) == 2
    assert not runner.alive
