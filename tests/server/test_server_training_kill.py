"""Trainings whose process, or whose server, is killed at random moments end as those that nobody kills."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_training import asked, await_end, await_that, chained, computed, parameters, training

from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.run_folder import list_runs
from covid_bert.retraining.run_records import RunRequest
from covid_bert.server.training.runs import Run

EPOCHS, KILLS = 12, 4
_SERVER = """
import sys, time
from pathlib import Path
from fake_training import parameters, training

if __name__ == "__main__":
    with training(Path(sys.argv[1])) as trainings:
        if not trainings.runs():
            trainings.submit("lungs", parameters(epochs=int(sys.argv[2]), seed=5), "anna", enqueue=False)
        while True:
            time.sleep(1)
"""


def expected(request: RunRequest) -> str:
    """The version that an undisturbed training makes."""
    values = [{"dice": chained(request, epoch)} for epoch in range(1, EPOCHS + 1)]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def random_moments() -> list[int]:
    """How many epochs were begun at each kill."""
    return sorted(random.Random(20).sample(range(1, EPOCHS), KILLS))


def check(run: Run, studies: Path) -> None:
    standing = run.standing
    assert standing.status == "done", standing
    assert standing.result is not None
    assert standing.result.version == expected(run.request), "the same bits as without a kill"
    begun = [int(line.split()[1]) for line in computed(studies)]
    assert len(begun) <= EPOCHS + KILLS, "what a checkpoint had is not computed again"
    assert [point.epoch for point in run.folder.live().curve] == list(range(1, EPOCHS + 1))


def test_process_killed_at_random_moments(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(epochs=EPOCHS, seed=5), "anna", enqueue=False)
        for moment in random_moments():
            await_that(lambda moment=moment: run.ended or len(computed(studies)) >= moment)
            assert not run.ended
            if (pid := trainings.pid) is not None:
                os.kill(pid, signal.SIGKILL)
                await_that(lambda pid=pid: trainings.pid != pid)
        await_end(run)
    check(run, studies)


@contextmanager
def killed_server(studies: Path) -> Iterator[None]:
    """A server in a process of its own, killed at the end of the block."""
    script = studies.with_name("server.py")
    script.write_text(_SERVER)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(studies), str(EPOCHS)], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_server_killed_at_random_moments(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    for moment in random_moments():
        with killed_server(studies):
            await_that(lambda moment=moment: len(computed(studies)) >= moment)
    with training(studies) as trainings:
        (run,) = trainings.runs()
        await_end(run)
    check(run, studies)
    assert run.standing.deaths == (), "a kill of the server is not the training's fault"


def test_server_that_is_stopped_goes_on_after_the_next_start(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    asked(studies, "hold")
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(epochs=EPOCHS, seed=5), "anna", enqueue=False)
        waiting = trainings.submit("covid_s1", parameters(epochs=1), "anna", enqueue=True)
        await_that(lambda: "lungs 3" in computed(studies))
    assert run.folder.state().status == "waiting"
    asked(studies)
    with training(studies) as trainings:
        again, then = trainings.runs()
        assert [again.request.id, then.request.id] == [run.request.id, waiting.request.id]
        await_end(then)
    assert again.standing.result is not None
    assert again.standing.result.version == expected(again.request)
    assert computed(studies).count("lungs 1") == 1
    assert then.standing.status == "done"


def test_what_was_asked_to_stop_is_not_taken_up_again(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    asked(studies, "deaf")
    with training(studies, grace_seconds=0.5) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_that(lambda: "lungs 3" in computed(studies))
        # As after a kill of the server between the request and its effect.
        (folder, _), *_ = list_runs(retraining_folder(studies) / "runs")
        stopping = folder.state().changed(stop_asked=True)
    folder.write_state(stopping)
    asked(studies)
    with training(studies) as trainings:
        (again,) = trainings.runs()
        await_end(again)
    assert again.standing.status == "stopped"
    assert computed(studies).count("lungs 3") == 1
    assert run.request.id == again.request.id
